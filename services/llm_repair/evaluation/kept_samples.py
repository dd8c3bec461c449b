"""What a sampling run keeps for the next attempt at its step: whole batches, with what the judges said of them.

Batches are a function of the prompts, and noise is one of the sample, so what a later attempt adds is what this one
would have added: with the transformers engine, equal to the bit. A checkpoint is a folder: `about.json`;
`judged-<number>.jsonl`, each written once and part of all later checkpoints, so that keeping much costs no more than
keeping little; and `unjudged.jsonl`, the few batches that the judges have not come to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import (
    ArtifactCorrupt,
    ArtifactNotFound,
    CheckpointForeign,
    CheckpointIncomplete,
    RepairError,
)
from llm_repair.core.execution import Json, StepContext
from llm_repair.evaluation.judging_thread import TextScores
from llm_repair.evaluation.timing import Stopwatch
from llm_repair.models.inference.generation import Generation

EVERY_S = 3.0
"""Least time between two checkpoints."""
_LARGEST_SHARE: Final = 0.01
"""Of the time, that checkpoints may take where each is slow, as into a bucket far away."""
_KEEP: Final = 2
"""Checkpoints kept: the newest, and one to fall back on if it is torn."""
_ABOUT: Final = "about.json"
_UNJUDGED: Final = "unjudged.jsonl"


@dataclass(frozen=True)
class JudgedSample:
    """A sample and what the judges say of it."""

    sample: Generation
    judged: TextScores


@dataclass(frozen=True)
class _Batch:
    """Samples that are judged together."""

    run: str
    samples: Sequence[Generation]


class KeptSamples:
    """The samples of a step so far, by run: the prompts of the gate are one, every further set of prompts is another.

    Used by one thread. What an earlier attempt left is taken up when the object is made, and what becomes of it is
    noted: a checkpoint that is torn or foreign is refused, and an older one, or none, is taken instead.
    """

    def __init__(
        self, store: ArtifactStore, context: StepContext, watch: Stopwatch, identity: Mapping[str, Json]
    ) -> None:
        """Looks for checkpoints of the same `identity`; what is kept later is counted to `checkpoints_s`."""
        self._store = store
        self._context = context
        self._watch = watch
        self._identity: Json = json.loads(json.dumps(identity))
        self._folder = context.workdir / "kept"
        self._judged: dict[str, list[JudgedSample]] = {}
        self._unjudged: list[_Batch] = []
        self._unsaved: list[tuple[str, JudgedSample]] = []
        self._files = 0
        self._changes: int = 0
        self._saved_changes: int = 0
        self._resume()
        self.found = sum(map(len, self._judged.values())) + sum(len(batch.samples) for batch in self._unjudged)
        """Samples that an earlier attempt left."""
        self._saved_at = time.monotonic()

    def judged(self, run: str) -> Sequence[JudgedSample]:
        """Returns the judged samples of a run, as they came; of two for one draw the later one counts."""
        return self._judged.get(run, ())

    def unjudged(self, run: str) -> list[Sequence[Generation]]:
        """Returns the batches of a run that wait for the judges, as they came."""
        return [batch.samples for batch in self._unjudged if batch.run == run]

    def places(self, run: str) -> set[tuple[str, int]]:
        """Returns (prompt id, draw) of all samples of a run, judged or not."""
        unjudged = {(sample.prompt_id, sample.draw) for batch in self.unjudged(run) for sample in batch}
        return unjudged | {(one.sample.prompt_id, one.sample.draw) for one in self.judged(run)}

    def by_text(self) -> dict[str, TextScores]:
        """Returns what the judges say of every text that they have come to."""
        return {one.sample.text: one.judged for samples in self._judged.values() for one in samples}

    def add(self, run: str, samples: Sequence[Generation]) -> None:
        """Keeps a batch that the engine has made."""
        self._unjudged.append(_Batch(run, samples))
        self._changes += 1

    def add_judged(self, run: str, samples: Sequence[JudgedSample]) -> None:
        """Keeps what the judges say of the oldest batch of the run that waits for them; stores all now and then."""
        del self._unjudged[next(index for index, batch in enumerate(self._unjudged) if batch.run == run)]
        self._judged.setdefault(run, []).extend(samples)
        self._unsaved += [(run, sample) for sample in samples]
        self._changes += 1
        cost_s = self._watch.seconds("checkpoints_s")
        if time.monotonic() - self._saved_at >= max(EVERY_S, cost_s / _LARGEST_SHARE):
            self.save()

    def save(self) -> None:
        """Stores a checkpoint, unless nothing has changed since the last."""
        if self._changes == self._saved_changes:
            return
        with self._watch.part("checkpoints_s"):
            if self._unsaved:
                self._files += 1
                lines = [{"run": run, **_judged_to_json(sample)} for run, sample in self._unsaved]
                _write_lines(self._folder / f"judged-{self._files:06d}.jsonl", lines)
                self._unsaved.clear()
            _write_lines(self._folder / _UNJUDGED, (_batch_to_json(batch) for batch in self._unjudged))
            self._store.put_checkpoint(self._context.key, self._changes, self._folder, keep=_KEEP)
        self._saved_changes, self._saved_at = self._changes, time.monotonic()

    def save_before_leaving(self) -> None:
        """Stores a checkpoint while something else fails, which must stay the error that is heard of."""
        with contextlib.suppress(RepairError, OSError):
            self.save()

    def _resume(self) -> None:
        records = self._store.checkpoints(self._context.key)
        # Numbers go on above those of refused ones, which are then the first to be dropped.
        self._changes = self._saved_changes = records[0].step if records else 0
        for record in records:
            try:
                self._load(self._store.materialize(record.digest))
            except (ArtifactCorrupt, ArtifactNotFound, CheckpointIncomplete, CheckpointForeign) as error:
                self._context.note("checkpoint refused", step=record.step, reason=error.reason)
                continue
            self._context.note("resumed from checkpoint", step=record.step)
            return
        self._start_over()
        if records:
            self._context.note("started over", refused=len(records))

    def _start_over(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        self._judged, self._unjudged = {}, []
        (self._folder / _ABOUT).write_text(json.dumps(self._identity, sort_keys=True), encoding="utf-8")

    def _load(self, folder: Path) -> None:
        self._start_over()
        try:
            if json.loads((folder / _ABOUT).read_text(encoding="utf-8")) != self._identity:
                raise CheckpointForeign("the checkpoint was made for other prompts, judges or batches")
            files = sorted(folder.glob("judged-*.jsonl"))
            for file in files:
                for line in _read_lines(file):
                    self._judged.setdefault(line["run"], []).append(_judged_from_json(line))
                shutil.copyfile(file, self._folder / file.name)
            self._unjudged = [_batch_from_json(line) for line in _read_lines(folder / _UNJUDGED)]
        except RepairError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointIncomplete("the checkpoint of the samples cannot be read") from error
        self._files = len(files)


def _judged_to_json(one: JudgedSample) -> dict[str, Any]:
    return {**dataclasses.asdict(one.sample), "scores": one.judged.scores, "probabilities": one.judged.probabilities}


def _judged_from_json(line: Mapping[str, Any]) -> JudgedSample:
    rows = tuple(None if row is None else tuple(row) for row in line["probabilities"])
    return JudgedSample(_sample(line), TextScores(tuple(line["scores"]), rows))


def _batch_to_json(batch: _Batch) -> dict[str, Any]:
    return {"run": batch.run, "samples": [dataclasses.asdict(sample) for sample in batch.samples]}


def _batch_from_json(line: Mapping[str, Any]) -> _Batch:
    return _Batch(line["run"], [_sample(sample) for sample in line["samples"]])


def _sample(fields: Mapping[str, Any]) -> Generation:
    return Generation(fields["prompt_id"], fields["draw"], fields["text"], fields["tokens"])


def _write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, sort_keys=True) + "\n" for line in lines)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
