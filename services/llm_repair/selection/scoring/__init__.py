"""Scores of samples: read off a model as it is, off a short training run, or off embeddings."""
