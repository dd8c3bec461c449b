"""What a model makes of texts that it only reads: one kind of probe, one file; `probing` puts all of them to it."""
