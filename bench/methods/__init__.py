"""Every repair method on the real SmolLM2-135M with the demo's data: what it gives and takes, with intervals.

A benchmark of effects before speed; its table is `docs/methods.md`.
"""
