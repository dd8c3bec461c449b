"""The toxicity benchmark: what it compares, what it counts as the least work, and when it says that scores agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import BertConfig

ROOT = Path(__file__).parents[3]
COLUMNS = {"bench", "contender", "size", "seconds", "ratio_to_ours", "limit_share", "value_agrees"}


@pytest.fixture(autouse=True)
def _bench_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def toxicity_lines() -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.evaluation.toxicity", "--quick", "--json"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()][1:]


@pytest.mark.timeout(300)
def test_the_judge_is_compared_with_detoxify_in_three_uses(toxicity_lines: list[dict[str, Any]]) -> None:
    stock = ["Detoxify.predict", "Detoxify.predict, 32 texts at a time", "Detoxify.predict, one text at a time"]

    assert [line["contender"] for line in toxicity_lines] == ["ours", *stock]
    assert all(set(line) == COLUMNS for line in toxicity_lines)
    assert all(line["bench"] == "evaluation.toxicity" for line in toxicity_lines)
    assert all(line["seconds"] > 0 and line["limit_share"] > 0 for line in toxicity_lines)


def test_all_uses_give_the_same_scores(toxicity_lines: list[dict[str, Any]]) -> None:
    assert [line["value_agrees"] for line in toxicity_lines] == [True] * 4


def test_padding_costs_what_its_tokens_cost(toxicity_lines: list[dict[str, Any]]) -> None:
    """One text in twenty is five times as long, so a padded batch of all is several times the tokens; ours has none."""
    ratios = {line["contender"]: line["ratio_to_ours"] for line in toxicity_lines}

    assert ratios["Detoxify.predict"] > 2


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
