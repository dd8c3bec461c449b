"""`trainer.memory.<model>.<trained>`: peak memory of DPO steps in fp32, each case in a process of its own.

The size is in MB of 10^6 bytes: the peak of the resident memory while the loop runs, less what was resident before the
model was loaded and after one of 0.2 million parameters had been trained, which takes the libraries' own into memory.
The limit is the formula of `bounds`, which adds up weights, gradients, states of AdamW, activations and logits although
not all of them are needed at one time. `value_agrees`: the peak is at most 1.5 times the formula. Seconds are not
defined. Trained are the whole model, its top third, or adapters of rank 16.

Quick: only the whole of a random Llama of 0.2 million parameters, whose peak is mostly buffers of libraries.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from bench import area
from bench.lines import Line
from bench.measure import Limits
from bench.trainer.steps import BATCH
from bench.trainer.subjects import FULL, QUICK, Size, subject

_PROBE = "bench.trainer.memory_probe"
_STEPS = 2
"""The second one has optimizer states from its beginning."""
_RATIO_TO_REACH = 1.5


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields ours and the formula for every model and choice of what is trained."""
    for size in QUICK if quick else FULL:
        for trained in ("full",) if quick else ("full", "top_third", "lora"):
            yield from _lines(size, trained)


def _lines(size: Size, trained: str) -> Iterator[Line]:
    peak, formula = _probe(size, trained)
    bench = f"trainer.memory.{size.value}.{trained}"
    agrees = peak <= _RATIO_TO_REACH * formula
    yield Line(bench, "ours", peak / 1e6, None, 1.0, formula / peak, agrees)
    yield Line(bench, "formula (limit)", formula / 1e6, None, formula / peak, 1.0)


def _probe(size: Size, trained: str) -> tuple[int, int]:
    """Returns peak and formula in bytes, from a new process, to which the samples are given."""
    pairs = [(pair.id, pair.prompt, pair.continuations) for pair in subject(size, pairs=_STEPS * BATCH).pairs]
    done = subprocess.run(
        [sys.executable, "-m", _PROBE, size.value, trained],
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    return found["peak_bytes"], found["formula_bytes"]


if __name__ == "__main__":
    area.main(__doc__, lines)
