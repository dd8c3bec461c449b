"""The evaluate step on a tiny model with the real store and the real profanity judge."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scripted import ScriptedJudge
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, JudgeUnavailable, PromptTooLong, StepCancelled
from llm_repair.core.evaluation import (
    Engine,
    HatesonarJudge,
    Judge,
    PaperProtocol,
    ProfanityJudge,
    Protocol,
    StrictProtocol,
)
from llm_repair.core.probes import CorpusLayout
from llm_repair.core.steps import CorpusArtifact, DatasetArtifact, EvaluateStep
from llm_repair.evaluation import evaluate
from llm_repair.evaluation.judges.profanity import ProfanityScorer
from llm_repair.evaluation.metrics.measurement import read_measurement
from llm_repair.models.loading import WARM

PROMPTS = {"p2": "You are such a", "p1": "The weather", "p3": "x"}
TEXTS = {"doc-b": "A short text.", "doc-a": "Another text, which is rather longer than the first one:" + " la" * 40}
SMALL = StrictProtocol(draws=3, max_new_tokens=5, window_tokens=32)


@pytest.fixture
def step(
    store: ArtifactStore,
    llama_folder: Path,
    put_prompts: Callable[[Mapping[str, str]], str],
    put_texts: Callable[[Mapping[str, str]], str],
) -> EvaluateStep:
    return EvaluateStep(
        model_digest=store.put_tree(llama_folder).digest,
        prompts_digest=put_prompts(PROMPTS),
        corpora=(CorpusArtifact("tales", put_texts(TEXTS), CorpusLayout.DOCUMENTS),),
        judges=(Judge(ProfanityJudge()),),
        protocol=Protocol(SMALL),
        engine=Engine(),
        seed=5,
    )


def test_the_tree_has_every_draw_scored_and_every_document_read(
    step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any], read_lines: Callable[..., Any]
) -> None:
    context = new_context()

    made = evaluate.run(step, store, context)

    digest = made.outputs["evaluation"].digest
    assert set(store.entries(digest)) == {
        "about.json", "calibration.json", "fingerprint.json", "generations.jsonl", "prompts.jsonl",
        "perplexity/tales.jsonl",
    }  # fmt: skip
    rows = read_lines(digest, "generations.jsonl")
    assert [(row["prompt_id"], row["draw"]) for row in rows] == [(f"p{p}", d) for p in (1, 2, 3) for d in range(3)]
    assert all(0 <= row["scores"]["profanity"] <= 1 and row["tokens"] <= 5 for row in rows)
    assert [row["prompt_id"] for row in read_lines(digest, "prompts.jsonl")] == ["p1", "p2", "p3"]
    documents = read_lines(digest, "perplexity/tales.jsonl")
    assert [(row["document_id"], row["bytes"], row["words"]) for row in documents] == [
        (name, len(TEXTS[name]), len(TEXTS[name].split())) for name in ("doc-a", "doc-b")
    ]
    # One token per byte, and the first of a document is predicted from the start token.
    assert [row["tokens"] for row in documents] == [row["bytes"] for row in documents]
    assert made.summary["mean_toxicity"] == {
        "profanity": pytest.approx(sum(row["scores"]["profanity"] for row in rows) / 9)
    }


def test_perplexity_is_that_of_transformers_from_the_start_token_on(
    step: EvaluateStep,
    store: ArtifactStore,
    llama_folder: Path,
    put_texts: Callable[[Mapping[str, str]], str],
    new_context: Callable[..., Any],
) -> None:
    """Both texts fit one window; the tokenizer has no BOS, so its EOS stands before the first token."""
    texts = {"a": "A short text.", "b": "Another one, which is longer."}
    corpus = CorpusArtifact("tales", put_texts(texts), CorpusLayout.DOCUMENTS)

    summary = evaluate.run(dataclasses.replace(step, corpora=(corpus,)), store, new_context()).summary

    model = AutoModelForCausalLM.from_pretrained(llama_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    nll, count = 0.0, 0
    for text in texts.values():
        ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, :-1].double()
        nll += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        count += len(text)
    assert summary["perplexity"] == {"tales": pytest.approx(math.exp(nll / count), rel=1e-5)}


def test_a_repeat_has_the_same_digest_and_another_seed_another(
    step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    first = evaluate.run(step, store, new_context()).outputs["evaluation"]
    WARM.release()

    assert evaluate.run(step, store, new_context()).outputs["evaluation"] == first
    other = dataclasses.replace(step, seed=6)
    assert evaluate.run(other, store, new_context()).outputs["evaluation"] != first


def test_the_tree_is_what_the_comparison_reads(
    step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    digest = evaluate.run(step, store, new_context()).outputs["evaluation"].digest

    measurement = read_measurement(store, digest)

    assert measurement.judges == ("profanity",)
    assert measurement.about["protocol"] == "strict.v1-k3-t5-w32"
    assert measurement.about["corpora"] == {"tales": {"digest": step.corpora[0].digest, "layout": "DOCUMENTS"}}
    assert set(measurement.generations) == set(measurement.prompt_scores) == set(PROMPTS)
    assert set(measurement.corpora["tales"]) == set(TEXTS)


def test_the_papers_protocol_cuts_prompts_and_reads_running_text(
    step: EvaluateStep,
    store: ArtifactStore,
    put_prompts: Callable[[Mapping[str, str]], str],
    new_context: Callable[..., Any],
    read_lines: Callable[..., Any],
) -> None:
    """The tiny model's context of 128 is less than the protocol's window of 1,024, which is noted."""
    paper = dataclasses.replace(
        step, protocol=Protocol(PaperProtocol()), prompts_digest=put_prompts({"long": "y" * 40, "short": "y"})
    )
    context = new_context()

    made = evaluate.run(paper, store, context)

    rows = read_lines(made.outputs["evaluation"].digest, "generations.jsonl")
    assert [(row["prompt_id"], row["draw"]) for row in rows] == [("long", 0), ("short", 0)]
    assert made.summary["prompts_cut"] == 1
    windows = read_lines(made.outputs["evaluation"].digest, "perplexity/tales.jsonl")
    running = len("\n\n".join(TEXTS[name] for name in sorted(TEXTS)))
    assert [(row["document_id"], row["bytes"]) for row in windows] == [
        ("window-000000", 128),
        ("window-000001", running - 128),
    ]
    assert context.notes == [("perplexity windows cut to the model's context", {"window_tokens": 128})]


def test_a_prompt_that_does_not_fit_is_named_and_nothing_is_generated(
    step: EvaluateStep,
    store: ArtifactStore,
    put_prompts: Callable[[Mapping[str, str]], str],
    new_context: Callable[..., Any],
) -> None:
    long = dataclasses.replace(step, prompts_digest=put_prompts({"fits": "x", "too-long": "x" * 124}))
    context = new_context()

    with pytest.raises(PromptTooLong, match="too-long"):
        evaluate.run(long, store, context)
    assert context.tokens == 0


def test_no_prompts_are_refused(
    step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any], put_texts: Callable[..., str]
) -> None:
    with pytest.raises(DatasetInvalid, match="1 rows have no prompt, such as doc-a"):
        evaluate.run(dataclasses.replace(step, prompts_digest=put_texts({"doc-a": "text"})), store, new_context())


def test_texts_that_cannot_be_read_are_refused_before_anything_is_made(
    step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any], put_texts: Callable[..., str]
) -> None:
    cloze = DatasetArtifact("words", put_texts({"a": "one", "b": "two words"}))
    context = new_context()

    with pytest.raises(DatasetInvalid, match="1 of 2 texts of words have no last word to predict: a"):
        evaluate.run(dataclasses.replace(step, cloze_sets=(cloze,)), store, context)
    assert context.tokens == 0
    assert "generating" not in context.stages


def test_a_judge_that_is_not_there_fails_before_the_model_is_loaded(
    step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    context = new_context()

    with pytest.raises(JudgeUnavailable):
        evaluate.run(dataclasses.replace(step, judges=(Judge(HatesonarJudge()),)), store, context)
    assert context.stages == ["loading judges"]


@pytest.mark.parametrize("look", [2, 9, 16, 19])
def test_one_that_is_interrupted_anywhere_ends_with_the_digest_of_an_undisturbed_one(
    look: int,
    step: EvaluateStep,
    store: ArtifactStore,
    new_context: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three batches of five tokens: looks 1 to 18, then those of reading texts."""
    monkeypatch.setattr("llm_repair.models.inference.generation.BATCH_ROWS", 3)
    undisturbed = evaluate.run(step, store, new_context())
    with pytest.raises(StepCancelled):
        evaluate.run(step, store, new_context(cancel_at_look=look))
    WARM.release()
    context = new_context()

    resumed = evaluate.run(step, store, context)

    kept = 3 * min((look - 1) // 6, 3)
    assert resumed.outputs == undisturbed.outputs
    assert resumed.summary["kept_samples"] == kept
    assert [phrase for phrase, _ in context.notes] == (["resumed from checkpoint"] if kept else [])


def test_groups_labels_and_further_prompts_are_measured_alike(
    step: EvaluateStep,
    store: ArtifactStore,
    new_context: Callable[..., Any],
    read_lines: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A judge of several labels says them all; one that has no score for a text says none."""
    judge = ScriptedJudge(lambda text: float("nan") if text == "x" else 0.5, others=("insult",))
    monkeypatch.setattr(evaluate, "open_judge", lambda choice, store: judge)
    benign = [Row("b1", prompt="A day", extra={"group": "weather"}), Row("b2", prompt="x")]
    more = dataclasses.replace(
        step, prompt_sets=(DatasetArtifact("benign", write_rows(store, benign).digest),), corpora=()
    )

    made = evaluate.run(more, store, new_context())

    digest = made.outputs["evaluation"].digest
    assert read_lines(digest, "prompt_sets/benign/prompts.jsonl") == [
        {"prompt_id": "b1", "group": "weather", "scores": {"scripted": 0.5}},
        {"prompt_id": "b2", "group": "", "scores": {"scripted": None}},
    ]
    rows = read_lines(digest, "prompt_sets/benign/generations.jsonl")
    assert [(row["prompt_id"], row["draw"]) for row in rows] == [(f"b{p}", d) for p in (1, 2) for d in range(3)]
    assert all(row["labels"] == {"scripted": {"toxic": 0.5, "insult": 0.25}} for row in rows if row["text"] != "x")
    assert made.summary["prompt_sets"] == {"benign": {"scripted": 0.5}}
    # The prompts b2 and p3 are the same text, which has no score.
    assert made.summary["missing_scores"] == {"scripted": 2}


def test_prompts_are_divided_by_their_swear_words_whoever_judges_the_outputs(
    step: EvaluateStep,
    store: ArtifactStore,
    new_context: Callable[..., Any],
    read_lines: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The profanity judge sees the prompts of the gate, and none of the samples or of further prompts."""
    judge, profanity = ScriptedJudge(lambda text: 0.5), ProfanityScorer()
    monkeypatch.setattr(
        evaluate, "open_judge", lambda choice, store: profanity if isinstance(choice.kind, ProfanityJudge) else judge
    )
    benign = DatasetArtifact("benign", write_rows(store, [Row("b", prompt="A day")]).digest)
    by_another = dataclasses.replace(step, judges=(Judge(HatesonarJudge()),), prompt_sets=(benign,))

    digest = evaluate.run(by_another, store, new_context()).outputs["evaluation"].digest

    expected = {name: float(profanity.probabilities([text])[0, 0]) for name, text in PROMPTS.items()}
    assert {row["prompt_id"]: row["scores"] for row in read_lines(digest, "prompts.jsonl")} == {
        name: {"scripted": 0.5, "profanity": pytest.approx(score)} for name, score in expected.items()
    }
    (further,) = read_lines(digest, "prompt_sets/benign/prompts.jsonl")
    assert further["scores"] == {"scripted": 0.5}
    assert all(row["scores"] == {"scripted": 0.5} for row in read_lines(digest, "generations.jsonl"))
    measurement = read_measurement(store, digest)
    assert measurement.judges == ("scripted",)
    assert measurement.about["slice_judge"]["digest"] == profanity.digest  # type: ignore[index, call-overload]


def test_about_says_everything_that_decided_the_numbers(
    step: EvaluateStep, store: ArtifactStore, llama_folder: Path, new_context: Callable[..., Any]
) -> None:
    digest = evaluate.run(step, store, new_context()).outputs["evaluation"].digest

    about = json.loads(store.get_bytes(store.entries(digest)["about.json"].digest))
    (weights,) = [blob for name, blob in store.entries(step.model_digest).items() if name.endswith(".safetensors")]
    named = hashlib.sha256(f"model.safetensors {weights.digest}\n".encode()).hexdigest()
    assert about.pop("judges") == [
        {
            "name": "profanity",
            "digest": ProfanityScorer().digest,
            "labels": ["profanity"],
            "toxic_labels": ["profanity"],
            "languages": ["en"],
        }
    ]
    assert about.pop("sampling_digest").startswith("sha256:")
    assert about == {
        "protocol": "strict.v1-k3-t5-w32",
        "prompts_digest": step.prompts_digest,
        "prompts": 3,
        "prompts_cut": 0,
        "draws": 3,
        "max_new_tokens": 5,
        "window_tokens": 32,
        "stride_tokens": 32,
        "start_token": True,
        "seed": 5,
        "engine": {"kind": "TRANSFORMERS", "weights": "FLOAT32"},
        "corpora": {"tales": {"digest": step.corpora[0].digest, "layout": "DOCUMENTS"}},
        "cloze_sets": {},
        "bias_pairs": {},
        "prompt_sets": {},
        "calibration_digest": "",
        "model": {"model_digest": step.model_digest, "weights_digest": f"sha256:{named}"},
        "warnings": [],
    }


def test_judges_are_tried_on_the_texts_that_were_given(
    step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    rows = [Row(f"t{number}", text=f"text {number}", extra={"label": number % 2 == 0}) for number in range(6)]
    given = dataclasses.replace(step, calibration_digest=write_rows(store, rows).digest)

    built_in, own = (
        json.loads(store.get_bytes(store.entries(made.outputs["evaluation"].digest)["calibration.json"].digest))
        for made in (evaluate.run(one, store, new_context()) for one in (step, given))
    )

    assert [(one["judge"], one["toxic"], one["clean"]) for one in own] == [("profanity", 3, 3)]
    assert built_in[0]["texts"] == 120


def test_duplicate_prompts_and_texts_that_overflow_the_judge_are_counted(
    step: EvaluateStep,
    store: ArtifactStore,
    put_prompts: Callable[[Mapping[str, str]], str],
    new_context: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The judge reads 20 letters; of the texts only one prompt is longer, which stands twice."""
    judge = ScriptedJudge(lambda text: 0.5)
    judge.overflows = lambda texts: np.array([len(text) > 20 for text in texts])  # type: ignore[method-assign]
    monkeypatch.setattr(evaluate, "open_judge", lambda choice, store: judge)
    prompts = put_prompts(
        {"a": "A longer prompt than the judge reads.", "b": "x", "c": "A longer prompt than the judge reads."}
    )

    made = evaluate.run(dataclasses.replace(step, prompts_digest=prompts), store, new_context())

    digest = made.outputs["evaluation"].digest
    about = json.loads(store.get_bytes(store.entries(digest)["about.json"].digest))
    assert about["warnings"] == [
        {"kind": "DUPLICATE_PROMPTS", "prompts": 2, "texts": 1},
        {"kind": "JUDGE_TEXTS_CUT", "judge": "scripted", "texts": 1},
    ]


def test_the_seconds_of_every_part_are_on_the_bill_and_how_the_engine_started(
    step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    WARM.release()

    first, second = (evaluate.run(step, store, new_context()).summary for _ in range(2))

    assert (first["engine_start"], second["engine_start"]) == ("LOADED", "KEPT")
    seconds = first["seconds"]
    assert set(seconds) - {"judges_awaited_s"} == {  # type: ignore[arg-type]
        "judge_start_s", "engine_start_s", "generation_s", "judging_s", "probes_s",
    }  # fmt: skip


def test_a_model_without_padding_and_end_of_text_is_measured(
    step: EvaluateStep, store: ArtifactStore, gpt2_folder: Path, tmp_path: Path, new_context: Callable[..., Any]
) -> None:
    """Its texts never end by themselves, and what it reads begins with its first real token."""
    endless = tmp_path / "endless"
    shutil.copytree(gpt2_folder, endless)
    for name, keys in {
        "config.json": ("eos_token_id", "bos_token_id", "pad_token_id"),
        "generation_config.json": ("eos_token_id", "bos_token_id", "pad_token_id"),
        "tokenizer_config.json": ("eos_token", "bos_token", "pad_token"),
    }.items():
        settings = json.loads((endless / name).read_text())
        (endless / name).write_text(json.dumps({key: settings.get(key) for key in settings if key not in keys}))
    config = json.loads((endless / "config.json").read_text())
    (endless / "config.json").write_text(json.dumps({**config, "eos_token_id": None, "bos_token_id": None}))

    made = evaluate.run(dataclasses.replace(step, model_digest=store.put_tree(endless).digest), store, new_context())

    digest = made.outputs["evaluation"].digest
    about = json.loads(store.get_bytes(store.entries(digest)["about.json"].digest))
    assert made.summary["generated_tokens"] == 3 * 3 * 5
    assert about["start_token"] is False
    assert made.summary["predicted_tokens"] == {"tales": sum(len(text) - 1 for text in TEXTS.values())}
