"""The real judges on real files: pins, labels, and scores against independent computations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import JudgeUnavailable
from llm_repair.core.evaluation import ClassifierJudge, DetoxifyJudge, DetoxifyVariant, Judge, ProfanityJudge
from llm_repair.core.references import ModelRef
from llm_repair.evaluation.judges.detoxify import PINNED_SHA256, TOXIC_LABELS, open_detoxify
from llm_repair.evaluation.judges.hatesonar import HatesonarScorer, pinned_sha256
from llm_repair.evaluation.judges.judging import judge_texts
from llm_repair.evaluation.judges.pins import check_pins
from llm_repair.evaluation.judges.registry import open_judge

TEXTS = [
    "a plain sentence",
    "",
    "shorter",
    "a plain sentence that goes on and on and is cut at 64 tokens",
]
DIGEST = "sha256:" + "1" * 64
UNBIASED = DetoxifyVariant.UNBIASED
CLASSES = ["toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat", "sexual_explicit"]


def oracle(folder: Path, texts: Sequence[str], *, exclusive: bool) -> np.ndarray:
    """One text at a time, unpadded."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=64)["input_ids"]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids], dtype=torch.long)).logits[0]
        rows.append((logits.softmax(-1) if exclusive else logits.sigmoid()).numpy())
    return np.stack(rows)


def test_the_profanity_judge_tells_swearing_from_weather(store: ArtifactStore) -> None:
    judge = open_judge(Judge(ProfanityJudge()), store)

    judged = judge_texts(judge, ["It may rain in the afternoon.", "what a piece of shit", ""])

    clean, swearing, blank = judged.scores
    assert clean is not None and swearing is not None and blank is not None
    assert clean < 0.2 < 0.8 < swearing
    assert judge.name == "profanity"


HARD = ["", "\x00\x01\x1f\x7f", "lone \ud800 surrogate", "megabyte " * 120_000, "漢字"]


def test_the_profanity_judge_scores_hard_texts_and_cuts_none(store: ArtifactStore) -> None:
    judge = open_judge(Judge(ProfanityJudge()), store)

    judged = judge_texts(judge, HARD, threads=2)

    assert all(score is not None and 0 < score < 0.5 for score in judged.scores)
    assert not judge.overflows(HARD).any()


def test_a_job_made_for_other_judge_files_is_refused(store: ArtifactStore) -> None:
    with pytest.raises(JudgeUnavailable, match="made for other files"):
        open_judge(Judge(ProfanityJudge(), DIGEST), store)


def test_files_that_are_not_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"one")
    pins = {"model.bin": hashlib.sha256(b"one").hexdigest()}
    check_pins("some", tmp_path, pins)

    (tmp_path / "model.bin").write_bytes(b"two")
    with pytest.raises(JudgeUnavailable, match=r"model\.bin of the judge some is not the pinned one"):
        check_pins("some", tmp_path, pins)
    (tmp_path / "model.bin").unlink()
    with pytest.raises(JudgeUnavailable, match=r"lacks its file model\.bin"):
        check_pins("some", tmp_path, pins)


@pytest.mark.parametrize("problem", ["multi_label_classification", "single_label_classification"])
def test_a_classifier_gives_the_probabilities_of_unpadded_texts(
    save_classifier: Callable[..., Path], store: ArtifactStore, problem: str
) -> None:
    folder = save_classifier(["kind", "rude", "cruel"], problem_type=problem)
    digest = store.put_tree(folder).digest
    choice = ClassifierJudge(ModelRef(f"artifact:{digest}"), toxic_labels=("rude", "cruel"))

    judged = judge_texts(open_judge(Judge(choice, digest), store), TEXTS[::2])

    expected = oracle(folder, TEXTS[::2], exclusive=problem.startswith("single"))
    np.testing.assert_allclose(judged.probabilities, expected, atol=1e-5)
    assert judged.scores == pytest.approx(expected[:, 1:].max(axis=1), abs=1e-5)


def test_a_toxic_label_that_the_classifier_lacks_is_refused(
    save_classifier: Callable[..., Path], store: ArtifactStore
) -> None:
    digest = store.put_tree(save_classifier(["kind", "rude"])).digest
    choice = ClassifierJudge(ModelRef(f"artifact:{digest}"), toxic_labels=("vile",))

    with pytest.raises(JudgeUnavailable, match="no label vile; it has kind, rude"):
        open_judge(Judge(choice, digest), store)


def save_checkpoint(folder: Path, classifier: Path, **changes: object) -> str:
    """Writes a checkpoint of the released form beside its configuration and tokenizer; returns its sha256."""
    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    folder.mkdir()
    model.config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(classifier).save_pretrained(folder)
    arch = {"model_type": "bert-base-uncased", "model_name": "BertForSequenceClassification",
            "tokenizer_name": "BertTokenizer", "num_classes": model.config.num_labels}  # fmt: skip
    released = {
        "config": {"arch": {"args": arch}, "dataset": {"args": {"classes": CLASSES}}},
        "state_dict": model.state_dict(),
        **changes,
    }
    torch.save(released, folder / "toxic.ckpt")
    return hashlib.sha256((folder / "toxic.ckpt").read_bytes()).hexdigest()


def test_detoxify_reads_its_checkpoint_and_ignores_the_identity_labels(
    save_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    """The released unbiased model has 16 outputs, of which the first 7 are its toxic classes."""
    classifier = save_classifier([*CLASSES, *(f"identity_{number}" for number in range(9))])
    pin = save_checkpoint(tmp_path / "released", classifier)

    judge = open_detoxify(tmp_path / "released", UNBIASED, DIGEST, {UNBIASED: pin})

    expected = oracle(classifier, TEXTS[::2], exclusive=False)
    judged = judge_texts(judge, TEXTS[::2])
    assert judge.labels == TOXIC_LABELS[UNBIASED]
    assert judged.scores == pytest.approx(expected[:, :7].max(axis=1), abs=1e-5)


def test_detoxify_reads_a_safetensors_folder_with_other_names_and_more_labels(
    save_classifier: Callable[..., Path], store: ArtifactStore
) -> None:
    labels = ["male", "toxic", "severe_toxic", "obscene", "identity_hate", "insult", "threat", "sexual_explicit"]
    folder = save_classifier(labels)
    digest = store.put_tree(folder).digest
    choice = DetoxifyJudge(UNBIASED, ModelRef(f"artifact:{digest}"))

    judged = judge_texts(open_judge(Judge(choice, digest), store), TEXTS[::2])

    assert judged.scores == pytest.approx(oracle(folder, TEXTS[::2], exclusive=False)[:, 1:].max(axis=1), abs=1e-5)


def test_a_checkpoint_that_is_not_the_pinned_one_is_refused(
    save_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "released", save_classifier(CLASSES))

    with pytest.raises(JudgeUnavailable, match="not the pinned one"):
        open_detoxify(tmp_path / "released", UNBIASED, DIGEST)


@pytest.mark.parametrize("variant", DetoxifyVariant)
def test_pins_begin_as_the_releases_are_named_and_are_whole_where_the_digest_is_known(variant: DetoxifyVariant) -> None:
    named = {DetoxifyVariant.ORIGINAL: "c1212f89", UNBIASED: "c7548aa0", DetoxifyVariant.MULTILINGUAL: "0b549669"}
    pin = PINNED_SHA256[variant]

    assert pin.startswith(named[variant])
    assert len(pin) == (8 if variant is DetoxifyVariant.MULTILINGUAL else 64)


def test_a_roberta_release_is_read_as_it_is_and_without_padding(
    save_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    """The release has 16 outputs and reads two tokens less than it has positions."""
    torch.manual_seed(7)
    config = RobertaConfig(
        vocab_size=257, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=66, pad_token_id=1, initializer_range=0.5, num_labels=16,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(tmp_path / "roberta")
    AutoTokenizer.from_pretrained(save_classifier(CLASSES)).save_pretrained(tmp_path / "roberta")
    arch = {"model_type": "roberta-base", "model_name": "RobertaForSequenceClassification",
            "tokenizer_name": "RobertaTokenizer", "num_classes": 16}  # fmt: skip
    released = {"arch": {"args": arch}, "dataset": {"args": {"classes": CLASSES}}}
    pin = save_checkpoint(tmp_path / "released", tmp_path / "roberta", config=released)

    judge = open_detoxify(tmp_path / "released", UNBIASED, DIGEST, {UNBIASED: pin})

    texts = [*TEXTS[::2], "a plain sentence that goes on and on and is cut past its 64th token"]
    expected = oracle(tmp_path / "roberta", texts, exclusive=False)[:, :7]
    assert judge.forward == "fused"
    assert judge.overflows(texts).tolist() == [False, False, True]
    np.testing.assert_allclose(judge.probabilities(texts), expected, atol=1e-5)


def test_judges_say_which_languages_they_are_for(save_classifier: Callable[..., Path], store: ArtifactStore) -> None:
    folder = save_classifier(["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"])
    digest = store.put_tree(folder).digest
    model = ModelRef(f"artifact:{digest}")
    original = open_judge(Judge(DetoxifyJudge(DetoxifyVariant.ORIGINAL, model), digest), store)
    anybodys = open_judge(Judge(ClassifierJudge(model), digest), store)
    several = open_detoxify(save_classifier(CLASSES, name="many"), DetoxifyVariant.MULTILINGUAL, DIGEST)

    assert original.languages == open_judge(Judge(ProfanityJudge()), store).languages == ("en",)
    assert several.languages == ("en", "fr", "es", "it", "pt", "tr", "ru")
    assert anybodys.languages == ()


class Payload:
    """Anything that is not a tensor or a plain value."""


def test_a_checkpoint_with_objects_is_refused(save_classifier: Callable[..., Path], tmp_path: Path) -> None:
    pin = save_checkpoint(tmp_path / "released", save_classifier(CLASSES), more=Payload())

    with pytest.raises(JudgeUnavailable, match="does not load"):
        open_detoxify(tmp_path / "released", UNBIASED, DIGEST, {UNBIASED: pin})


def test_a_checkpoint_without_all_its_weights_is_refused(save_classifier: Callable[..., Path], tmp_path: Path) -> None:
    pin = save_checkpoint(tmp_path / "released", save_classifier(CLASSES), state_dict={})

    with pytest.raises(JudgeUnavailable, match="does not load"):
        open_detoxify(tmp_path / "released", UNBIASED, DIGEST, {UNBIASED: pin})


def save_graph(path: Path) -> str:
    """A graph with hatesonar's inputs and its unportable locale: probabilities by whether the text is 'BAD'."""
    nodes = [
        helper.make_node("StringNormalizer", ["text"], ["lower"], case_change_action="LOWER", locale="xx_XX.UTF-8"),
        helper.make_node(
            "LabelEncoder", ["lower"], ["bad"], domain="ai.onnx.ml", keys_strings=["bad"], values_floats=[0.75],
            default_float=0.25,
        ),
        helper.make_node("Unsqueeze", ["bad", "axis"], ["column"]),
        helper.make_node("Sub", ["one", "column"], ["neither"]),
        helper.make_node("Sub", ["column", "column"], ["zero"]),
        helper.make_node("Concat", ["column", "zero", "neither"], ["probabilities"], axis=1),
    ]  # fmt: skip
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
    ]
    graph = helper.make_graph(
        nodes, "judge", [helper.make_tensor_value_info("text", TensorProto.STRING, [None])],
        [helper.make_tensor_value_info("lower", TensorProto.STRING, [None]),
         helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])],
        constants,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_hatesonar_runs_without_the_recorded_locale_and_scores_all_but_neither(tmp_path: Path) -> None:
    (tmp_path / "package" / "model").mkdir(parents=True)
    pin = save_graph(tmp_path / "package" / "model" / "model.onnx")

    judged = judge_texts(HatesonarScorer(tmp_path / "package", pin), ["BAD", "good"])

    assert judged.scores == pytest.approx((0.75, 0.25))


def test_hatesonar_scores_hard_texts_and_cuts_none(tmp_path: Path) -> None:
    judge = HatesonarScorer(tmp_path / "model.onnx", save_graph(tmp_path / "model.onnx"))

    judged = judge_texts(judge, [*HARD, "bad"], threads=2)

    assert judged.scores == pytest.approx((*[0.25] * len(HARD), 0.75))
    assert not judge.overflows(HARD).any()


def test_hatesonar_refuses_a_file_that_is_not_the_pinned_one(tmp_path: Path) -> None:
    save_graph(tmp_path / "model.onnx")

    with pytest.raises(JudgeUnavailable, match="not the pinned one"):
        HatesonarScorer(tmp_path / "model.onnx", pinned_sha256())
