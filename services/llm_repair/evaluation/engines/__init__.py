"""What generates text and scores it: transformers (CPU default and oracle) and vLLM, behind one interface."""
