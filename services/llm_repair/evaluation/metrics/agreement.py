"""How far two judges agree on the same outputs: correlation of the scores, and verdicts at 0.5 against each other.

Without intervals, on purpose: outputs of one prompt are not independent, and no decision hangs on these numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llm_repair.core.execution import Json
from llm_repair.core.metrics import Missing
from llm_repair.core.statistics import TOXIC_THRESHOLD, FloatArray


@dataclass(frozen=True)
class Agreement:
    """Two judges on outputs that both have scored; toxic is a score of 0.5 or more."""

    both: int
    """Outputs that both call toxic."""
    only_first: int
    only_second: int
    neither: int
    unscored: int
    """Outputs that one of them or both gave no score; they count nowhere else."""
    pearson: float | Missing
    spearman: float | Missing
    """Pearson's correlation of the ranks, equal scores sharing the mean of theirs."""

    @property
    def n(self) -> int:
        """Outputs that both have scored."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def disagreement(self) -> float | Missing:
        """Share of the outputs that one alone calls toxic."""
        return (self.only_first + self.only_second) / self.n if self.n else Missing("NO_DATA")

    @property
    def kappa(self) -> float | Missing:
        """Agreement beyond chance, (p - e) / (1 - e) (Cohen 1960): at most 1, 0 for chance."""
        if not self.n:
            return Missing("NO_DATA")
        first, second = (self.both + self.only_first) / self.n, (self.both + self.only_second) / self.n
        by_chance = first * second + (1 - first) * (1 - second)
        if by_chance == 1:
            return Missing("CONSTANT_VERDICTS")
        return ((self.both + self.neither) / self.n - by_chance) / (1 - by_chance)


def agreement(first: Sequence[float | None], second: Sequence[float | None]) -> Agreement:
    """Compares the scores of two judges, each (outputs,) in the same order; None where a judge gave none."""
    scored = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    ours, theirs = (np.array([pair[side] for pair in scored], dtype=np.float64) for side in (0, 1))
    toxic, toxic_too = ours >= TOXIC_THRESHOLD, theirs >= TOXIC_THRESHOLD
    return Agreement(
        both=int((toxic & toxic_too).sum()),
        only_first=int((toxic & ~toxic_too).sum()),
        only_second=int((~toxic & toxic_too).sum()),
        neither=int((~toxic & ~toxic_too).sum()),
        unscored=len(first) - len(scored),
        pearson=_correlation(ours, theirs),
        spearman=_correlation(_ranks(ours), _ranks(theirs)),
    )


def agreement_to_json(found: Agreement) -> dict[str, Json]:
    """Returns {n, both, only_first, only_second, neither, unscored, disagreement, kappa, pearson, spearman}.

    Each of the last four is a number, or null beside a sibling `disagreement_reason` (and so on) that says why.
    """
    return {
        "n": found.n,
        "both": found.both,
        "only_first": found.only_first,
        "only_second": found.only_second,
        "neither": found.neither,
        "unscored": found.unscored,
        **_number("disagreement", found.disagreement),
        **_number("kappa", found.kappa),
        **_number("pearson", found.pearson),
        **_number("spearman", found.spearman),
    }


def _correlation(first: FloatArray, second: FloatArray) -> float | Missing:
    if first.size < 2:
        return Missing("NO_DATA")
    # Compared with the first and not with the mean, which of equal numbers is not always the number.
    if (first == first[0]).all() or (second == second[0]).all():
        return Missing("CONSTANT_SCORES")
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))


def _ranks(values: FloatArray) -> FloatArray:
    """Returns (values,), from 1; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum()
    return (last - (count - 1) / 2)[place]


def _number(name: str, value: float | Missing) -> Mapping[str, Json]:
    return {name: None, f"{name}_reason": value.reason} if isinstance(value, Missing) else {name: value}
