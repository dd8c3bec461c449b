"""A batch is dealt to ranks by its samples alone, every sample to one rank; and cut into equally many passes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from gradient_models import made
from training_oracle import QuietContext

from llm_repair.core.errors import StepCancelled
from llm_repair.models.training import log_probs
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.log_probs import LogProbs
from llm_repair.models.training.ranks import Ranks
from llm_repair.models.training.shares import Part, dealt, stand_in


def samples_of_lengths(*tokens: int) -> list[TokenisedSample]:
    """Returns samples of one prompt token and one continuation, so many tokens in all, at least 2."""
    return [TokenisedSample(f"s{i}", (1,), ((2,) * (count - 1),)) for i, count in enumerate(tokens)]


def test_the_longest_sample_goes_to_whoever_has_the_fewest_tokens() -> None:
    """6 to the first; 4 and then 3 to the second, which has 0 and then 4; 2 to the first, which has 6 against 7."""
    assert dealt(samples_of_lengths(3, 6, 2, 4), 2) == [[1, 2], [0, 3]]


def test_equal_samples_go_to_the_ranks_in_turn() -> None:
    assert dealt(samples_of_lengths(5, 5, 5, 5, 5), 3) == [[0, 3], [1, 4], [2]]


def test_one_rank_takes_everything_in_its_order() -> None:
    assert dealt(samples_of_lengths(3, 6, 2, 4), 1) == [[0, 1, 2, 3]]


def test_a_rank_more_than_there_are_samples_gets_none() -> None:
    assert dealt(samples_of_lengths(3, 6), 3) == [[1], [0], []]


def test_who_has_nothing_left_reads_the_shortest_sample_for_nothing() -> None:
    part = stand_in(samples_of_lengths(3, 2, 2))

    assert (part.places, part.weight) == ([1], 0)


def shares_of(rank: int, samples: list[TokenisedSample], **options: bool) -> list[Part]:
    """Returns the parts of one of two ranks that agree on nothing but their samples."""
    probes = samples_of_lengths(3, 4)
    reading = LogProbs(made("llama"), probes, prompt_in_loss=False, half=False, ranks=Lonely(rank, 2), **options)
    return list(reading.shares(samples, QuietContext()))


class Lonely(Ranks):
    """One of several ranks whose others are not there; nobody is asked."""

    def raise_if_cancelled(self, context: object) -> None:
        pass


def test_all_ranks_make_equally_many_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have 10 tokens, of which 9 may be read at once: a single sample of 10 all the same, and 4 and 4, then 2."""
    monkeypatch.setattr(log_probs, "PART_TOKENS", 9)
    samples = samples_of_lengths(10, 4, 4, 2)

    first, second = shares_of(0, samples), shares_of(1, samples)

    assert [(part.places, part.weight) for part in first] == [([0], 1), ([3], 0)]
    assert [(part.places, part.weight) for part in second] == [([1, 2], 1), ([3], 1)]


def test_nothing_to_read_takes_no_pass() -> None:
    assert shares_of(0, []) == shares_of(1, []) == []


def test_halved_parts_have_at_most_half_the_tokens_of_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two ranks with 4, 4, 4 and 4 tokens, at most 8 at once: two passes of two samples, halved four of one."""
    monkeypatch.setattr(log_probs, "PART_TOKENS", 8)
    samples = samples_of_lengths(*[4] * 8)

    assert [len(part.samples) for part in shares_of(0, samples)] == [2, 2]
    assert [len(part.samples) for part in shares_of(0, samples, halved=True)] == [1, 1, 1, 1]


@dataclass
class CancelledContext(QuietContext):
    """A step context that is cancelled."""

    def raise_if_cancelled(self) -> None:
        raise StepCancelled


def test_a_cancellation_is_looked_for_before_each_pass() -> None:
    samples = samples_of_lengths(3, 4)
    reading = LogProbs(made("llama"), samples, prompt_in_loss=False, half=False)

    with pytest.raises(StepCancelled):
        next(reading.shares(samples, CancelledContext()))
