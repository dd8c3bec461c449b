# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""`evaluation.overlap`: samples are judged while the engine makes the next, against one after the other.

A random Llama samples 20 new tokens a row; a random BERT of about the engine's cost judges them. Sizes are texts.

- `evaluation.overlap.disjoint`: one core for the engine and another for the judge. The limit is the slower of the two
  by itself, in the same round; `value_agrees`: together they take at most 1.1 times as long.
- `evaluation.overlap.shared`: both use all cores. The limit is the processor time of both, as counted while they worked
  together, divided by the number of cores: 1 is reached when no core ever idled or worked for others.

Quick: 96 texts instead of 1,536.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, Timings, interleaved
from bench.models import WORDS, QuietContext, make_tiny_llama
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.evaluation import WeightFormat
from llm_repair.evaluation.engines.transformers import TransformersEngine
from llm_repair.evaluation.judges.classifier import open_classifier
from llm_repair.evaluation.judges.judge import Judge
from llm_repair.evaluation.judging_thread import JudgingThread
from llm_repair.evaluation.kept_samples import KeptSamples
from llm_repair.evaluation.sampling_run import SamplingRun
from llm_repair.evaluation.timing import Stopwatch
from llm_repair.models.inference.generation import Prompt
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.loading import load_language_model

_DRAWS: Final = 4
_ROUNDS: Final = 5
_MOST: Final = 1.1
"""Of the slower of the two."""
_SAMPLING: Final = Sampling(draws=_DRAWS, max_new_tokens=20, top_p=0.9, seed=1)


@dataclass(frozen=True)
class _Pair:
    """An engine and a judge with something to do."""

    engine: TransformersEngine
    judge: Judge
    prompts: Sequence[Prompt]
    store: ArtifactStore
    scratch: Path
    cores: Sequence[int]

    def sampled(self, judges: Sequence[Judge], *, apart: bool) -> list[str]:
        """Returns the texts, judged by these judges meanwhile; `apart`: on a core of their own."""
        watch = Stopwatch()
        with tempfile.TemporaryDirectory(dir=self.scratch) as workdir:
            context = QuietContext(Path(workdir).name, Path(workdir))
            kept = KeptSamples(self.store, context, watch, {})
            threads = 1 if apart else torch.get_num_threads()
            with (
                JudgingThread(judges, watch, threads=threads) as judging,
                SamplingRun(self.engine, judging, kept, context, watch) as run,
            ):
                if apart:
                    judging.work(lambda beat: os.sched_setaffinity(0, {self.cores[1]})).result()
                run.generate("", self.prompts, _SAMPLING)
                return [one.sample.text for one in run.judged("", self.prompts)]

    def judged(self, texts: Sequence[str], *, apart: bool) -> None:
        """Judges texts of an earlier run, batch by batch as they came."""
        with JudgingThread([self.judge], Stopwatch(), threads=1 if apart else torch.get_num_threads()) as judging:
            if apart:
                judging.work(lambda beat: os.sched_setaffinity(0, {self.cores[1]})).result()
            for waiting in [judging.scores(texts[start : start + 64]) for start in range(0, len(texts), 64)]:
                waiting.result()


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of both cases."""
    with tempfile.TemporaryDirectory() as scratch:
        pair = _pair(Path(scratch), texts=96 if quick else 1536)
        if len(pair.cores) < 2:
            yield Line("evaluation.overlap.disjoint", "ours: one core, LEFT OUT", _DRAWS * len(pair.prompts))
        else:
            yield from _disjoint(pair)
        yield from _shared(pair)


def _disjoint(pair: _Pair) -> Iterator[Line]:
    everywhere, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {pair.cores[0]})
    torch.set_num_threads(1)
    try:
        texts = pair.sampled((), apart=True)
        timings = _timed(pair, texts, apart=True)
    finally:
        os.sched_setaffinity(0, everywhere)
        torch.set_num_threads(threads)
    slower = max(("engine alone", "judge alone"), key=timings.median_s)
    agrees = {"ours": timings.ratio("ours", slower) <= _MOST}
    yield from lines_of(timings, "evaluation.overlap.disjoint", len(texts), agrees=agrees, limit=slower)


def _shared(pair: _Pair) -> Iterator[Line]:
    texts = pair.sampled((), apart=False)
    before = _processor_s()
    start = time.perf_counter()
    pair.sampled([pair.judge], apart=False)
    wall_s, cpu_s = time.perf_counter() - start, _processor_s() - before
    size = len(texts)
    timings = _timed(pair, texts, apart=False)
    share = cpu_s / len(pair.cores) / wall_s
    for line in lines_of(timings, "evaluation.overlap.shared", size, limit_s=share * timings.median_s("ours")):
        yield line if line.contender == "ours" else _without_limit(line)


def _without_limit(line: Line) -> Line:
    return Line(line.bench, line.contender, line.size, line.seconds, line.ratio_to_ours)


def _timed(pair: _Pair, texts: Sequence[str], *, apart: bool) -> Timings[None]:
    def ours() -> None:
        pair.sampled([pair.judge], apart=apart)

    def engine() -> None:
        pair.sampled((), apart=apart)

    def both() -> None:
        pair.judged(pair.sampled((), apart=apart), apart=apart)

    contenders: dict[str, Callable[[], None]] = {
        "ours": ours,
        "engine alone": engine,
        "judge alone": lambda: pair.judged(texts, apart=apart),
        "one after the other": both,
    }
    return interleaved(contenders, rounds=_ROUNDS)


def _pair(scratch: Path, texts: int) -> _Pair:
    make_tiny_llama(scratch / "llama")
    model = load_language_model(scratch / "llama", weights=WeightFormat.FLOAT32)
    (scratch / "bert").mkdir()
    _save_bert(scratch / "bert")
    asked = model.tokens.encode([f"{word} and the city of" for word in WORDS])
    prompts = [Prompt(f"p{number:04d}", asked[number % len(asked)].ids) for number in range(texts // _DRAWS)]
    return _Pair(
        TransformersEngine(model),
        open_classifier("bert", f"sha256:{'0' * 64}", scratch / "bert", ("LABEL_1",)),
        prompts,
        ArtifactStore((scratch / "store").as_uri()),
        scratch,
        sorted(os.sched_getaffinity(0)),
    )


def _save_bert(folder: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *(f"w{number}" for number in range(2000))]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(words), hidden_size=192, num_hidden_layers=4, num_attention_heads=4, intermediate_size=768,
        num_labels=2,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=512).save_pretrained(folder)


def _processor_s() -> float:
    used: Any = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    area.main(__doc__, lines)
