"""When a prompt of the evaluation counts as one that is in the pool too."""

from __future__ import annotations

from typing import Final

NEAR_DUPLICATE_FROM: Final = 0.8
"""Cosine of two prompts' embeddings.

Chosen with all-MiniLM-L6-v2. Of 2,506 RealToxicityPrompts none has another nearer than 0.73, and of 1,200 ParaDetox
sentences none has the rewrite of another nearer than 0.77, so what is above 0.8 is no chance. Of 600 prompts of some 11
words with one word left out, replaced or misspelt, or with two swapped, 0.8 finds 87 to 100 %, 0.9 finds 62 to 99 %. Of
free rewrites that keep the meaning it finds 56 %. An encoder on another scale shows in the quantiles of the nearest.
"""
