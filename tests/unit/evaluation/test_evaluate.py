"""The evaluate step on a tiny model with the real store and the real profanity judge."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, JudgeUnavailable, PromptTooLong
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
from llm_repair.core.steps import CorpusArtifact, EvaluateStep
from llm_repair.evaluation import evaluate
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


def test_a_judge_that_is_not_there_fails_before_the_model_is_loaded(
    step: EvaluateStep, store: ArtifactStore, new_context: Callable[..., Any]
) -> None:
    context = new_context()

    with pytest.raises(JudgeUnavailable):
        evaluate.run(dataclasses.replace(step, judges=(Judge(HatesonarJudge()),)), store, context)
    assert context.stages == ["loading judges"]
