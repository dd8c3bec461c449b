"""The benchmarks of judges: what they compare, what counts as the least work, and when scores are said to agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks import COLUMNS, quick_run
from transformers import BertConfig


@pytest.fixture(scope="module")
def toxicity_lines() -> list[dict[str, Any]]:
    return quick_run("evaluation.toxicity")[1:]


@pytest.mark.timeout(300)
def test_the_judge_is_compared_with_detoxify_in_three_uses(toxicity_lines: list[dict[str, Any]]) -> None:
    stock = ["Detoxify.predict", "Detoxify.predict, 32 texts at a time", "Detoxify.predict, one text at a time"]

    assert [line["contender"] for line in toxicity_lines] == ["ours", *stock]
    assert all(set(line) == COLUMNS for line in toxicity_lines)
    assert all(line["bench"] == "evaluation.toxicity" for line in toxicity_lines)
    assert all(line["seconds"] > 0 and line["limit_share"] > 0 for line in toxicity_lines)


def test_all_uses_give_the_same_scores(toxicity_lines: list[dict[str, Any]]) -> None:
    assert [line["value_agrees"] for line in toxicity_lines] == [True] * 4


@pytest.mark.timeout(300)
def test_judging_beside_sampling_is_compared_with_one_after_the_other() -> None:
    lines = quick_run("evaluation.overlap")[1:]

    contenders = ["ours", "engine alone", "judge alone", "one after the other"]
    shared = [line for line in lines if line["bench"] == "evaluation.overlap.shared"]
    assert [line["contender"] for line in shared] == contenders
    assert all(set(line) == COLUMNS for line in lines)
    assert [line["limit_share"] is None for line in shared] == [False, True, True, True]


def test_scores_a_little_further_apart_than_rounding_do_not_agree() -> None:
    from bench.evaluation.toxicity import agrees

    scores = np.array([[0.25, 0.5]])

    assert agrees(scores + 0.9e-5, scores)
    assert not agrees(scores + np.array([[0.0, 1.1e-5]]), scores)
    assert not agrees(scores[:, :1], scores)


def test_least_work_is_that_of_a_network_small_enough_to_count() -> None:
    """Width 2, inner width 3, two layers, three labels; texts of 1 and 2 tokens.

    A layer's weights: 4 * 4 in attention and 2 * 6 behind it. The first layer: 2 * 28 * 3, and 4 * 2 * (1 + 4) for
    pairs. The last: keys and values 2 * 8 * 3, the rest of two first tokens 2 * (8 + 12) * 2, their pairs 4 * 2 * 3.
    The head: 2 * (4 + 6) * 2.
    """
    from bench.evaluation.toxicity import operations

    config = BertConfig(hidden_size=2, intermediate_size=3, num_hidden_layers=2, num_attention_heads=1, num_labels=3)

    assert operations(config, [1, 2]) == (168 + 40) + (48 + 80 + 24) + 40


def test_texts_of_a_mix_are_distinct_and_of_the_shares_it_names() -> None:
    from bench.evaluation.toxicity import _mixed

    kinds = [[f"{kind}{number}" for number in range(50)] * 2 for kind in "abc"]

    texts = _mixed(40, *kinds)

    assert len(set(texts)) == 40
    assert [sum(text[0] == kind for text in texts) for kind in "abc"] == [30, 8, 2]
