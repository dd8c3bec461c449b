# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# sentence-transformers, transformers and onnxruntime are partly untyped.
"""`selection.embedding`: texts to vectors as the step does it, against sentence-transformers and ONNX Runtime.

From texts to vectors, tokenising included, encoder loaded. sentence-transformers runs as called without options: sorted
by length, 32 texts a batch, padded; ONNX Runtime runs the network exported from it, in the same batches. Full size: the
demo's all-MiniLM-L6-v2 on real texts, prompts with their continuations and short comments; quick: a tiny random BERT on
made-up ones. bf16 is the format of all weights for sentence-transformers, of the matrices for us.

The limit is the arithmetic of the tokens there are, without padding, at this process's matrix product in the same
number format: 2 operations a matrix weight and token, 4 a layer, width and pair of tokens in attention.
`value_agrees`: every text's vector has a cosine of at least 0.999 with that of sentence-transformers in fp32.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.models import ROOT, WORDS, demo_encoder, make_tiny_encoder
from bench.selection.pools import SEED, Points
from llm_repair.core.evaluation import WeightFormat
from llm_repair.selection.distinct_texts import DistinctTexts, batches
from llm_repair.selection.encoder import TEXTS_AT_ONCE, Encoder

DATA = ROOT.parent / "shared" / "data"
SAME_DIRECTION = 0.999
_PEER_ROWS = 32
_LIBRARY = "sentence-transformers"
_REAL_WORDS = (5, 10, 14, 18, 26, 69)
"""Tokens a text, without special ones, at the quantiles 0, 0.2, 0.4, 0.6, 0.8 and 1 of the real mix."""


@dataclass(frozen=True)
class Load:
    """How much is embedded."""

    texts: int
    rounds: int


QUICK = Load(texts=240, rounds=3)
FULL = Load(texts=900, rounds=5)


@dataclass(frozen=True)
class Mix:
    """Texts to embed."""

    name: str
    texts: list[str]


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of both number formats."""
    load = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "encoder" if quick else demo_encoder()
        if quick:
            make_tiny_encoder(folder)
        mix = _made_up(load.texts) if quick else _real(load.texts)
        for weights in (WeightFormat.FLOAT32, WeightFormat.BFLOAT16):
            yield from _side_by_side(folder, weights, mix, load, limits, Path(scratch))


def _side_by_side(
    folder: Path, weights: WeightFormat, mix: Mix, load: Load, limits: Limits, scratch: Path
) -> Iterator[Line]:
    exact = weights is WeightFormat.FLOAT32
    library = _library(folder)
    encoder = Encoder(folder, weights=weights)
    contenders: dict[str, Callable[[], Points]] = {
        "ours": lambda: _ours(encoder, mix.texts, scratch / "texts"),
        _LIBRARY: lambda: library.encode(mix.texts),
    }
    if exact:
        contenders |= _onnx(library, mix.texts, scratch / "encoder.onnx")
    else:
        narrow = _library(folder, dtype=torch.bfloat16)
        contenders[f"{_LIBRARY}, bf16"] = lambda: narrow.encode(mix.texts)
    timings = interleaved(contenders, rounds=load.rounds)
    tokens = [text.tokens for text in encoder.prepare(mix.texts)]
    gflops = limits.sgemm_gflops if exact else limits.bf16_gflops
    yield from lines_of(
        timings,
        f"selection.embedding.{'fp32' if exact else 'bf16'}",
        f"{len(mix.texts)} texts, {sum(tokens)} tokens, {mix.name}",
        agrees={name: _agrees(timings.values[name], timings.values[_LIBRARY]) for name in contenders},
        limit_s=_operations(library, tokens) / (1e9 * gflops),
        other_work=() if exact else (_LIBRARY,),
    )


def _ours(encoder: Encoder, texts: list[str], file: Path) -> Points:
    with DistinctTexts(file) as distinct:
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            distinct.add(texts[start : start + TEXTS_AT_ONCE], encoder.prepare)
        order = distinct.order()
        places = [order[cut.start : cut.stop] for cut in batches(distinct.tokens[order], encoder.batch_tokens)]
        payloads = (list(distinct.read(batch)) for batch in places)
        vectors = np.empty((len(distinct), encoder.dimensions), dtype=np.float32)
        for batch, embedded in zip(places, encoder.embed_all(payloads, torch.get_num_threads()), strict=True):
            vectors[batch] = embedded
        return vectors[distinct.rows]


def _library(folder: Path, **options: Any) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs=options).eval()


def _onnx(library: SentenceTransformer, texts: list[str], file: Path) -> dict[str, Callable[[], Points]]:
    """Exports the network and returns its contender; none where the packages are missing."""
    # The exporter needs the first, the session the second.
    missing = [package for package in ("onnx", "onnxruntime") if find_spec(package) is None]
    if missing:
        print(f"ONNX Runtime is left out: {' and '.join(missing)} not installed", file=sys.stderr)
        return {}
    import onnxruntime

    _export(library, file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    tokenizer: Any = library.tokenizer

    def embed() -> Points:
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        vectors = np.empty((len(texts), library.get_embedding_dimension() or 0), dtype=np.float32)
        for start in range(0, len(order), _PEER_ROWS):
            places = order[start : start + _PEER_ROWS]
            read = tokenizer([texts[place] for place in places], padding=True, truncation=True, return_tensors="np")
            inputs = {"ids": read["input_ids"], "mask": read["attention_mask"]}
            states: Any = session.run(None, inputs)[0]
            mask = inputs["mask"][..., None].astype(np.float32)
            means = (states * mask).sum(axis=1) / mask.sum(axis=1)
            vectors[places] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return vectors

    return {"ONNX Runtime": embed}


def _export(library: SentenceTransformer, file: Path) -> None:
    class States(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            transformer: Any = library[0]
            self.network: Any = transformer.auto_model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.network(input_ids=ids, attention_mask=mask).last_hidden_state

    read: Any = library.tokenizer(["a b c", "a"], padding=True, return_tensors="pt")
    axes = {0: "texts", 1: "tokens"}
    with warnings.catch_warnings():
        # The exporter that needs no further package says that there is a newer one, and that tracing is tracing.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            States().eval(),
            (read["input_ids"], read["attention_mask"]),
            str(file),
            input_names=["ids", "mask"],
            output_names=["states"],
            dynamic_axes={"ids": axes, "mask": axes, "states": axes},
            opset_version=17,
            dynamo=False,
        )


def _agrees(ours: Points, theirs: Points) -> bool:
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return bool(((ours * theirs).sum(axis=1) >= SAME_DIRECTION * norms).all())


def _operations(library: SentenceTransformer, tokens: list[int]) -> float:
    transformer: Any = library[0]
    config: Any = transformer.auto_model.config
    width, layers = config.hidden_size, config.num_hidden_layers
    weights = layers * (4 * width**2 + 2 * width * config.intermediate_size)
    return 2.0 * weights * sum(tokens) + 4.0 * layers * width * sum(length**2 for length in tokens)


def _real(count: int) -> Mix:
    """Returns one prompt with its continuation to two short comments, as repair pools have both."""
    scored, comments = DATA / "rtp_scored_a.jsonl.gz", DATA / "paradetox_train.jsonl"
    if not (scored.is_file() and comments.is_file()):
        print(
            "NO REAL TEXTS FOUND: the length mix is made up, its figures are not those of real texts", file=sys.stderr
        )
        return _made_up(count)
    with gzip.open(scored, "rt", encoding="utf-8") as file:
        prompted = [json.loads(line) for line in file]
    long = [f"{row['prompt']} {row['continuation'].lstrip()}" for row in prompted]
    short = [json.loads(line)["toxic"] for line in comments.read_text(encoding="utf-8").splitlines()]
    rng = random.Random(SEED)
    texts = [*rng.sample(long, count // 3), *rng.sample(short, count - count // 3)]
    rng.shuffle(texts)
    return Mix("RealToxicityPrompts and ParaDetox", texts)


def _made_up(count: int) -> Mix:
    rng = random.Random(SEED)
    shares = np.linspace(0, 1, len(_REAL_WORDS))
    lengths = [int(np.interp(rng.random(), shares, _REAL_WORDS)) for _ in range(count)]
    return Mix("MADE UP", [" ".join(rng.choices(WORDS, k=length)) for length in lengths])


if __name__ == "__main__":
    area.main(__doc__, lines)
