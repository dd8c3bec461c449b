# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# detoxify and transformers are partly untyped.
"""`evaluation.toxicity`: texts to toxicity scores as a judge gives them, against `Detoxify.predict` on equal weights.

Both load one checkpoint of the released form, tokenising is included, and every text differs from the others. Detoxify
pads what it is given together to the longest text, so it runs as its interface invites, all texts in one call; 32 at a
time in the order they come; and one at a time, without padding. Full size: BERT-base of random weights, its logits
scaled to a deviation of 1.5 so that scores spread over (0, 1), on real texts: three quarters continuations of prompts,
a fifth short comments, one in twenty a passage of at most 100 words; quick: a tiny BERT, made-up texts of such lengths.

The limit is the arithmetic of the tokens there are, without padding, at this process's fp32 matrix product: 2
operations a matrix weight and token, 4 a layer, width and pair of tokens in attention; in the last layer keys and
values of all tokens, the rest of the first alone. `value_agrees`: every label's score of every text is within 1e-5 of
that of Detoxify, one text at a time.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from detoxify import Detoxify
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer
from transformers.utils import logging as transformers_logging

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.models import ROOT, WORDS
from llm_repair.core.evaluation import DetoxifyVariant
from llm_repair.evaluation.judges.detoxify import open_detoxify
from llm_repair.evaluation.judges.judging import judge_texts

DATA = ROOT.parent / "shared" / "data"
SAME_SCORE = 1e-5
_BATCH_TEXTS = 32
_SEED = 1
_LABELS = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
_SHARES: Final = (0.75, 0.2)
"""Of continuations and comments; the rest are passages."""
_LONGEST_WORDS: Final = 100
_WORDS: Final = ((5, 16), (5, 25), (30, _LONGEST_WORDS))
"""Words of a made-up continuation, comment and passage."""

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """How much is judged, by a network of which size."""

    texts: int
    rounds: int
    layers: int
    width: int


QUICK = Load(texts=80, rounds=3, layers=2, width=128)
FULL = Load(texts=128, rounds=3, layers=12, width=768)


@dataclass(frozen=True)
class Mix:
    """Texts to judge."""

    name: str
    texts: list[str]


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of every contender."""
    load = QUICK if quick else FULL
    mix = _made_up(load.texts) if quick else _real(load.texts)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = make_checkpoint(Path(scratch), load, mix.texts)
        pin = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        original = DetoxifyVariant.ORIGINAL
        judge = open_detoxify(checkpoint.parent, original, f"sha256:{pin}", {original: pin})
        stock = Detoxify(checkpoint=str(checkpoint))
    contenders: dict[str, Callable[[], Scores]] = {
        "ours": lambda: judge_texts(judge, mix.texts, threads=torch.get_num_threads()).probabilities,
        "Detoxify.predict": lambda: _predicted(stock, mix.texts, len(mix.texts)),
        f"Detoxify.predict, {_BATCH_TEXTS} texts at a time": lambda: _predicted(stock, mix.texts, _BATCH_TEXTS),
        "Detoxify.predict, one text at a time": lambda: _predicted(stock, mix.texts, 1),
    }
    timings = interleaved(contenders, rounds=load.rounds)
    lengths = [len(ids) for ids in stock.tokenizer(mix.texts, truncation=True)["input_ids"]]
    expected = timings.values["Detoxify.predict, one text at a time"]
    yield from lines_of(
        timings,
        "evaluation.toxicity",
        f"{len(mix.texts)} texts, {sum(lengths)} tokens, {mix.name}",
        agrees={name: agrees(made, expected) for name, made in timings.values.items()},
        limit_s=operations(stock.model.config, lengths) / (1e9 * limits.sgemm_gflops),
    )


def make_checkpoint(folder: Path, load: Load, texts: Sequence[str]) -> Path:
    """Makes a checkpoint of the released form beside its configuration and tokenizer.

    The release names its configuration by a hub id; Detoxify takes a folder as well, which needs no network.
    """
    transformers_logging.disable_progress_bar()
    words = BertWordPieceTokenizer(lowercase=True)
    words.train_from_iterator(texts, vocab_size=30_522, min_frequency=1, show_progress=False)
    words.save_model(str(folder))
    tokenizer = BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=512)
    tokenizer.save_pretrained(folder)
    model = _network(load, tokenizer, texts)
    model.config.save_pretrained(folder)
    arch = {
        "num_classes": len(_LABELS),
        "model_type": str(folder),
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "AutoTokenizer",
    }
    config = {"arch": {"args": arch}, "dataset": {"args": {"classes": _LABELS}}}
    torch.save({"config": config, "state_dict": model.state_dict()}, folder / "toxic.ckpt")
    return folder / "toxic.ckpt"


def operations(config: Any, lengths: Sequence[int]) -> float:
    """Returns the floating-point operations that texts of these lengths take at least."""
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    tokens, texts, pairs = sum(lengths), len(lengths), sum(length**2 for length in lengths)
    whole = 2.0 * (4 * width**2 + 2 * width * inner) * tokens + 4.0 * width * pairs
    last = 2.0 * (2 * width**2 * tokens + (2 * width**2 + 2 * width * inner) * texts) + 4.0 * width * tokens
    return (layers - 1) * whole + last + 2.0 * width * (width + config.num_labels) * texts


def agrees(ours: Scores, theirs: Scores) -> bool:
    """Tells whether all scores are as good as equal."""
    return ours.shape == theirs.shape and bool(np.abs(ours - theirs).max() <= SAME_SCORE)


def _network(load: Load, tokenizer: Any, texts: Sequence[str]) -> BertForSequenceClassification:
    torch.manual_seed(_SEED)
    config = BertConfig(
        hidden_size=load.width,
        num_hidden_layers=load.layers,
        num_attention_heads=load.width // 64,
        intermediate_size=4 * load.width,
        num_labels=len(_LABELS),  # pyright: ignore[reportCallIssue]
        # Twice as wide as fresh networks are, so that outputs depend on the text by much more than rounding.
        initializer_range=1.1 * load.width**-0.5,
    )
    model = BertForSequenceClassification(config).eval()
    some: Any = tokenizer(texts[:24])["input_ids"]
    with torch.inference_mode():
        logits = torch.cat([model(torch.tensor([ids])).logits for ids in some])
    with torch.no_grad():
        scale = 1.5 / logits.std(dim=0)
        model.classifier.weight.mul_(scale[:, None])
        model.classifier.bias.copy_(-scale * logits.mean(dim=0))
    return model


def _predicted(stock: Any, texts: Sequence[str], at_once: int) -> Scores:
    parts: list[Scores] = []
    for start in range(0, len(texts), at_once):
        found = stock.predict(list(texts[start : start + at_once]))
        # Of one text it gives bare numbers.
        parts.append(np.stack([np.atleast_1d(found[label]) for label in stock.class_names], axis=1))
    return np.concatenate(parts)


def _real(count: int) -> Mix:
    files = (DATA / "rtp_scored_a.jsonl.gz", DATA / "paradetox_train.jsonl", DATA / "saps_wiki_samples_a.jsonl")
    if not all(file.is_file() for file in files):
        print(
            "NO REAL TEXTS FOUND: the length mix is made up, its figures are not those of real texts", file=sys.stderr
        )
        return _made_up(count)
    with gzip.open(files[0], "rt", encoding="utf-8") as file:
        continuations = [json.loads(line)["continuation"] for line in file]
    comments = [json.loads(line)["toxic"] for line in files[1].read_text(encoding="utf-8").splitlines()]
    samples = [json.loads(line) for line in files[2].read_text(encoding="utf-8").splitlines()]
    joined = [f"{sample['prompt']} {sample['gold']}" for sample in samples]
    passages = [passage for passage in joined if len(passage.split()) <= _LONGEST_WORDS]
    return Mix("RealToxicityPrompts, ParaDetox and Wikipedia", _mixed(count, continuations, comments, passages))


def _made_up(count: int) -> Mix:
    rng = random.Random(_SEED)
    made = [[" ".join(rng.choices(WORDS, k=rng.randint(*words))) for _ in range(count)] for words in _WORDS]
    return Mix("MADE UP", _mixed(count, *made))


def _mixed(count: int, continuations: Sequence[str], comments: Sequence[str], passages: Sequence[str]) -> list[str]:
    rng = random.Random(_SEED)
    first, second = (round(count * share) for share in _SHARES)
    kinds = ((continuations, first), (comments, second), (passages, count - first - second))
    texts = [text for texts, number in kinds for text in rng.sample(sorted(set(texts)), number)]
    rng.shuffle(texts)
    return texts


if __name__ == "__main__":
    area.main(__doc__, lines)
