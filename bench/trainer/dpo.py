"""`trainer.dpo.<model>.<format>`: as `trainer.sft`, with pairs and DPO of the whole model, against `DPOTrainer`.

The reference log-probabilities are computed before training on both sides and are not counted. A real token is one of
a continuation or its prompt, and a pair has its prompt twice; ours reads it once. TRL 1.16 has no DPO without padding.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import area
from bench.lines import Line
from bench.measure import Limits
from bench.trainer import steps
from llm_repair.core.repair import DpoMethod, FullParameters


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all models and formats."""
    yield from steps.lines("trainer.dpo", DpoMethod(), FullParameters(), quick=quick, limits=limits, packed_peer=False)


if __name__ == "__main__":
    area.main(__doc__, lines)
