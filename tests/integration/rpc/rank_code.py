"""Step code that runs as several ranks, for tests of what starts and ends them; imported by real worker processes."""

import json
import os
import signal
import time
from pathlib import Path

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, StepCancelled
from llm_repair.core.execution import RankPlace, StepContext, StepOutput
from llm_repair.core.steps import ReportStep


def run(step: ReportStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Does by two ranks what `dossier_digest` says, which is `behaviour:folder`."""
    return context.run_ranks("rank_code:rank", 2)


def rank(step: ReportStep, store: ArtifactStore, context: StepContext, place: RankPlace) -> StepOutput:
    """Leaves a file of its own in the folder, `rank-0` or `rank-1`, and does its part."""
    behaviour, _, folder = step.dossier_digest.partition(":")
    about = {"pid": os.getpid(), "workdir": str(context.workdir), "threads": context.threads, "ranks": place.ranks}
    mine = Path(folder) / f"rank-{place.rank}"
    mine.with_suffix(".part").write_text(json.dumps(about))
    mine.with_suffix(".part").rename(mine)
    wait_for(Path(folder) / f"rank-{1 - place.rank}")
    if place.rank == 0:
        context.note("begun", behaviour=behaviour)
        context.progress(1, 2, "parts", measures={"loss": 0.5})
    match behaviour, place.rank:
        case "work", _:
            work(0.4)
            context.count(tokens=10, accelerator_s=1.5)
            context.note("unheard" if place.rank else "done")
            return StepOutput({"report": store.put_bytes(f"rank {place.rank}".encode())})
        case "refuse", 1:
            raise DatasetInvalid("three rows are bad", bad_rows=3)
        case "die", 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case "stumble over a death", 1:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        case "stumble over a refusal", 1:
            time.sleep(0.5)
            raise DatasetInvalid("three rows are bad", bad_rows=3)
        case (("stumble over a death" | "stumble over a refusal" | "stumble"), 0):
            raise RuntimeError("connection closed by peer")
        case "kill the parent", 1:
            os.kill(os.getppid(), signal.SIGKILL)
        case "leave", _:
            leave(context, Path(folder), place)
    time.sleep(600)
    raise AssertionError("nobody ended this rank")


def work(cpu_s: float) -> None:
    """Uses a processor for so long."""
    until = time.process_time() + cpu_s
    while time.process_time() < until:
        pass


def leave(context: StepContext, folder: Path, place: RankPlace) -> None:
    """Goes on until cancelled; then rank 0 takes its time to save something, while rank 1 is gone at once."""
    while True:
        try:
            context.raise_if_cancelled()
        except StepCancelled:
            if place.rank == 0:
                time.sleep(1.0)
                (folder / "saved").touch()
            raise
        time.sleep(0.01)


def wait_for(path: Path) -> None:
    """Waits until there is a file."""
    deadline = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > deadline:
            raise AssertionError("the other rank has not come")
        time.sleep(0.01)
