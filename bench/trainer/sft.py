"""`trainer.sft.<model>.<format>`: steps that train a whole model on continuations, against TRL's `SFTTrainer`.

Ours is the repair step's loop (packed), with DAPT; the peer pads its batch, or flattens it into one row without padding
(`padding_free`). Same samples in the same order, same optimizer and rate; see `peers` for every setting. Batches of 8
of the demo's prompts with the continuations that its model samples; models of 10 million (random) and 135 million
parameters (the demo's); fp32, and bf16 autocast over fp32 weights.

The size is in real tokens, so size divided by seconds is tokens per second. Seconds run from the end of the first step
to the end of the last: with fetching, layout and whatever a loop does around a step, without setting up. The limit is
the arithmetic of `bounds` at the rate of a large matrix product in the same format. `value_agrees`: every loss of the
run, the uncounted first one included, differs from that of the padding peer in fp32 by at most 1e-4 relatively, in bf16
by 2e-2, which is asked of the peer too.

Quick: a random Llama of 0.2 million parameters and random tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import area
from bench.lines import Line
from bench.measure import Limits
from bench.trainer import steps
from llm_repair.core.repair import DaptMethod, FullParameters


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all models and formats."""
    yield from steps.lines("trainer.sft", DaptMethod(), FullParameters(), quick=quick, limits=limits, packed_peer=True)


if __name__ == "__main__":
    area.main(__doc__, lines)
