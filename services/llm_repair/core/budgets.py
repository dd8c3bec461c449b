"""Budgets made exact: how many samples of a ranking a limit buys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from llm_repair.core.errors import BudgetTooSmall, PoolTooSmall
from llm_repair.core.selection import FractionBudget, Limit, SamplesBudget, TokensBudget


def count_tokens(texts: Iterable[str]) -> int:
    """Counts tokens as a budget does: maximal runs of characters other than white space, in all texts together.

    A rule without a tokenizer, so that one budget means the same samples for every model.
    """
    return sum(len(text.split()) for text in texts)


def most_samples(limit: Limit, tokens: Sequence[int]) -> int:
    """Returns the largest number of samples the limit can buy under any ranking: no ranking is needed beyond it.

    Args:
      limit: of the budget.
      tokens: of every pool row, in any order.

    Raises:
      PoolTooSmall: the pool is empty or has fewer rows than the samples asked for.
      BudgetTooSmall: fewer tokens than the shortest sample has.
    """
    if not tokens:
        raise PoolTooSmall("the pool has no rows", pool=0)
    match limit:
        case FractionBudget(fraction=fraction):
            return share_of(fraction, len(tokens))
        case SamplesBudget(samples=samples):
            if samples > len(tokens):
                raise PoolTooSmall(
                    f"the budget asks for {samples} samples, the pool has {len(tokens)}",
                    samples=samples,
                    pool=len(tokens),
                )
            return samples
        case TokensBudget():
            return _longest_prefix(limit.tokens, sorted(tokens))


def delivered_samples(limit: Limit, tokens: Sequence[int], ranked_tokens: Sequence[int]) -> int:
    """Returns how many leading samples of the ranking are delivered: exactly the limit.

    Args:
      limit: of the budget.
      tokens: of every pool row, in any order.
      ranked_tokens: of the rows in rank order, at least `most_samples` of them.

    Raises:
      PoolTooSmall: as `most_samples`.
      BudgetTooSmall: fewer tokens than the first sample of the ranking has.
    """
    most = most_samples(limit, tokens)
    return _longest_prefix(limit.tokens, ranked_tokens) if isinstance(limit, TokensBudget) else most


def share_of(fraction: float, pool_size: int) -> int:
    """Returns `fraction` of the pool to the nearest whole sample, half up, at least one.

    The fraction is taken as the decimal it is written as: 0.15 of 10 is exactly 1.5, hence 2.
    """
    exact = Fraction(repr(fraction)) * pool_size
    return min(pool_size, max(1, math.floor(exact + Fraction(1, 2))))


def _longest_prefix(limit_tokens: int, tokens: Sequence[int]) -> int:
    """Counts leading samples until the first that does not fit: later, shorter ones would break the nesting."""
    spent = 0
    for count, cost in enumerate(tokens):
        spent += cost
        if spent > limit_tokens:
            if count == 0:
                raise BudgetTooSmall(
                    f"the budget of {limit_tokens} tokens does not buy a sample of {cost}",
                    tokens=limit_tokens,
                    needed=cost,
                )
            return count
    return len(tokens)
