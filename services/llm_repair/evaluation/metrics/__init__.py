"""From the outputs and scores of two models to paired metrics: one family, one file.

`measurement` reads one evaluation, `records` pairs two of them unit by unit, and each family computes its metrics
from the records alone, so that whoever has the records can compute them again.
"""
