"""What scores the toxicity of texts, one judge per file; loaded in worker children only."""
