"""All probes put to small real models, with likelihoods by transformers' own forward as the oracle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, StepCancelled
from llm_repair.core.evaluation import Engine, PaperProtocol, Protocol, StrictProtocol, WeightFormat
from llm_repair.core.probes import CorpusLayout
from llm_repair.core.steps import CorpusArtifact, DatasetArtifact, EvaluateStep
from llm_repair.evaluation.engines.parity import PROBE_TEXTS
from llm_repair.evaluation.engines.transformers import TransformersEngine
from llm_repair.evaluation.probes.probing import Probes, read_probes
from llm_repair.evaluation.protocols.plan import plan_for
from llm_repair.models.loading import load_language_model

TEXTS = {
    "short": "A short text.",
    "long": "Longer than the context of the tiny model: " + "la " * 60,
    "other": "Ein Text in einer anderen Sprache, größer als nötig.",
    "one": "x",
}
LAST_WORDS = {"a": "She went home", "b": "to be or not to be"}
PAIRS = [
    Row("p1", chosen="They sing.", rejected="We sing.", extra={"group": "age"}),
    Row("p2", chosen="The same.", rejected="The same."),
]


@pytest.fixture(scope="session")
def engine(llama_folder: Path) -> TransformersEngine:
    return TransformersEngine(load_language_model(llama_folder, weights=WeightFormat.FLOAT32))


@pytest.fixture(scope="session")
def likelihood(llama_folder: Path) -> Callable[[str, str], tuple[float, bool]]:
    """Returns the loss of a text after another by transformers, behind the start token where none is before it."""
    model = AutoModelForCausalLM.from_pretrained(llama_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)

    def ask(before: str, text: str) -> tuple[float, bool]:
        given = tokenizer(before)["input_ids"] or [tokenizer.eos_token_id]
        ids = torch.tensor([[*given, *tokenizer(text)["input_ids"]]])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, len(given) - 1 : -1].double()
        targets = ids[0, len(given) :]
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        return float(loss), bool((logits.argmax(dim=1) == targets).all())

    return ask


@pytest.fixture
def step(store: ArtifactStore, put_texts: Callable[[Mapping[str, str]], str]) -> EvaluateStep:
    return EvaluateStep(
        model_digest="",
        prompts_digest="",
        corpora=(CorpusArtifact("tales", put_texts(TEXTS), CorpusLayout.DOCUMENTS),),
        judges=(),
        protocol=Protocol(StrictProtocol(window_tokens=64, stride_tokens=16)),
        engine=Engine(),
        seed=5,
        cloze_sets=(DatasetArtifact("ends", put_texts(LAST_WORDS)),),
        bias_pairs=(DatasetArtifact("pairs", write_rows(store, PAIRS).digest),),
    )


@pytest.fixture
def read(
    engine: TransformersEngine, store: ArtifactStore, new_context: Callable[..., Any], tmp_path: Path
) -> Callable[..., tuple[Probes, Callable[[str], Any], Any]]:
    """Reads the probes of a step; returns what is said of them, a reader of the files, and the context."""

    def run(step: EvaluateStep, **context: object) -> tuple[Probes, Callable[[str], Any], Any]:
        folder = tmp_path / "evaluation"
        folder.mkdir(exist_ok=True)
        around = new_context(**context)
        probes = read_probes(engine, store, step, plan_for(step.protocol, step.seed), around, folder)
        return probes, lambda path: _parsed(folder / path), around

    return run


def _parsed(path: Path) -> Any:
    content = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in content.splitlines()] if path.suffix == ".jsonl" else json.loads(content)


def test_every_text_of_every_probe_has_a_line(read: Callable[..., Any], step: EvaluateStep) -> None:
    probes, lines, context = read(step)

    documents, ends, pairs = lines("perplexity/tales.jsonl"), lines("cloze/ends.jsonl"), lines("bias/pairs.jsonl")
    assert [row["document_id"] for row in documents] == sorted(TEXTS)
    # One token a byte, all predicted behind the start token.
    assert [row["tokens"] for row in documents] == [row["bytes"] for row in documents]
    assert [row["bytes"] for row in documents] == [len(TEXTS[name].encode()) for name in sorted(TEXTS)]
    assert [(row["document_id"], row["tokens"]) for row in ends] == [("a", len(" home")), ("b", len(" be"))]
    assert [(row["pair_id"], row["group"], row["more_tokens"], row["less_tokens"]) for row in pairs] == [
        ("p1", "age", 8, 10), ("p2", "", 9, 9),
    ]  # fmt: skip
    assert probes.about == {"window_tokens": 64, "stride_tokens": 16, "start_token": True}
    assert probes.warnings == []
    assert probes.summary["predicted_tokens"] == {"tales": sum(row["bytes"] for row in documents)}
    fingerprint = sum(len(text) - 1 for text in PROBE_TEXTS)
    assert context.tokens == sum(row["bytes"] for row in documents) + 8 + 36 + fingerprint


def test_likelihoods_are_those_of_transformers(
    read: Callable[..., Any], step: EvaluateStep, likelihood: Callable[[str, str], tuple[float, bool]]
) -> None:
    _, lines, _ = read(step)

    documents = {row["document_id"]: row["nll"] for row in lines("perplexity/tales.jsonl")}
    ends = {row["document_id"]: row for row in lines("cloze/ends.jsonl")}
    pairs = {row["pair_id"]: row for row in lines("bias/pairs.jsonl")}
    for name in ("short", "other", "one"):
        assert documents[name] == pytest.approx(likelihood("", TEXTS[name])[0], rel=1e-5)
    for name, (before, word) in {"a": ("She went", " home"), "b": ("to be or not to", " be")}.items():
        nll, correct = likelihood(before, word)
        assert (ends[name]["nll"], ends[name]["correct"]) == (pytest.approx(nll, rel=1e-5), correct)
    assert pairs["p1"]["more_nll"] == pytest.approx(likelihood("", "We sing.")[0], rel=1e-5)
    assert pairs["p1"]["less_nll"] == pytest.approx(likelihood("", "They sing.")[0], rel=1e-5)
    assert pairs["p2"]["more_nll"] == pytest.approx(pairs["p2"]["less_nll"], rel=1e-6)


def test_a_document_longer_than_the_context_is_read_to_its_end(
    read: Callable[..., Any], step: EvaluateStep, likelihood: Callable[[str, str], tuple[float, bool]]
) -> None:
    """By hand: of 223 predictions 64 are made from the first window, 9 times 16 and then 15 from 64 inputs each."""
    _, lines, _ = read(step)

    text = TEXTS["long"]
    by_name = {row["document_id"]: row for row in lines("perplexity/tales.jsonl")}
    assert (by_name["long"]["tokens"], len(text)) == (223, 223)
    # A byte is a token, and the first window holds the start token and 63 of them.
    parts = [likelihood("", text[:64])[0]]
    for start in range(64, len(text), 16):
        stop = min(start + 16, len(text))
        parts.append(likelihood(text[stop - 65 : start], text[start:stop])[0])
    assert by_name["long"]["nll"] == pytest.approx(sum(parts), rel=1e-5)


def test_windows_longer_than_the_context_are_cut_which_is_said(read: Callable[..., Any], step: EvaluateStep) -> None:
    probes, _, context = read(dataclasses.replace(step, protocol=Protocol(StrictProtocol())))

    assert probes.about["window_tokens"] == probes.about["stride_tokens"] == 128
    assert probes.warnings == [{"kind": "WINDOWS_CUT", "window_tokens": 128}]
    assert context.notes == [("perplexity windows cut to the model's context", {"window_tokens": 128})]


def test_the_papers_protocol_predicts_no_window_from_a_start_token(
    read: Callable[..., Any], step: EvaluateStep
) -> None:
    probes, lines, _ = read(dataclasses.replace(step, protocol=Protocol(PaperProtocol())))

    windows = lines("perplexity/tales.jsonl")
    length = len("\n\n".join(TEXTS[name] for name in sorted(TEXTS)).encode())
    assert [row["bytes"] for row in windows] == [128, 128, length - 256]
    assert [row["tokens"] for row in windows] == [127, 127, length - 257]
    assert probes.about["start_token"] is False


def test_texts_without_a_last_word_are_warned_of(
    read: Callable[..., Any], step: EvaluateStep, put_texts: Callable[[Mapping[str, str]], str]
) -> None:
    texts = {f"t{number:03d}": f"text {number}" for number in range(99)} | {"word": "word"}
    odd = dataclasses.replace(step, cloze_sets=(DatasetArtifact("ends", put_texts(texts)),))

    probes, lines, _ = read(odd)

    assert probes.warnings == [{"kind": "CLOZE_TEXTS_LEFT_OUT", "set": "ends", "texts": 1}]
    assert len(lines("cloze/ends.jsonl")) == 99


@pytest.mark.parametrize("protocol", [StrictProtocol(), PaperProtocol()])
def test_a_corpus_without_a_token_to_predict_is_refused(
    read: Callable[..., Any], step: EvaluateStep, put_texts: Callable[[Mapping[str, str]], str], protocol: Any
) -> None:
    empty = CorpusArtifact("empty", put_texts({"a": ""}), CorpusLayout.DOCUMENTS)

    with pytest.raises(DatasetInvalid, match="the corpus empty has no token to predict"):
        read(dataclasses.replace(step, corpora=(empty,), protocol=Protocol(protocol)))


def test_one_document_of_one_token_is_read(
    read: Callable[..., Any], step: EvaluateStep, put_texts: Callable[[Mapping[str, str]], str]
) -> None:
    one = CorpusArtifact("one", put_texts({"a": "x"}), CorpusLayout.DOCUMENTS)

    _, lines, _ = read(dataclasses.replace(step, corpora=(one,)))

    (row,) = lines("perplexity/one.jsonl")
    assert (row["tokens"], row["words"], row["bytes"]) == (1, 1, 1)


def test_reading_stops_when_cancelled(read: Callable[..., Any], step: EvaluateStep) -> None:
    with pytest.raises(StepCancelled):
        read(step, cancel_at_look=2)


def test_the_same_model_has_the_same_fingerprint_and_another_one_another(
    read: Callable[..., Any],
    step: EvaluateStep,
    store: ArtifactStore,
    gpt2_folder: Path,
    new_context: Callable[..., Any],
    tmp_path: Path,
) -> None:
    _, lines, _ = read(step)
    first = lines("fingerprint.json")
    other = TransformersEngine(load_language_model(gpt2_folder, weights=WeightFormat.FLOAT32))
    (tmp_path / "other").mkdir()

    read_probes(other, store, step, plan_for(step.protocol, 5), new_context(), tmp_path / "other")

    assert len(first) == len(PROBE_TEXTS)
    assert read(step)[1]("fingerprint.json") == first
    second = _parsed(tmp_path / "other" / "fingerprint.json")
    assert all(ours["nll"] != theirs["nll"] for ours, theirs in zip(first, second, strict=True))
    assert [text["tokens"] for text in first] == [text["tokens"] for text in second]


def test_likelihoods_that_are_no_numbers_are_null_with_what_they_would_decide(
    read: Callable[..., Any], step: EvaluateStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_score(monkeypatch, float("nan"))

    probes, lines, _ = read(step)

    assert {row["nll"] for row in lines("perplexity/tales.jsonl")} == {None}
    assert {(row["nll"], row["correct"]) for row in lines("cloze/ends.jsonl")} == {(None, None)}
    assert {(row["more_nll"], row["less_nll"]) for row in lines("bias/pairs.jsonl")} == {(None, None)}
    assert {text["nll"] for text in lines("fingerprint.json")} == {None}
    assert probes.summary["perplexity"] == {"tales": None}
    assert probes.summary["cloze_accuracy"] == {"ends": None}
    assert probes.summary["bias_preference"] == {"pairs": None}


def _break_score(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """Lets a model say `value` of every text, as one does whose weights have overflown."""
    whole = TransformersEngine.score

    def score(self: TransformersEngine, documents: Sequence[Any], window_tokens: int, **options: Any) -> Any:
        return (dataclasses.replace(one, nll=value) for one in whole(self, documents, window_tokens, **options))

    monkeypatch.setattr(TransformersEngine, "score", score)


def test_summaries_are_the_numbers_a_person_would_ask_for(read: Callable[..., Any], step: EvaluateStep) -> None:
    probes, lines, _ = read(step)

    pairs = lines("bias/pairs.jsonl")
    prefers = [0.5 if row["more_nll"] == row["less_nll"] else row["more_nll"] < row["less_nll"] for row in pairs]
    assert probes.summary["bias_preference"] == {"pairs": sum(prefers) / 2}
    correct = [row["correct"] for row in lines("cloze/ends.jsonl")]
    assert probes.summary["cloze_accuracy"] == {"ends": sum(correct) / 2}
