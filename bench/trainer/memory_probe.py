"""A process that trains a few steps and prints its peak memory; started by `memory`, with the samples on its input."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from pathlib import Path

from bench.models import QuietContext
from bench.trainer.bounds import Work, step_bytes
from bench.trainer.ours import SEED, run_training
from bench.trainer.steps import BATCH
from bench.trainer.subjects import Size, model_of, subject
from llm_repair.core.repair import DpoMethod, FullParameters, LoraParameters, RepairMethod, Trainable
from llm_repair.models.training.adapters import make_trainable
from llm_repair.models.training.batches import TokenisedSample

TRAINED: dict[str, Trainable] = {
    "full": FullParameters(),
    "top_third": FullParameters(top_share=1 / 3),
    "lora": LoraParameters(),
}


def main() -> None:
    """Prints peak and formula, in bytes, as one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("size", type=Size)
    parser.add_argument("trained", choices=TRAINED)
    arguments = parser.parse_args()
    pairs = [
        TokenisedSample(name, tuple(prompt), (tuple(chosen), tuple(rejected)))
        for name, prompt, (chosen, rejected) in json.load(sys.stdin)
    ]
    method = RepairMethod(DpoMethod(), trainable=TRAINED[arguments.trained], epochs=1, batch_samples=BATCH)
    _warm_up()
    gc.collect()
    before = _status_bytes("VmRSS")
    model = model_of(arguments.size)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    with tempfile.TemporaryDirectory() as scratch:
        run_training(model, pairs, [], method, QuietContext("bench", Path(scratch)), Path(scratch) / "store")
    peak = _status_bytes("VmHWM") - before
    target = make_trainable(model_of(arguments.size), method.trained, seed=SEED)
    formula = max(step_bytes(target, Work.of(pairs[at : at + BATCH])) for at in range(0, len(pairs), BATCH))
    print(json.dumps({"peak_bytes": peak, "formula_bytes": formula}))


def _warm_up() -> None:
    """Trains a tiny model, so that the code and the buffers of the libraries are there already."""
    tiny = subject(Size.TINY, pairs=BATCH)
    method = RepairMethod(DpoMethod(), trainable=LoraParameters(), epochs=1, batch_samples=BATCH)
    with tempfile.TemporaryDirectory() as scratch:
        run_training(
            tiny.model(), tiny.pairs, [], method, QuietContext("bench", Path(scratch)), Path(scratch) / "store"
        )


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"this system does not report {name}")


if __name__ == "__main__":
    main()
