"""Everything that runs a network: loading, tokenisation, generation, scoring and training.

torch and transformers are imported here and in step code only, inside worker children; the processes that
answer RPCs never load them.
"""
