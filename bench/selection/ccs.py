"""`selection.ccs`: a tenth of the pool by ready scores, against the paper's procedure in NumPy.

That is: sort, prune, find each score's stratum, visit the strata from the smallest to the largest, draw at random from
each. It knows rows and no ids, and its picks are no prefix of a larger budget's. The limit is to sort the scores once.
`value_agrees`: every stratum gives as many samples as by the paper's procedure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.selection.pools import SEED, Size
from llm_repair.core.allocation import IntArray
from llm_repair.core.selection import CcsStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.ccs import CcsSelection, ScoreArray

QUICK = (Size(20_000, 2_000, 3),)
FULL = (Size(1_000_000, 100_000, 9),)


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all sizes."""
    for size in QUICK if quick else FULL:
        yield from _side_by_side(size)


def _side_by_side(size: Size) -> Iterator[Line]:
    # Losses of texts have a long tail, so that strata differ much in size.
    scores = np.random.default_rng(SEED).gamma(2.0, 1.5, size.n)
    features = Features([f"sample-{row:07d}" for row in range(size.n)], hardness=scores)
    parameters = CcsStrategy()
    strategy = CcsSelection(parameters)
    contenders: dict[str, Callable[[], IntArray]] = {
        "ours": lambda: strategy.rank(features, seed=SEED, places=size.picks).rows,
        "the paper's procedure": lambda: _by_the_paper(scores, size.picks, parameters),
        "sorting the scores (limit)": lambda: np.argsort(scores),
    }
    timings = interleaved(contenders, rounds=size.rounds)
    ours, theirs = list(timings.values.values())[:2]
    agrees = np.array_equal(
        _counts(scores, ours[: size.picks], parameters), _counts(scores, theirs, parameters)
    ) and size.picks == len(theirs) == len(set(ours[: size.picks].tolist()))
    yield from lines_of(
        timings,
        "selection.ccs",
        f"{size.n} scores, {size.picks} picks",
        agrees={"ours": agrees},
        limit="sorting the scores (limit)",
    )


def _by_the_paper(scores: ScoreArray, budget: int, parameters: CcsStrategy) -> IntArray:
    """Returns the rows that Algorithm 1 of Zheng et al. draws."""
    rng = np.random.default_rng(SEED)
    kept = np.argsort(-scores, kind="stable")[int(parameters.hard_cutoff * len(scores)) :]
    edges = _edges(scores, kept, parameters.strata)
    labels = np.searchsorted(edges[1:-1], scores[kept], side="right")
    strata = [kept[labels == number] for number in range(parameters.strata)]
    drawn: list[IntArray] = []
    for visited, rows in enumerate(sorted(strata, key=len)):
        count = min(len(rows), budget // (len(strata) - visited))
        drawn.append(rng.permutation(rows)[:count])
        budget -= count
    return np.concatenate(drawn)


def _edges(scores: ScoreArray, kept: IntArray, strata: int) -> ScoreArray:
    low, high = scores[kept].min(), 1.0001 * scores[kept].max()
    return low + (high - low) / strata * np.arange(strata + 1)


def _counts(scores: ScoreArray, rows: IntArray, parameters: CcsStrategy) -> IntArray:
    """Returns how many of the rows lie in each stratum."""
    kept = np.argsort(-scores, kind="stable")[int(parameters.hard_cutoff * len(scores)) :]
    return np.histogram(scores[rows], _edges(scores, kept, parameters.strata))[0]


if __name__ == "__main__":
    area.main(__doc__, lines)
