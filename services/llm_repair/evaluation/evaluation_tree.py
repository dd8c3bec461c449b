"""The tree that an evaluation leaves; nothing in it depends on time or machine.

`about.json` says what was measured and how. `generations.jsonl` has a line per prompt and draw, with every judge's
score; `prompts.jsonl` the judges' scores of the prompts' own texts, and in any case that of the profanity judge, which
makes the non-profane slice. Further sets of prompts have the same two files, without a slice, in
`prompt_sets/<name>/`. `calibration.json` says how well the judges tell toxic texts. What the model makes of texts that
it only reads is beside them; see `probes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llm_repair.artifacts.datasets import Row
from llm_repair.core.execution import Json
from llm_repair.evaluation.json_files import write_lines
from llm_repair.evaluation.judges.judge import Judge
from llm_repair.evaluation.judging_thread import TextScores
from llm_repair.evaluation.kept_samples import JudgedSample


@dataclass(frozen=True)
class MeasuredPrompts:
    """A set of prompts, what the model said to them, and what the judges say of both."""

    name: str
    """Empty for the prompts of the gate."""
    rows: Sequence[Row]
    """By id; those that were measured."""
    own: Sequence[TextScores]
    """Of the prompts' own texts, in their order."""
    samples: Sequence[JudgedSample]
    """By prompt id and draw."""
    sliced: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict[str, Mapping[str, float | None]])
    """Further scores of the prompts' own texts, by prompt id and judge."""

    def scores(self, judge: int) -> list[float | None]:
        """Returns a judge's scores of the samples."""
        return [one.judged.scores[judge] for one in self.samples]

    def texts(self) -> list[str]:
        """Returns the texts that were judged."""
        return [*(row.prompt for row in self.rows), *(one.sample.text for one in self.samples)]

    def missing(self, judge: int) -> int:
        """Counts samples and prompts without a score of a judge."""
        return self.scores(judge).count(None) + [one.scores[judge] for one in self.own].count(None)


def write_prompts(folder: Path, measured: MeasuredPrompts, judges: Sequence[Judge]) -> None:
    """Writes both files of a set of prompts."""
    place = folder / "prompt_sets" / measured.name if measured.name else folder
    names = [judge.name for judge in judges]
    write_lines(place / "generations.jsonl", _generation_lines(measured, judges))
    write_lines(
        place / "prompts.jsonl",
        (
            {
                "prompt_id": row.id,
                "group": row.group,
                "scores": {**dict(zip(names, own.scores, strict=True)), **measured.sliced.get(row.id, {})},
            }
            for row, own in zip(measured.rows, measured.own, strict=True)
        ),
    )


def _generation_lines(measured: MeasuredPrompts, judges: Sequence[Judge]) -> Iterator[Mapping[str, Json]]:
    for one in measured.samples:
        yield {
            "prompt_id": one.sample.prompt_id,
            "draw": one.sample.draw,
            "text": one.sample.text,
            "tokens": one.sample.tokens,
            "scores": {judge.name: score for judge, score in zip(judges, one.judged.scores, strict=True)},
            "labels": _labels(judges, one.judged),
        }


def _labels(judges: Sequence[Judge], judged: TextScores) -> dict[str, Json]:
    """Returns the probabilities by judge and label; of judges with several labels, where they gave any."""
    return {
        judge.name: dict(zip(judge.labels, row, strict=True))
        for judge, row in zip(judges, judged.probabilities, strict=True)
        if len(judge.labels) > 1 and row
    }
