"""How a model is measured: what each protocol id means in sampling and windows."""
