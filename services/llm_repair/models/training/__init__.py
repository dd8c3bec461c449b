"""Training a model: objectives, batches, what may change, the one loop, and checkpoints that resume to the bit."""
