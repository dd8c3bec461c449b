"""Training steps as the repair step takes them, against TRL.

Sizes are real tokens: every continuation with its prompt, without padding.
"""
