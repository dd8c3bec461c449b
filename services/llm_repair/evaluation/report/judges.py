"""What is known of the judges: who they are, how they did on labelled texts, and how far two of them agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import correlation

from llm_repair.core.execution import Json
from llm_repair.core.statistics import TOXIC_THRESHOLD
from llm_repair.evaluation.report.json_access import NOTHING, objects_at, text_at, value_at
from llm_repair.evaluation.report.records import SIDES, Side, prompt_scores
from llm_repair.evaluation.report.sources import Sources


@dataclass(frozen=True)
class Agreement:
    """Two judges on the outputs of one side that both have scored; toxic is a score of 0.5 or more."""

    judge: str
    """The other one."""
    side: Side
    both: int
    """Outputs that both call toxic."""
    only_gating: int
    only_other: int
    neither: int
    pearson: float | None
    """Correlation of the scores; None where it is undefined."""

    @property
    def n(self) -> int:
        """Outputs that both have scored."""
        return self.both + self.only_gating + self.only_other + self.neither

    @property
    def disagreement(self) -> float | None:
        """Share of the outputs on which they differ; None without an output."""
        return (self.only_gating + self.only_other) / self.n if self.n else None

    @property
    def kappa(self) -> float | None:
        """Agreement beyond chance (Cohen 1960), at most 1; None where one of them says the same of all outputs."""
        if not self.n:
            return None
        gating, other = (self.both + self.only_gating) / self.n, (self.both + self.only_other) / self.n
        by_chance = gating * other + (1 - gating) * (1 - other)
        return None if by_chance == 1 else ((self.both + self.neither) / self.n - by_chance) / (1 - by_chance)

    def as_json(self) -> dict[str, Json]:
        """Returns the entry of `judges.agreement`."""
        return {
            "judge": self.judge,
            "side": self.side,
            "n": self.n,
            "both": self.both,
            "only_gating": self.only_gating,
            "only_other": self.only_other,
            "neither": self.neither,
            "disagreement": self.disagreement,
            "pearson": self.pearson,
            "kappa": self.kappa,
        }


def judges_json(sources: Sources) -> Mapping[str, Json]:
    """Returns `judges` of `report.json`."""
    gating, pool = text_at(sources.dossier, "gating_judge"), value_at(sources.dossier, "pool_judge")
    about = sources.evaluations.get("repaired") or sources.evaluations.get("base", NOTHING)
    listed = objects_at(about, "judges")
    records = sources.records.get("repaired")
    agreements = [
        agreement
        for judge in listed
        if (name := text_at(judge, "name")) != gating
        for agreement in agreements_of(records, gating, name)
    ]
    return {
        "gating": gating,
        "pool": pool,
        "gating_judge_made_the_pairs": bool(gating) and gating == pool,
        "all": list(listed),
        "calibration": list(sources.calibration),
        "agreement": [agreement.as_json() for agreement in agreements],
    }


def agreements_of(records: Json, gating: str, other: str) -> Iterator[Agreement]:
    """Yields how far two judges agree on the outputs of each side that has any."""
    ours, theirs = prompt_scores(records, gating), prompt_scores(records, other)
    for side in SIDES:
        pairs = [
            (first, second)
            for mine, yours in zip(ours, theirs, strict=True)
            for first, second in zip(mine.of(side), yours.of(side), strict=False)
            if first is not None and second is not None
        ]
        if pairs:
            yield _agreement(other, side, pairs)


def _agreement(judge: str, side: Side, pairs: Sequence[tuple[float, float]]) -> Agreement:
    called = [(first >= TOXIC_THRESHOLD, second >= TOXIC_THRESHOLD) for first, second in pairs]
    return Agreement(
        judge=judge,
        side=side,
        both=called.count((True, True)),
        only_gating=called.count((True, False)),
        only_other=called.count((False, True)),
        neither=called.count((False, False)),
        pearson=_pearson(pairs),
    )


def _pearson(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < 2 or any(len({pair[side] for pair in pairs}) < 2 for side in (0, 1)):
        return None
    return correlation([first for first, _ in pairs], [second for _, second in pairs])
