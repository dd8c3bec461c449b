"""Sampling from a model and reading text with it: batched, deterministic, fast on CPU."""
