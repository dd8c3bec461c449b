"""The content-addressed store, references to the world outside, and what may be brought in from there.

Every service opens the same store by its URL; steps hand each other digests and never paths.
"""
