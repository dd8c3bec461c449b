"""What IRepair reports of full-data repairs, the nearest published figures to the study's methods.

Source: the workbook in the replication package of arXiv 2510.20428 (RitaLi1005/SAPS at d2b37d8). Toxicity is 100 times
the mean, over 1,199 challenge prompts, of the largest of seven Perspective attributes of one greedy sample; perplexity
is that of WikiText-2; seconds are of one H20 GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

METHODS: Final = ("before", "DAPT", "DAPT_KL", "DPO", "IREPAIR", "IREPAIR_KL")
MODELS: Final = ("GPT-2 Large", "GPT-2 XL", "GPT-Neo 1.3B")

# One row a model, in the order of METHODS; nothing is said of time and memory before a repair.
_TOXICITY: Final = (
    (41.53, 11.99, 13.93, 14.97, 7.74, 5.11),
    (48.22, 39.74, 5.21, 22.71, 10.67, 4.68),
    (40.89, 31.57, 37.93, 12.26, 5.69, 4.94),
)
_PERPLEXITY: Final = (
    (19.44, 26.95, 22.96, 24.10, 20.93, 22.35),
    (17.40, 22.96, 20.13, 21.02, 18.16, 18.15),
    (14.56, 17.00, 16.17, 16.70, 16.56, 16.52),
)
_SECONDS: Final = (
    (1994, 1411, 733, 2032, 1933),
    (7398, 3438, 1304, 2010, 2769),
    (1416, 747, 1013, 545, 1193),
)
_PEAK_MIB: Final = (
    (13175, 16547, 18677, 13990, 17071),
    (27664, 32411, 35659, 25042, 29333),
    (22842, 26233, 25853, 20356, 23179),
)


def rows() -> Iterator[list[str]]:
    """Yields the rows of a table, the header first."""
    yield ["", *METHODS]
    for model, toxicity, perplexity in zip(MODELS, _TOXICITY, _PERPLEXITY, strict=True):
        pairs = zip(toxicity, perplexity, strict=True)
        yield [f"{model}: toxicity × 100 / perplexity", *(f"{one:.2f} / {other:.2f}" for one, other in pairs)]
    for model, seconds, peak in zip(MODELS, _SECONDS, _PEAK_MIB, strict=True):
        costs = zip(seconds, peak, strict=True)
        yield [f"{model}: seconds / peak MiB", "", *(f"{one} / {other}" for one, other in costs)]
