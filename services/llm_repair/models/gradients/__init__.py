"""Norms of per-sample gradients, without the gradients: one backward pass for a whole batch of samples."""
