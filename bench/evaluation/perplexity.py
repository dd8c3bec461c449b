# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportMissingImports=false
# lm-eval and transformers are partly untyped.
"""`evaluation.perplexity.*` and `evaluation.cloze.*`: texts read as an evaluation reads them, against lm-eval.

Both read the same documents with the same checkpoint in fp32, lm-eval through tasks of its own kind over local files:
`loglikelihood_rolling` as its `wikitext`, without detokeniser, and `loglikelihood` as its `lambada_openai`. Windows are
1,024 tokens for both, tokenising and counting are included, bootstraps are not. lm-eval runs one request at a time, its
default, and several. Texts: articles of WikiText-2 and passages of LAMBADA, else made-up ones. Models: a GPT-2 of two
layers with random weights, whose time goes into its vocabulary, and otherwise the demo's SmolLM2-135M, whose time goes
into its layers.

The limit is the arithmetic at this process's fp32 matrix product: 2 operations a matrix weight and input token, but for
the output matrix a predicted token, and 4 a layer, width and pair of tokens in attention. `value_agrees`: word
perplexity and bits per byte are within 1e-4 of lm-eval's, relatively; accuracy is equal, and the perplexity of the last
words within 1e-4.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import logging
import math
import random
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.models import ROOT, WORDS, demo_model
from llm_repair.artifacts.datasets import Row
from llm_repair.core.evaluation import Protocol, StrictProtocol, WeightFormat
from llm_repair.core.probes import CorpusLayout
from llm_repair.evaluation.engines.transformers import TransformersEngine
from llm_repair.evaluation.probes.cloze import cloze_texts
from llm_repair.evaluation.probes.corpora import articles, corpus_documents
from llm_repair.evaluation.protocols.plan import plan_for
from llm_repair.models.inference.scoring import Document, all_windows
from llm_repair.models.loading import load_causal_lm, load_language_model, load_tokenizer

DATA = ROOT.parent / "shared" / "data"
WINDOW: Final = 1024
_TOLERANCE: Final = 1e-4
_SEED: Final = 1
_TEXT_FIELD: Final = "text"
_BEFORE = "{{text.split(' ')[:-1]|join(' ')}}"
_LAST_WORD = "{{' '+text.split(' ')[-1]}}"


@dataclass(frozen=True)
class Load:
    """How much is read."""

    words: int
    """Of documents, at least."""
    passages: int
    rounds: int
    batches: tuple[int, int]
    """Requests that lm-eval has at a time in its other setting: for documents, and for last words."""


QUICK = Load(words=500, passages=8, rounds=1, batches=(2, 8))
TINY = Load(words=40_000, passages=512, rounds=3, batches=(4, 16))
FULL = Load(words=4_000, passages=96, rounds=3, batches=(4, 16))


@dataclass(frozen=True)
class Numbers:
    """What a contender says of the texts."""

    values: Mapping[str, float]

    def agree(self, other: Numbers) -> bool:
        """Tells whether all numbers are as good as equal."""
        return self.values.keys() == other.values.keys() and all(
            math.isclose(value, other.values[name], rel_tol=_TOLERANCE) for name, value in self.values.items()
        )


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all models and both kinds of texts."""
    transformers_logging.disable_progress_bar()
    documents, passages = _texts(quick)
    with tempfile.TemporaryDirectory() as scratch:
        tiny = Path(scratch) / "gpt2"
        make_tiny_gpt2(tiny, documents)
        yield from _of_model("gpt2", tiny, documents, passages, QUICK if quick else TINY, limits)
        if not quick:
            yield from _of_model("smollm2", demo_model(), documents, passages, FULL, limits)


def _of_model(
    name: str, folder: Path, documents: Sequence[str], passages: Sequence[str], load: Load, limits: Limits
) -> Iterator[Line]:
    model = load_language_model(folder, weights=WeightFormat.FLOAT32)
    engine, peer = TransformersEngine(model), _Peer(folder)
    read = _as_long_as(documents, load.words)
    yield from _side_by_side(
        f"evaluation.perplexity.{name}",
        {"ours": lambda: rolling(engine, read), **peer.rolling(read, (1, load.batches[0]))},
        peer,
        load.rounds,
        limits,
        [one.document for one in corpus_documents(_rows(read), CorpusLayout.DOCUMENTS, engine.tokens, _PLAN)],
        f"{len(read)} documents",
    )
    asked = list(passages[: load.passages])
    yield from _side_by_side(
        f"evaluation.cloze.{name}",
        {"ours": lambda: last_words(engine, asked), **peer.last_words(asked, (1, load.batches[1]))},
        peer,
        load.rounds,
        limits,
        cloze_texts("passages", _rows(asked), engine.tokens, WINDOW).documents,
        f"{len(asked)} passages",
    )


_PLAN = plan_for(Protocol(StrictProtocol(window_tokens=WINDOW)), _SEED)


def rolling(engine: TransformersEngine, texts: Sequence[str]) -> Numbers:
    """Returns word perplexity and bits per byte as the evaluation step and the comparison make them."""
    documents = corpus_documents(_rows(texts), CorpusLayout.DOCUMENTS, engine.tokens, _PLAN)
    scores = engine.score([one.document for one in documents], WINDOW, beat=lambda done: None)
    nll = math.fsum(score.nll for score in scores)
    words, size = sum(one.words for one in documents), sum(one.bytes for one in documents)
    return Numbers({"word_perplexity": math.exp(nll / words), "bits_per_byte": nll / size / math.log(2)})


def last_words(engine: TransformersEngine, texts: Sequence[str]) -> Numbers:
    """Returns accuracy and perplexity of the last words."""
    cloze = cloze_texts("passages", _rows(texts), engine.tokens, WINDOW)
    scores = list(engine.score(cloze.documents, WINDOW, beat=lambda done: None))
    mean = math.fsum(score.nll for score in scores) / len(scores)
    return Numbers({"acc": sum(score.greedy for score in scores) / len(scores), "perplexity": math.exp(mean)})


class _Peer:
    """lm-eval with the same checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.network: Any = load_causal_lm(folder)
        self._tokenizer = load_tokenizer(folder)

    def rolling(self, texts: Sequence[str], batches: Sequence[int]) -> dict[str, Callable[[], Numbers]]:
        """Returns a contender by batch size."""
        metrics = [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}]
        task = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}"}
        return self._contenders(task, metrics, texts, batches)

    def last_words(self, texts: Sequence[str], batches: Sequence[int]) -> dict[str, Callable[[], Numbers]]:
        """Returns a contender by batch size."""
        metrics = [
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        ]
        task = {"output_type": "loglikelihood", "doc_to_text": _BEFORE, "doc_to_target": _LAST_WORD}
        return self._contenders(task, metrics, texts, batches)

    def _contenders(
        self,
        task: Mapping[str, Any],
        metrics: Sequence[Mapping[str, Any]],
        texts: Sequence[str],
        batches: Sequence[int],
    ) -> dict[str, Callable[[], Numbers]]:
        names = [str(metric["metric"]) for metric in metrics]
        made = _task({**task, "metric_list": list(metrics)}, texts)
        return {
            f"lm-eval, {'one request' if size == 1 else f'{size} requests'} at a time": functools.partial(
                self._evaluated, made, names, size
            )
            for size in batches
        }

    def _evaluated(self, task: Any, names: Sequence[str], batch: int) -> Numbers:
        settings = {"tokenizer": self._tokenizer, "batch_size": batch, "max_length": WINDOW, "device": "cpu"}
        with _silence():
            model: Any = _lm_eval("models.huggingface").HFLM(pretrained=self.network, **settings)
            found = _lm_eval("evaluator").evaluate(model, {"local": task}, bootstrap_iters=0)["results"]["local"]
        return Numbers({name: float(found[f"{name},none"]) for name in names})


def _lm_eval(module: str) -> Any:
    """Returns a module of lm-eval, which takes seconds to import, and has types of its own mind."""
    return importlib.import_module(f"lm_eval.{module}")


def _task(config: Mapping[str, Any], texts: Sequence[str]) -> Any:
    """Returns a task of lm-eval over a local file, loaded: nothing of it is timed."""
    with _silence(), tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "texts.jsonl"
        file.write_text("".join(json.dumps({_TEXT_FIELD: text}) + "\n" for text in texts), encoding="utf-8")
        source = {"data_files": {"test": str(file)}, "cache_dir": str(Path(scratch) / "cache"), "keep_in_memory": True}
        return _lm_eval("api.task").ConfigurableTask(
            config={
                "task": "local",
                "dataset_path": "json",
                "dataset_kwargs": source,
                "test_split": "test",
                "metadata": {"version": 1},
                **config,
            }
        )


def _side_by_side(
    bench: str,
    contenders: Mapping[str, Callable[[], Numbers]],
    peer: _Peer,
    rounds: int,
    limits: Limits,
    documents: Sequence[Document],
    size: str,
) -> Iterator[Line]:
    timings = interleaved(contenders, rounds=rounds)
    expected = timings.values["lm-eval, one request at a time"]
    tokens = sum(len(document.ids) - document.given for document in documents)
    yield from lines_of(
        timings,
        bench,
        f"{size}, {tokens} predicted tokens",
        agrees={name: made.agree(expected) for name, made in timings.values.items()},
        limit_s=operations(peer.network, documents) / (1e9 * limits.sgemm_gflops),
    )


def operations(network: Any, documents: Sequence[Document]) -> float:
    """Returns the floating-point operations that these documents take at least, padding and masks left out."""
    head = network.get_output_embeddings().weight
    matrices = sum(weight.numel() for weight in network.base_model.parameters() if weight.ndim == 2)
    tables = [part for part in network.base_model.modules() if isinstance(part, torch.nn.Embedding)]
    body = matrices - sum(table.weight.numel() for table in tables)
    width, layers = network.config.hidden_size, network.config.num_hidden_layers
    asked = all_windows(documents, WINDOW, None)
    inputs, targets = sum(len(window.inputs) for window in asked), sum(len(window.targets) for window in asked)
    pairs = sum(len(window.inputs) * (len(window.inputs) + 1) / 2 for window in asked)
    return 2.0 * body * inputs + 2.0 * head.numel() * targets + 4.0 * width * layers * pairs


def make_tiny_gpt2(folder: Path, texts: Sequence[str]) -> None:
    """Makes a random GPT-2 of two layers over byte pairs learnt from the texts, at most as many as GPT-2 has."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=50_257, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=core, bos_token=end, eos_token=end).save_pretrained(folder)
    torch.manual_seed(_SEED)
    config = GPT2Config(
        vocab_size=core.get_vocab_size(), n_embd=256, n_layer=2, n_head=4, n_positions=WINDOW, initializer_range=0.1,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)


def _texts(quick: bool) -> tuple[list[str], list[str]]:
    """Returns documents and passages."""
    files = (DATA / "wikitext2_test_raw.jsonl", DATA / "lambada_test_a.jsonl")
    if not quick and all(file.is_file() for file in files):
        lines_, passages = (
            [str(json.loads(line)[_TEXT_FIELD]) for line in file.read_text(encoding="utf-8").splitlines()]
            for file in files
        )
        return [text for _, text in articles(_rows([line.rstrip("\n") for line in lines_]))], passages
    if not quick:
        print("NO REAL TEXTS FOUND: documents and passages are made up", file=sys.stderr)
    rng = random.Random(_SEED)
    made = [[" ".join(rng.choices(WORDS, k=length)) for _ in range(count)] for length, count in ((900, 60), (70, 600))]
    return made[0], made[1]


def _as_long_as(texts: Sequence[str], words: int) -> list[str]:
    """Returns the first texts with so many words together."""
    kept: list[str] = []
    for text in texts:
        if sum(len(other.split()) for other in kept) >= words:
            break
        kept.append(text)
    return kept


def _rows(texts: Sequence[str]) -> list[Row]:
    return [Row(f"{number:06d}", text=text) for number, text in enumerate(texts)]


@contextlib.contextmanager
def _silence() -> Generator[None]:
    """Keeps bars and hints of others out of the output."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


if __name__ == "__main__":
    area.main(__doc__, lines)
