"""A classifier folder as a judge: the forward that is taken, texts that are hard to read, folders that are no judge."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from llm_repair.core.errors import JudgeUnavailable
from llm_repair.evaluation.judges.classifier import ClassifierScorer, load_classifier, open_classifier
from llm_repair.evaluation.judges.judging import judge_texts, score_texts

DIGEST = "sha256:" + "3" * 64
LABELS = ["toxic", "threat", "insult"]
LONG = "a plain sentence that goes on and on, past the 64 tokens of one letter each"
TEXTS = ["a plain sentence", "another one", "shorter", LONG, "x"]


def names_of(labels: list[str]) -> dict[str, dict]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def save_roberta(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Reads 62 tokens: two of its 64 positions lie before the first."""
    torch.manual_seed(5)
    config = RobertaConfig(
        vocab_size=257, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, pad_token_id=1, initializer_range=0.5, **names_of(LABELS),
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_distilbert(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    torch.manual_seed(6)
    config = DistilBertConfig(
        vocab_size=257, dim=32, hidden_dim=32, n_layers=1, n_heads=2, max_position_embeddings=64, pad_token_id=0,
        initializer_range=0.5, **names_of(LABELS),
    )  # fmt: skip
    DistilBertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def bert(save_classifier: Callable[..., Path]) -> Path:
    """A BERT of 64 positions whose tokenizer makes one token a byte and adds none."""
    return save_classifier(LABELS)


def oracle(folder: Path, texts: list[str], longest: int) -> np.ndarray:
    """One text at a time, unpadded, by the library."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=longest)["input_ids"]
        with torch.inference_mode():
            rows.append(model(input_ids=torch.tensor([ids])).logits[0].sigmoid().numpy())
    return np.stack(rows)


def test_bert_and_roberta_take_the_forward_without_padding(bert: Path, tmp_path: Path) -> None:
    roberta = save_roberta(tmp_path / "roberta", AutoTokenizer.from_pretrained(bert))

    for folder, longest in ((bert, 64), (roberta, 62)):
        judge = open_classifier("some", DIGEST, folder, ())

        assert judge.forward == "fused"
        assert judge.overflows(TEXTS).tolist() == [False, False, False, True, False]
        np.testing.assert_allclose(judge.probabilities(TEXTS), oracle(folder, TEXTS, longest), atol=1e-5)


def test_another_architecture_takes_the_librarys_own_forward(bert: Path, tmp_path: Path) -> None:
    folder = save_distilbert(tmp_path / "distilbert", AutoTokenizer.from_pretrained(bert))

    judge = open_classifier("some", DIGEST, folder, ())

    assert judge.forward == "library"
    np.testing.assert_allclose(judge.probabilities(TEXTS), oracle(folder, TEXTS, 64), atol=1e-5)


def test_a_tokenizer_that_cannot_pad_is_served_one_text_at_a_time(bert: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokenizer.pad_token = None
    folder = save_distilbert(tmp_path / "distilbert", tokenizer)

    judge = open_classifier("some", DIGEST, folder, ())

    np.testing.assert_allclose(judge.probabilities(TEXTS), oracle(folder, TEXTS, 64), atol=1e-5)


def test_a_model_that_computes_something_else_than_its_shape_keeps_its_own_forward(
    bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load_classifier("some", bert)
    loaded.model.classifier.register_forward_hook(lambda module, inputs, output: 2 * output)

    with caplog.at_level(logging.WARNING):
        judge = ClassifierScorer("some", DIGEST, loaded)

    assert judge.forward == "library"
    assert "disagrees" in caplog.text


def test_texts_in_batches_get_the_scores_of_all_at_once_and_again_the_same_bits(bert: Path) -> None:
    judge = open_classifier("some", DIGEST, bert, ())
    texts = [f"{word} {number}" for number in range(40) for word in ("short", "a somewhat longer text", "mid")]
    parts = [texts[start : start + 17] for start in range(0, len(texts), 17)]

    at_once = judge_texts(judge, texts).probabilities
    in_batches = [np.concatenate([score_texts(judge, part).probabilities for part in parts]) for _ in range(2)]

    np.testing.assert_allclose(in_batches[0], at_once, atol=1e-6)
    np.testing.assert_array_equal(in_batches[0], in_batches[1])


def test_threads_of_their_own_give_the_same_bits_however_many_and_leave_the_process_its_number(bert: Path) -> None:
    judge = open_classifier("some", DIGEST, bert, ())
    texts = [f"{word} {number}" for number in range(100) for word in ("short", "a somewhat longer text", "mid")]
    before = torch.get_num_threads()

    one, three = (judge_texts(judge, texts, threads=threads).probabilities for threads in (1, 3))

    np.testing.assert_array_equal(one, three)
    np.testing.assert_allclose(one, judge_texts(judge, texts).probabilities, atol=1e-6)
    assert torch.get_num_threads() == before


def test_hard_texts_get_defined_scores(bert: Path) -> None:
    """An empty text has no tokens here and so no score; the others are scored by what can be read of them."""
    judge = open_classifier("some", DIGEST, bert, ())
    texts = ["", "\x00\x01\x1f\x7f", "lone \ud800 surrogate", "megabyte " * 120_000, "漢字"]

    judged = judge_texts(judge, texts)

    beginning, replaced = judge_texts(judge, [texts[3][:64], "lone \ufffd surrogate"]).scores
    assert judged.scores[0] is None
    assert all(score is not None and 0 < score < 1 for score in judged.scores[1:])
    assert judged.scores[3] == pytest.approx(beginning, abs=1e-6)
    assert judged.scores[2] == pytest.approx(replaced, abs=1e-6)


def test_a_classifier_of_broken_weights_is_no_judge(bert: Path) -> None:
    loaded = load_classifier("some", bert)
    with torch.no_grad():
        loaded.model.classifier.bias[1] = float("nan")

    judge = ClassifierScorer("some", DIGEST, loaded)

    with pytest.raises(JudgeUnavailable, match="no score to any of 2 texts"):
        judge_texts(judge, ["a", "ab"])


def test_a_language_model_without_a_head_is_refused_rather_than_given_a_random_one(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "headless"
    config = BertConfig(
        vocab_size=257, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, **names_of(LABELS),
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(bert).save_pretrained(folder)

    with pytest.raises(JudgeUnavailable, match="lacks 2 tensors"):
        load_classifier("some", folder)


def test_a_regression_is_refused(save_classifier: Callable[..., Path]) -> None:
    with pytest.raises(JudgeUnavailable, match="no probability"):
        load_classifier("some", save_classifier(["toxicity"], problem_type="regression"))


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JudgeUnavailable, match="does not load"):
        load_classifier("some", tmp_path)


@pytest.mark.parametrize(
    ("labels", "problem", "exclusive"),
    [
        (["neutral", "toxic"], None, True),
        (["neutral", "offensive", "hate"], None, True),
        (["toxic", "threat", "insult"], None, False),
        (["toxic"], None, False),
        (["toxic", "threat"], "multi_label_classification", False),
        (["toxic", "threat", "insult"], "single_label_classification", True),
    ],
)
def test_labels_exclude_each_other_where_the_folder_says_so_or_one_of_them_is_clean(
    save_classifier: Callable[..., Path], labels: list[str], problem: str | None, exclusive: bool
) -> None:
    loaded = load_classifier("some", save_classifier(labels, problem_type=problem))

    assert loaded.labels == tuple(labels)
    assert loaded.exclusive is exclusive
