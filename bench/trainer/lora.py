"""`trainer.lora.<model>.<format>`: as `trainer.sft`, with adapters of rank 16 on all linear layers of the blocks.

Both sides use PEFT for the adapters, whose start values are the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import area
from bench.lines import Line
from bench.measure import Limits
from bench.trainer import steps
from llm_repair.core.repair import DaptMethod, LoraParameters


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all models and formats."""
    yield from steps.lines("trainer.lora", DaptMethod(), LoraParameters(), quick=quick, limits=limits, packed_peer=True)


if __name__ == "__main__":
    area.main(__doc__, lines)
