"""The benchmark of texts that are read: what it compares, what it counts as the least work, and when numbers agree."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from benchmarks import COLUMNS, quick_run
from transformers import GPT2Config, GPT2LMHeadModel

from llm_repair.models.inference.scoring import Document

BENCHES = ("evaluation.perplexity.gpt2", "evaluation.cloze.gpt2")


@pytest.fixture(scope="module")
def quick_lines() -> list[dict[str, Any]]:
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm-eval is installed for benchmarks only")
    return quick_run("evaluation.perplexity")[1:]


@pytest.mark.timeout(300)
def test_documents_and_last_words_are_compared_with_the_harness_in_two_settings(
    quick_lines: list[dict[str, Any]],
) -> None:
    one = "lm-eval, one request at a time"

    assert [(line["bench"], line["contender"]) for line in quick_lines] == [
        (BENCHES[0], "ours"), (BENCHES[0], one), (BENCHES[0], "lm-eval, 2 requests at a time"),
        (BENCHES[1], "ours"), (BENCHES[1], one), (BENCHES[1], "lm-eval, 8 requests at a time"),
    ]  # fmt: skip
    assert all(set(line) == COLUMNS and line["seconds"] > 0 < line["limit_share"] for line in quick_lines)


def test_all_numbers_are_those_of_the_harness(quick_lines: list[dict[str, Any]]) -> None:
    assert [line["value_agrees"] for line in quick_lines] == [True] * 6


@pytest.mark.parametrize(
    ("value", "agrees"), [(100.0, True), (100.009, True), (100.02, False), (99.98, False), (float("nan"), False)]
)
def test_numbers_agree_within_one_in_ten_thousand(value: float, agrees: bool) -> None:
    from bench.evaluation.perplexity import Numbers

    assert Numbers({"ppl": value}).agree(Numbers({"ppl": 100.0})) is agrees


def test_other_numbers_do_not_agree() -> None:
    from bench.evaluation.perplexity import Numbers

    assert not Numbers({"ppl": 1.0}).agree(Numbers({"acc": 1.0}))


def test_the_least_work_is_that_of_inputs_predicted_tokens_and_pairs() -> None:
    """A layer of width 4 has 4 x 12, 4 x 4, 4 x 16 and 16 x 4 weights: 192; the output 10 x 4.

    Four inputs of which each is followed by a prediction, and 10 pairs: 2 x 192 x 4 + 2 x 40 x 4 + 4 x 4 x 10 = 2016.
    With three tokens given: 1536 + 2 x 40 x 2 + 160 = 1856.
    """
    from bench.evaluation.perplexity import operations

    network = GPT2LMHeadModel(GPT2Config(vocab_size=10, n_embd=4, n_layer=1, n_head=1, n_positions=8))

    assert operations(network, [Document("d", (1, 2, 3, 4, 5))]) == 2016
    assert operations(network, [Document("d", (1, 2, 3, 4, 5), given=3)]) == 1856


def test_documents_are_the_first_with_so_many_words() -> None:
    from bench.evaluation.perplexity import _as_long_as

    assert _as_long_as(["a b", "c", "d e f", "g"], 3) == ["a b", "c"]
    assert _as_long_as(["a b"], 100) == ["a b"]
