"""Sampling: the noise is a pure function of its counters, and the nucleus is the one that sorting gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from llm_repair.models.inference.sampling import RowNoise, Sampling, inverse_cdf, nucleus_by_sort, prompt_key, sample

NUCLEUS = Sampling(draws=1, max_new_tokens=1, top_p=0.9)


def rows(count: int, key: int = 7) -> RowNoise:
    return RowNoise(np.full(count, key, dtype=np.uint64), np.arange(count, dtype=np.uint64))


def drawn(probabilities: list[float], sampling: Sampling, count: int = 20_000) -> np.ndarray:
    logits = torch.tensor(probabilities).log().expand(count, -1)
    tokens = sample(logits, sampling, rows(count), position=3)
    return np.bincount(tokens.numpy(), minlength=len(probabilities))


def test_noise_is_uniform_over_draws_positions_and_attempts() -> None:
    noise = rows(4000)

    for position, attempt in [(0, 0), (1, 0), (0, 1), (19, 5)]:
        assert kstest(noise.uniform(position, attempt), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(noise.uniform(0, 0), noise.uniform(1, 0))[0, 1]) < 0.06
    assert abs(np.corrcoef(noise.uniform(0, 0)[1:], noise.uniform(0, 0)[:-1])[0, 1]) < 0.06


def test_noise_of_a_row_does_not_depend_on_its_neighbours() -> None:
    whole = rows(10).uniform(4, 2)

    alone = rows(10).of(np.array([6])).uniform(4, 2)

    assert alone[0] == whole[6]


def test_noise_differs_by_seed_and_by_prompt() -> None:
    assert len({prompt_key(seed, name) for seed in (0, 1) for name in ("a", "b", "1a")}) == 6


@pytest.mark.parametrize("top_p", [0.05, 0.3, 0.5, 0.75, 0.9, 0.95, 1.0])
def test_samples_follow_the_sorted_nucleus(top_p: float) -> None:
    """Chi-square of 20,000 draws against the definition by sorting, the fall-back included (top_p 0.05)."""
    weights = [0.02, 0.3, 0.05, 0.0, 0.25, 0.11, 0.2, 0.07]

    counts = drawn(weights, Sampling(draws=1, max_new_tokens=1, top_p=top_p))

    nucleus = nucleus_by_sort(torch.tensor([weights]), top_p)[0].double()
    expected = (nucleus / nucleus.sum()).numpy() * counts.sum()
    inside = expected > 0
    assert counts[~inside].sum() == 0
    if inside.sum() > 1:
        assert chisquare(counts[inside], expected[inside]).pvalue > 1e-3


def test_tokens_that_tie_at_the_edge_of_the_nucleus_all_belong() -> None:
    """0.4 alone misses 0.5; the next is a tie of three at 0.2: all belong, although one would be enough."""
    counts = drawn([0.2, 0.4, 0.2, 0.2], Sampling(draws=1, max_new_tokens=1, top_p=0.5))

    assert chisquare(counts, np.array([0.2, 0.4, 0.2, 0.2]) * counts.sum()).pvalue > 1e-3


def test_nucleus_by_sort_keeps_by_the_mass_of_strictly_likelier_tokens() -> None:
    """Mass above: 0.5 -> 0, 0.25 -> 0.5 (both), 0.0 -> 1."""
    weights = torch.tensor([[0.25, 0.5, 0.0, 0.25]])

    assert nucleus_by_sort(weights, 0.5).tolist() == [[0.0, 0.5, 0.0, 0.0]]
    assert nucleus_by_sort(weights, 0.51).tolist() == [[0.25, 0.5, 0.0, 0.25]]


def test_inverse_cdf_crosses_blocks_and_skips_tokens_without_weight() -> None:
    weights = torch.zeros(5, 700)
    weights[:, [0, 255, 256, 699]] = torch.tensor([0.25, 0.25, 0.25, 0.25])

    tokens = inverse_cdf(weights, np.array([0.0, 0.25, 0.5, 0.74999, 1 - 2.0**-53]))

    assert tokens.tolist() == [0, 255, 256, 256, 699]


def test_temperature_sharpens_as_a_power_of_the_probabilities() -> None:
    counts = drawn([0.2, 0.8], Sampling(draws=1, max_new_tokens=1, temperature=0.5))

    assert chisquare(counts, np.array([0.04, 0.64]) / 0.68 * counts.sum()).pvalue > 1e-3


def test_greedy_takes_the_first_of_the_likeliest() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]])

    tokens = sample(logits, Sampling(draws=1, max_new_tokens=1, greedy=True), rows(2), 0)

    assert tokens.tolist() == [1, 0]


def test_base_and_repaired_see_the_same_noise() -> None:
    """Slightly moved probabilities move few tokens: the draws are coupled."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 1000, generator=generator).expand(2000, -1)
    moved = logits + 0.01 * torch.randn(1, 1000, generator=generator)

    same = sample(logits, NUCLEUS, rows(2000), 0) == sample(moved, NUCLEUS, rows(2000), 0)

    assert same.float().mean() > 0.4
