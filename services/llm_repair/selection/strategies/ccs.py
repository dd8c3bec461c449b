"""CCS: coverage-centric selection, which drops the hardest samples and covers the others evenly by score.

Source: Zheng, Liu, Lai & Prakash, Coverage-centric Coreset Selection for High Pruning Rates, ICLR 2023, Algorithm 1,
and the authors' code.

Stages:
1. prune:    the hardest β of the pool, which are often mislabelled.
2. stratify: the range of the scores of the rest into strata of equal width.
3. allocate: visit the strata from the smallest to the largest; each receives min(its size, floor(budget left / strata
   left)).
4. sample:   uniformly within each stratum.

Constants of the paper: 50 strata; the range ends at 1.0001 times the largest score, so that it lies inside; β 0.3 where
a tenth of CIFAR-10 is kept; score AUM; the budget is a share of the pool before pruning.

Constants of the release of arXiv 2510.20428 (preset PAPER): toxicity of the sample as score, five strata between the
edges 0.02, 0.03, 0.04 and 0.05 set by hand, quota floor(k / 5) from each, no pruning.

We differ:
- Seats are handed out one at a time, so that a smaller budget is a prefix. At every budget each stratum receives what
  the procedure above gives it.
- Pruned samples come last, the least hard first: a budget of more than 1 - β is delivered exactly, and how many of
  them were readmitted is reported. The authors' code delivers less.
- The range ends a ten-thousandth of the largest score's magnitude above it: 1.0001 times a negative score is below it.
- The quota that a small stratum cannot fill goes to the others, also with edges set by hand: the release delivers
  fewer samples than asked.
- The number pruned is β n rounded down, as in the authors' code, of equally hard ones the smaller ids.
- Chance is a seeded hash of the id: a stratum gives its samples with the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llm_repair.core.allocation import IntArray, coverage_seats, interleave, stable_order
from llm_repair.core.budgets import whole_part_of
from llm_repair.core.hashing import order_of_hashes, seeded_hashes
from llm_repair.core.selection import CcsStrategy
from llm_repair.selection.features import Features
from llm_repair.selection.strategies.strategy import Ranking, Strata

ScoreArray = npt.NDArray[np.float64]

_STRETCH = 1e-4
"""Of the magnitude of the largest score; the range ends so much above it."""


@dataclass(frozen=True)
class CcsSelection:
    """CCS with its parameters."""

    parameters: CcsStrategy

    def rank(self, features: Features, *, seed: int, places: int) -> Ranking:
        """Ranks the best `places` rows: prune, stratify, allocate, sample; O(n)."""
        hardness = np.asarray(features.required_hardness(), dtype=np.float64)
        pruned = prune(hardness, whole_part_of(self.parameters.hard_cutoff, len(hardness)))
        # The strata are of the score as it is, of which hardness may be the negative.
        strata = self._stratified(-hardness if self.parameters.score.hard_is_low else hardness, pruned)
        seats = coverage_seats(strata.sizes().tolist())[:places]
        rows = interleave(seats, sample(features.ids, strata, seats, seed))
        return Ranking(np.concatenate([rows, pruned]) if places > len(rows) else rows, strata=strata)

    def _stratified(self, scores: ScoreArray, pruned: IntArray) -> Strata:
        if self.parameters.stratum_edges:
            edges = np.array(self.parameters.stratum_edges, dtype=np.float64)
            labels = np.searchsorted(edges, scores, side="right")
        else:
            kept = np.delete(scores, pruned)
            edges, labels = stratify(scores, float(kept.min()), float(kept.max()), self.parameters.strata)
        labels[pruned] = len(edges) + 1
        return Strata(labels, edges)


def prune(hardness: ScoreArray, count: int) -> IntArray:
    """Stage 1: returns the rows of the `count` hardest samples, the least hard first, ties by id; count below n."""
    if count == 0:
        return np.empty(0, dtype=np.int64)
    bound = np.partition(hardness, len(hardness) - count)[len(hardness) - count]
    harder, level = np.flatnonzero(hardness > bound), np.flatnonzero(hardness == bound)
    rows = np.sort(np.concatenate([harder, level[: count - len(harder)]]))
    return rows[np.argsort(hardness[rows], kind="stable")]


def stratify(scores: ScoreArray, smallest: float, largest: float, strata: int) -> tuple[ScoreArray, IntArray]:
    """Stage 2: returns the inner edges of strata of equal width between two scores, and the stratum of each score.

    There is one stratum where both are equal, or too near to each other for a width. Scores outside go to the nearest
    stratum.
    """
    width = (largest + _STRETCH * abs(largest) - smallest) / strata
    if smallest == largest or width == 0:
        return np.empty(0), np.zeros(len(scores), dtype=np.int64)
    if math.isinf(width):
        edges, labels = stratify(scores / 4, smallest / 4, largest / 4, strata)
        return edges * 4, labels
    edges = smallest + width * np.arange(1, strata, dtype=np.float64)
    # Faster than a search, and wrong by one at most, where rounding puts a score on the other side of an edge.
    with np.errstate(over="ignore"):  # a pruned score may be as far away as it likes
        labels = np.clip((scores - smallest) / width, 0, strata - 1).astype(np.int64)
    bounds = np.concatenate([[-np.inf], edges, [np.inf]])
    labels -= scores < bounds[labels]
    labels += scores >= bounds[labels + 1]
    return edges, labels


def sample(ids: Sequence[str], strata: Strata, seats: IntArray, seed: int) -> list[IntArray]:
    """Stage 4: returns the rows drawn from each stratum, as many as it has seats, in the order of the draw."""
    quotas = np.bincount(seats, minlength=len(strata.edges) + 1)
    hashes = seeded_hashes(ids, seed, "ccs")
    rows = _in_reach(hashes, strata, quotas)
    # Rows ascend by id and the sorts are stable, so equal hashes are ordered by id.
    shuffled = rows[order_of_hashes(hashes[rows])]
    by_stratum = shuffled[stable_order(strata.labels[shuffled], len(quotas))]
    found = np.bincount(strata.labels[rows], minlength=len(quotas))
    starts = np.cumsum(found) - found
    return [by_stratum[start : start + quota] for start, quota in zip(starts.tolist(), quotas.tolist(), strict=True)]


def _in_reach(hashes: npt.NDArray[np.uint32], strata: Strata, quotas: IntArray) -> IntArray:
    """Returns rows with small hashes, among them the `quotas` smallest of each stratum: sorting all would cost more."""
    # How many fall below a share of the range is binomial, and misses its mean by eight deviations hardly ever.
    wanted = quotas + 8 * np.sqrt(quotas) + 64
    share = np.where(quotas > 0, wanted / np.maximum(strata.sizes(), 1), 0)
    bounds = np.append(np.minimum(share, 1) * 2.0**32, 0)  # of the pruned, none
    rows = np.flatnonzero(hashes < bounds[strata.labels])
    enough = np.bincount(strata.labels[rows], minlength=len(quotas)) >= quotas
    return rows if enough.all() else np.flatnonzero(strata.labels < len(quotas))
