"""Reads the JSON lines of an evaluation artifact, field by field, and says where one is amiss without quoting it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ArtifactCorrupt
from llm_repair.core.execution import Artifact, Json

Scores = Mapping[str, float | None]
"""Name of a judge or label to score in [0, 1]; None where there is none."""


@dataclass(frozen=True)
class Line:
    """One parsed line, which knows where it stands."""

    fields: Mapping[str, Json]
    where: str
    digest: str

    def require(self, holds: bool, otherwise: str) -> None:
        """Raises ArtifactCorrupt unless something holds of the line."""
        if not holds:
            raise ArtifactCorrupt(f"{self.where} of the evaluation {otherwise}", digest=self.digest)

    def text(self, name: str) -> str:
        """Returns a text that must be there."""
        value = self.fields.get(name)
        self.require(isinstance(value, str), f"has no text `{name}`")
        return str(value)

    def count(self, name: str) -> int:
        """Returns a number of things, which must be there."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ArtifactCorrupt(f"{self.where} of the evaluation has no count `{name}`", digest=self.digest)
        return value

    def number_or_nan(self, name: str) -> float:
        """Returns a number; NaN for anything else."""
        value = self.fields.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan

    def truth_or_none(self, name: str) -> bool | None:
        """Returns a truth; None for anything else."""
        value = self.fields.get(name)
        return value if isinstance(value, bool) else None

    def scores(self) -> Scores:
        """Returns the scores by judge, which must be there."""
        scores = self.fields.get("scores")
        if not isinstance(scores, Mapping):
            raise ArtifactCorrupt(f"{self.where} of the evaluation has no `scores`", digest=self.digest)
        return {judge: _score(value) for judge, value in scores.items()}

    def labels(self) -> Mapping[str, Scores]:
        """Returns the probabilities by judge and label, of judges that have several labels."""
        judges = self.fields.get("labels")
        return {
            judge: {label: _score(value) for label, value in labels.items()}
            for judge, labels in (judges.items() if isinstance(judges, Mapping) else ())
            if isinstance(labels, Mapping)
        }


def _score(value: Json) -> float | None:
    """Returns a score in [0, 1]; anything else is no score, and so missing rather than clean."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0.0 <= value <= 1.0 else None


@dataclass(frozen=True)
class EvaluationFiles:
    """The files of an evaluation artifact."""

    store: ArtifactStore
    digest: str
    entries: Mapping[str, Artifact]

    def lines(self, path: str) -> Iterator[Line]:
        """Yields the lines of a file; nothing where there is none."""
        if path not in self.entries:
            return
        for number, line in enumerate(self._bytes(path).splitlines(), start=1):
            where = f"{path} line {number}"
            yield self.line(self._parse(line, where), where)

    def named(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yields (name, path) of the JSON-lines files in a folder, by name."""
        for path in sorted(self.entries):
            if path.startswith(f"{folder}/") and path.endswith(".jsonl"):
                yield path.removeprefix(f"{folder}/").removesuffix(".jsonl"), path

    def line(self, parsed: Json, where: str) -> Line:
        """Returns what must be a JSON object."""
        if not isinstance(parsed, Mapping):
            raise ArtifactCorrupt(f"{where} of the evaluation is not a JSON object", digest=self.digest)
        return Line(parsed, where, self.digest)

    def object(self, path: str) -> Mapping[str, Json]:
        """Returns a JSON object that must be there."""
        self.require(path)
        return self.line(self.document(path), path).fields

    def document(self, path: str) -> Json:
        """Returns a JSON document; None where there is none."""
        return self._parse(self._bytes(path), path) if path in self.entries else None

    def require(self, path: str) -> None:
        """Raises ArtifactCorrupt if there is no such file."""
        if path not in self.entries:
            raise ArtifactCorrupt(f"the evaluation has no {path}", digest=self.digest)

    def _bytes(self, path: str) -> bytes:
        return self.store.get_bytes(self.entries[path].digest)

    def _parse(self, data: bytes, where: str) -> Json:
        try:
            return json.loads(data)
        except ValueError as error:
            raise ArtifactCorrupt(f"{where} of the evaluation is not JSON", digest=self.digest) from error
