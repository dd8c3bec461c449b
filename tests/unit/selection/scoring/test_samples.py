"""A pool in token ids: distinct texts, and batches that shards share."""

from typing import Any

import pytest

from llm_repair.artifacts.datasets import Row
from llm_repair.core.errors import DatasetInvalid, StepCancelled
from llm_repair.models.training.batches import Encoding, TokenisedSample
from llm_repair.selection.scoring.samples import map_batches, pool_samples
from llm_repair.selection.shards import LocalShards

LETTERS = Encoding(encode=lambda text: [ord(letter) - ord("a") for letter in text])


def test_rows_of_equal_tokens_share_a_sample_under_the_first_id(context: Any) -> None:
    rows = [Row("a", "x", "y", "z"), Row("b", "x", "y", "w"), Row("c", "x", "yy")]

    pool = pool_samples(rows, LETTERS, continuations=1, max_tokens=10, context=context)

    assert [sample.id for sample in pool.distinct] == ["a", "c"]
    assert pool.places.tolist() == [0, 0, 1]


def test_rows_that_differ_in_a_side_that_is_compared_do_not(context: Any) -> None:
    rows = [Row("a", "x", "y", "z"), Row("b", "x", "y", "w")]

    pool = pool_samples(rows, LETTERS, continuations=2, max_tokens=10, context=context)

    assert pool.places.tolist() == [0, 1]


def test_texts_that_are_equal_once_cut_share_a_sample_and_both_count_as_cut(context: Any) -> None:
    rows = [Row("a", "x", "yyyz"), Row("b", "x", "yyyw")]

    pool = pool_samples(rows, LETTERS, continuations=1, max_tokens=4, context=context)

    assert (len(pool.distinct), pool.truncated) == (1, 2)


def test_rows_that_lack_a_side_are_named_and_not_quoted(context: Any) -> None:
    rows = [Row("a", "secret", "y"), Row("b", "x", "y", "z")]

    with pytest.raises(DatasetInvalid) as refused:
        pool_samples(rows, LETTERS, continuations=2, max_tokens=10, context=context)
    assert refused.value.metadata == {"count": "1", "ids": "a"}
    assert "secret" not in refused.value.message


def test_unpaired_rows_are_taken_as_they_are_and_one_text_on_two_sides_is_two_samples(context: Any) -> None:
    rows = [Row("a", "x", "y", "z"), Row("b", "x", "y"), Row("c", "x", rejected="y"), Row("d", "x", rejected="y")]

    pool = pool_samples(rows, LETTERS, continuations=2, max_tokens=10, context=context, unpaired=True)

    assert [len(sample.continuations) for sample in pool.distinct] == [2, 1, 1]
    assert [sample.desirable for sample in pool.distinct] == [True, True, False]
    assert pool.places.tolist() == [0, 1, 2, 2]


def test_unpaired_rows_without_either_side_are_named(context: Any) -> None:
    with pytest.raises(DatasetInvalid) as refused:
        pool_samples(
            [Row("a", "x"), Row("b", "x", "y")], LETTERS, continuations=2, max_tokens=9, context=context, unpaired=True
        )
    assert refused.value.metadata == {"count": "1", "ids": "a"}


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_batches_come_back_in_order_whatever_the_shards(context: Any, shards: int) -> None:
    samples = [TokenisedSample(str(number), (1,), ((2,) * (number + 1),)) for number in range(9)]
    batches = [[8, 7], [6], [5, 4, 3], [2], [1, 0]]

    made = map_batches(samples, batches, lambda batch: [one.id for one in batch], context, LocalShards(shards))

    assert made == [["8", "7"], ["6"], ["5", "4", "3"], ["2"], ["1", "0"]]
    assert context.tokens == sum(sample.tokens for sample in samples)
    assert [done for done, _, _, _ in context.reports] == [2, 3, 6, 7, 9]


def test_a_cancelled_step_starts_no_other_batch(context: Any) -> None:
    samples = [TokenisedSample("a", (1,), ((2,),)), TokenisedSample("b", (1,), ((2,),))]
    begun: list[str] = []

    def work(batch: object) -> None:
        begun.append("batch")
        context.cancelled = True

    with pytest.raises(StepCancelled):
        map_batches(samples, [[0], [1]], work, context, LocalShards())
    assert begun == ["batch"]
