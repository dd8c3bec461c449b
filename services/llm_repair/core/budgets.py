"""Budgets made exact: how many samples of a ranking a limit buys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from llm_repair.core.errors import BudgetTooSmall, PoolTooSmall
from llm_repair.core.selection import FractionBudget, Limit, SamplesBudget, TokensBudget

Counts = Sequence[int] | npt.NDArray[np.int64]


def count_tokens(texts: Iterable[str]) -> int:
    """Counts tokens as a budget does: maximal runs of characters other than white space, in all texts together.

    A rule without a tokenizer, so that one budget means the same samples for every model.
    """
    return sum(len(text.split()) for text in texts)


def most_samples(limit: Limit, tokens: Counts) -> int:
    """Returns the largest number of samples the limit can buy under any ranking: no ranking is needed beyond it.

    Args:
      limit: of the budget.
      tokens: of every pool row, in any order.

    Raises:
      PoolTooSmall: the pool is empty or has fewer rows than the samples asked for.
      BudgetTooSmall: fewer tokens than the shortest sample has.
    """
    if len(tokens) == 0:
        raise PoolTooSmall("the pool has no rows", pool=0)
    match limit:
        case FractionBudget(fraction=fraction):
            return share_of(fraction, len(tokens))
        case SamplesBudget(samples=samples):
            if samples > len(tokens):
                raise PoolTooSmall(
                    f"the budget asks for {samples} samples, the pool has {len(tokens)}",
                    field="budget.samples.samples",
                    samples=samples,
                    pool=len(tokens),
                )
            return samples
        case TokensBudget():
            return _longest_prefix(limit.tokens, np.sort(np.asarray(tokens, dtype=np.int64)))


def delivered_samples(limit: Limit, most: int, ranked_tokens: Counts) -> int:
    """Returns how many leading samples of the ranking are delivered: exactly the limit.

    Args:
      limit: of the budget.
      most: `most_samples` under it.
      ranked_tokens: of the rows in rank order, at least `most` of them.

    Raises:
      BudgetTooSmall: fewer tokens than the first sample of the ranking has.
    """
    if isinstance(limit, TokensBudget):
        return _longest_prefix(limit.tokens, np.asarray(ranked_tokens, dtype=np.int64))
    return most


def share_of(fraction: float, whole: int) -> int:
    """Returns `fraction` of the pool to the nearest whole sample, half up, at least one.

    The fraction is taken as the decimal it is written as: 0.15 of 10 is exactly 1.5, hence 2.
    """
    return min(whole, max(1, math.floor(_decimal(fraction) * whole + Fraction(1, 2))))


def whole_part_of(fraction: float, whole: int) -> int:
    """Returns `fraction` of the pool rounded down; the fraction is taken as the decimal it is written as."""
    return math.floor(_decimal(fraction) * whole)


def _decimal(fraction: float) -> Fraction:
    return Fraction(repr(float(fraction)))


def _longest_prefix(limit_tokens: int, tokens: npt.NDArray[np.int64]) -> int:
    """Counts leading samples before the first that does not fit: later, shorter ones would break the nesting."""
    count = int(np.searchsorted(np.cumsum(tokens), limit_tokens, side="right"))
    if count == 0:
        raise BudgetTooSmall(
            f"the budget of {limit_tokens} tokens does not buy a sample of {tokens[0]}",
            field="budget.tokens.tokens",
            tokens=limit_tokens,
            needed=int(tokens[0]),
        )
    return count
