"""Step code for tests of the execution machinery; imported by real worker processes."""

import os
import signal
import time
from pathlib import Path

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, StepCancelled
from llm_repair.core.execution import StepContext, StepOutput
from llm_repair.core.steps import EmbedStep, ReportStep


def count_to_ten(step: EmbedStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Counts slowly; leaves a line in the file named by `pool_digest` for each time it is run."""
    with Path(step.pool_digest).open("a") as log:
        log.write(f"{os.getpid()}\n")
    for done in range(10):
        context.raise_if_cancelled()
        context.progress(done + 1, 10, "counts")
        time.sleep(0.1)
    context.note("counted", to=10)
    context.count(tokens=10)
    return StepOutput({"embeddings": store.put_bytes(b"ten")}, {"counted": 10})


def misbehave(step: ReportStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Does what `dossier_digest` says."""
    match step.dossier_digest:
        case "refuse":
            raise DatasetInvalid("three rows are bad", bad_rows=3)
        case "defect":
            raise ZeroDivisionError(" ".join(["secret", "row", "text"]))  # so that no source line holds it
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die and leave a child":
            if os.fork() == 0:
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave slowly":
            context.progress(1, 2, "steps")
            while True:
                try:
                    context.raise_if_cancelled()
                except StepCancelled:
                    time.sleep(1.0)
                    raise
                time.sleep(0.01)
        case "ignore cancel":
            time.sleep(600)
        case "tell much":
            for part in range(10):
                context.progress(1, 2, "parts", stage=f"part {part}")
                time.sleep(0.1)
        case "resume at 90":
            context.progress(90, 100, "steps")
            time.sleep(1.1)
            context.progress(91, 100, "steps")
            time.sleep(0.2)
        case "train":
            context.progress(3, 10, "steps", measures={"loss": 0.5, "gradient_norm": float("inf"), "block": 2})
            while True:
                context.raise_if_cancelled()
                time.sleep(0.01)
        case "not a number":
            return StepOutput({}, {"share": float("nan")})
    return StepOutput({"report": store.put_bytes(b"fine")})
