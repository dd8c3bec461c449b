# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""Samples a model and has judges score the samples meanwhile, with progress, cancellation and a bill.

Whatever ends a run early, the next attempt at its step goes on from the whole batches that were made.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import rfc8785
import torch

from llm_repair.artifacts.datasets import Row
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.evaluation import Engine as EngineChoice
from llm_repair.core.execution import Json, StepContext
from llm_repair.evaluation.engines.engine import Engine
from llm_repair.evaluation.engines.registry import open_engine
from llm_repair.evaluation.judges.judge import Judge
from llm_repair.evaluation.judges.judging import refuse_silence
from llm_repair.evaluation.judging_thread import JudgingThread, TextScores
from llm_repair.evaluation.kept_samples import JudgedSample, KeptSamples
from llm_repair.evaluation.timing import Stopwatch
from llm_repair.models.inference.generation import BATCH_ROWS, Generation, Prompt, check_prompts
from llm_repair.models.inference.sampling import Sampling

_AHEAD: Final = 4
"""Batches that the engine may be ahead of the judges: more would only wait in memory."""
_LOOK_S: Final = 0.5
"""Between two looks at cancellation while judges are waited for."""
_ENGINE_PARTS: Final = ("engine_start_s", "generation_s", "probes_s")
"""What of the time is the engine's."""


@dataclass(frozen=True)
class Sampled:
    """A model to be sampled from, and how."""

    model_digest: str
    engine: EngineChoice
    sampling: Sampling


def own_samples(
    model: Sampled,
    rows: Sequence[Row],
    judges: Sequence[Judge],
    store: ArtifactStore,
    context: StepContext,
    watch: Stopwatch,
    *,
    named: Callable[[Row], str] = lambda row: row.id,
) -> list[JudgedSample]:
    """Starts an engine, samples the model on the rows' prompts, lets judges score the samples, and bills it all.

    Args:
      model: What to sample.
      rows: With whole prompts; none is cut.
      judges: Who scores; nobody if empty.
      store: Where the model is.
      context: Of the step.
      watch: Gets `engine_start_s`, and what `SamplingRun` gives it.
      named: The distinct name of a row's prompt; its noise and the place of its samples depend on it.

    Returns:
      The samples by prompt and draw.

    Raises:
      EngineUnavailable, EngineParityFailed, ModelInvalid: before anything is generated.
      DatasetInvalid, PromptTooLong: a prompt cannot be used; rows are named by id, whatever their prompts are named.
      EngineUnavailable: the engine breaks down while it generates.
      JudgeUnavailable: a judge breaks down, or gave no sample a score.
    """
    with started_engine(model.engine, model.model_digest, store, context, watch) as engine:
        prompts, _ = encode_prompts(engine, rows, None)
        check_prompts(prompts, model.sampling.max_new_tokens, engine.context_tokens)
        asked = [dataclasses.replace(prompt, id=named(row)) for row, prompt in zip(rows, prompts, strict=True)]
        return sampled(engine, asked, model.sampling, judges, store, context, watch)


@contextlib.contextmanager
def started_engine(
    choice: EngineChoice, model_digest: str, store: ArtifactStore, context: StepContext, watch: Stopwatch
) -> Generator[Engine]:
    """Yields an engine with the model; in the end the accelerator's time goes on the bill.

    Raises:
      EngineUnavailable, EngineParityFailed, ModelInvalid: it does not start.
    """
    context.progress(0, 0, "models", stage="loading model")
    with watch.part("engine_start_s"):
        engine = open_engine(choice, store, model_digest, context)
    try:
        yield engine
    finally:
        engine.close()
        if torch.cuda.is_available():
            context.count(accelerator_s=sum(watch.seconds(part) for part in _ENGINE_PARTS))


def sampled(
    engine: Engine,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    judges: Sequence[Judge],
    store: ArtifactStore,
    context: StepContext,
    watch: Stopwatch,
) -> list[JudgedSample]:
    """Returns all samples, by prompt id and draw, as one run that is all of its step; see `own_samples`."""
    identity = run_identity(sampling_digest({"": prompts}, sampling), judges)
    kept = KeptSamples(store, context, watch, identity)
    with (
        JudgingThread(judges, watch, threads=context.threads) as judging,
        SamplingRun(engine, judging, kept, context, watch) as run,
    ):
        run.generate("", prompts, sampling)
        made = run.judged("", prompts)
    for index, judge in enumerate(judges):
        refuse_silence(judge.name, [one.judged.scores[index] for one in made])
    return made


def encode_prompts(engine: Engine, rows: Sequence[Row], prompt_tokens: int | None) -> tuple[list[Prompt], int]:
    """Returns the prompts as token ids, and how many of them were cut to `prompt_tokens`.

    Raises:
      DatasetInvalid: there are none, or some have no text; named by id.
    """
    if not rows:
        raise DatasetInvalid("there are no prompts")
    if empty := [row.id for row in rows if not row.prompt]:
        raise DatasetInvalid(f"{len(empty)} rows have no prompt, such as {', '.join(empty[:10])}", rows=len(empty))
    encoded = engine.tokens.encode([row.prompt for row in rows], max_tokens=prompt_tokens)
    prompts = [Prompt(row.id, text.ids) for row, text in zip(rows, encoded, strict=True)]
    return prompts, sum(text.truncated_tokens > 0 for text in encoded)


def sampling_digest(runs: Mapping[str, Sequence[Prompt]], sampling: Sampling) -> str:
    """Returns the digest of what decides samples beside the model: two models of one digest saw the same noise.

    sha256 of the canonical JSON (RFC 8785) of {prompts: {run: {prompt id: [token ids]}}, sampling}.
    """
    prompts: Json = {name: {prompt.id: list(prompt.ids) for prompt in asked} for name, asked in runs.items()}
    document: Json = {"prompts": prompts, "sampling": dataclasses.asdict(sampling)}
    return "sha256:" + hashlib.sha256(rfc8785.dumps(document)).hexdigest()  # pyright: ignore[reportArgumentType]


def run_identity(digest: str, judges: Sequence[Judge]) -> dict[str, Json]:
    """Returns what samples that are kept must have been made for: sampling digest, judges and size of batches."""
    return {"sampling": digest, "judges": [[judge.name, judge.digest] for judge in judges], "rows": BATCH_ROWS}


@dataclass(frozen=True)
class _HandedOver:
    """A batch that waits for the judges, or has been judged."""

    name: str
    batch: Sequence[Generation]
    scores: Future[list[TextScores]]


class SamplingRun:
    """Samples sets of prompts and has the samples judged, a few batches behind the engine.

    Left by an error, it keeps what was made for the next attempt at the step.
    """

    def __init__(
        self, engine: Engine, judging: JudgingThread, kept: KeptSamples, context: StepContext, watch: Stopwatch
    ) -> None:
        """Gives `watch` the seconds `generation_s`, in which the engine works, and `judges_awaited_s`."""
        self._engine = engine
        self._judging = judging
        self._kept = kept
        self._context = context
        self._watch = watch
        self._line: deque[_HandedOver] = deque()
        self._handed_over = 0
        judging.remember(kept.by_text())

    def __enter__(self) -> SamplingRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._kept.save_before_leaving()

    def generate(self, name: str, prompts: Sequence[Prompt], sampling: Sampling, *, whole: int | None = None) -> None:
        """Makes all samples of these prompts that are not kept, and hands them over to the judges.

        Args:
          name: Of the set that the prompts belong to.
          prompts: With distinct ids, in any order; they may be a part of the set.
          sampling: How.
          whole: Number of prompts of the whole set, for the progress; that of these if None.

        Raises:
          DatasetInvalid, PromptTooLong: before anything is generated; by the prompts' ids.
          EngineUnavailable, JudgeUnavailable: the engine or a judge breaks down.
          StepCancelled: within a token and a batch of judging.
        """
        check_prompts(prompts, sampling.max_new_tokens, self._engine.context_tokens)
        for batch in self._kept.unjudged(name) if not self._waits(name) else ():
            self._hand_over(name, batch)
        left = self._left(name, prompts, sampling.draws)
        made = len(self._kept.places(name))
        total = (whole or len(prompts)) * sampling.draws
        stage = f"generating {name}" if name else "generating"
        self._context.progress(made, total, "continuations", stage=stage)
        with contextlib.closing(self._engine.generate(left, sampling, beat=self._beat)) as batches:
            while batch := self._next(batches):
                self._kept.add(name, batch)
                self._hand_over(name, batch)
                made += len(batch)
                self._context.count(tokens=sum(sample.tokens for sample in batch))
                self._context.progress(made, total, "continuations", stage=stage)
                self._settle(_AHEAD)

    def judged(self, name: str, prompts: Iterable[Prompt]) -> list[JudgedSample]:
        """Waits for the judges, and returns all samples of these prompts by prompt id and draw.

        Raises:
          JudgeUnavailable: a judge breaks down.
          StepCancelled: at once.
        """
        while self._line:
            waiting = sum(len(one.batch) for one in self._line)
            self._context.progress(self._handed_over - waiting, self._handed_over, "samples", stage="judging")
            self._settle(len(self._line) - 1)
        asked = {prompt.id for prompt in prompts}
        by_place = {(one.sample.prompt_id, one.sample.draw): one for one in self._kept.judged(name)}
        return [by_place[place] for place in sorted(by_place) if place[0] in asked]

    def _left(self, name: str, prompts: Sequence[Prompt], draws: int) -> list[Prompt]:
        """Returns the prompts that lack a sample; they are sampled anew as a whole."""
        found = Counter(prompt_id for prompt_id, _ in self._kept.places(name))
        return [prompt for prompt in prompts if found[prompt.id] < draws]

    def _next(self, batches: Iterator[list[Generation]]) -> list[Generation] | None:
        with self._watch.part("generation_s"):
            return next(batches, None)

    def _beat(self) -> None:
        self._context.raise_if_cancelled()
        self._judging.raise_if_failed()

    def _hand_over(self, name: str, batch: Sequence[Generation]) -> None:
        self._handed_over += len(batch)
        self._line.append(_HandedOver(name, batch, self._judging.scores([sample.text for sample in batch])))

    def _waits(self, name: str) -> bool:
        return any(one.name == name for one in self._line)

    def _settle(self, most: int) -> None:
        """Keeps what the judges say of the oldest batches, and waits until at most so many are not judged."""
        while self._line and (len(self._line) > most or self._line[0].scores.done()):
            oldest = self._line[0]
            if not oldest.scores.done():
                self._wait_for(oldest.scores)
            judged = zip(oldest.batch, oldest.scores.result(), strict=True)
            self._line.popleft()
            self._kept.add_judged(oldest.name, [JudgedSample(*pair) for pair in judged])

    def _wait_for(self, scores: Future[list[TextScores]]) -> None:
        with self._watch.part("judges_awaited_s"):
            while not concurrent.futures.wait([scores], timeout=_LOOK_S).done:
                self._beat()
