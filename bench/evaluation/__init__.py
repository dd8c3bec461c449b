"""Measuring models: judging texts, and what else an evaluation does.

A size is named by what is worked on, such as the number of texts and their tokens.
"""
