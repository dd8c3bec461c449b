"""Selection strategies as `Select` calls them, against what one would write without us; one case a file.

Embeddings are n x 384, as of all-MiniLM-L6-v2. `python -m bench.selection.<case>` runs one case.
"""
