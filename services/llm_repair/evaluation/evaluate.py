# pyright: reportUnknownMemberType=false
# torch's functions are partly untyped.
"""The `evaluate` step: one model measured by a protocol.

Leaves a tree: `generations.jsonl` (a line per prompt and draw, with every judge's score), `prompts.jsonl` (judge
scores of the prompts' own texts), `perplexity/<corpus>.jsonl` (a line per document) and `about.json`. Nothing in
it depends on time or machine, so that a repeat with the transformers engine has the same digest.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from llm_repair.artifacts.datasets import Row, read_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid
from llm_repair.core.execution import Json, StepContext, StepOutput
from llm_repair.core.steps import CorpusArtifact, EvaluateStep
from llm_repair.evaluation.engines.engine import Engine
from llm_repair.evaluation.engines.registry import open_engine
from llm_repair.evaluation.judges.judge import Judge
from llm_repair.evaluation.judges.judging import Judgement, judge_texts
from llm_repair.evaluation.judges.registry import open_judge
from llm_repair.evaluation.probes.corpora import CountedDocument, corpus_documents
from llm_repair.evaluation.protocols.plan import Plan, plan_for
from llm_repair.evaluation.sampling_run import encode_prompts, sample_prompts
from llm_repair.evaluation.timing import Stopwatch
from llm_repair.models.inference.generation import Generation
from llm_repair.models.inference.scoring import DocumentScore


@dataclass(frozen=True)
class _Judged:
    judge: Judge
    generations: Judgement
    prompts: Judgement


@dataclass(frozen=True)
class _ReadCorpus:
    artifact: CorpusArtifact
    documents: Sequence[CountedDocument]
    scores: Sequence[DocumentScore]


def run(step: EvaluateStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Measures a model: samples on prompts, judge scores, log-likelihoods of texts.

    Outputs: `evaluation`, the tree described above.

    Raises:
      EngineUnavailable, EngineParityFailed, JudgeUnavailable, ModelInvalid: before anything is generated.
      DatasetInvalid, PromptTooLong: a prompt or corpus cannot be used; rows are named by id.
    """
    torch.set_num_threads(context.threads)
    watch = Stopwatch()
    plan = plan_for(step.protocol, step.seed)
    rows = read_rows(store, step.prompts_digest)
    context.progress(0, 0, "judges", stage="loading judges")
    with watch.part("judge_start_s"):
        judges = [open_judge(judge, store) for judge in step.judges]
    context.progress(0, 0, "models", stage="loading model")
    with watch.part("engine_start_s"):
        engine = open_engine(step.engine, store, step.model_digest)
    try:
        prompts, cut = encode_prompts(engine, rows, plan.prompt_tokens)
        with watch.part("generation_s"):
            made = sample_prompts(engine, prompts, plan.sampling, context, context.workdir / "generations.draft.jsonl")
        window = min(plan.window_tokens, engine.longest_window_tokens)
        with watch.part("perplexity_s"):
            corpora = [_read_corpus(engine, store, corpus, plan, window, context) for corpus in step.corpora]
    finally:
        engine.close()
    if window < plan.window_tokens:
        context.note("perplexity windows cut to the model's context", window_tokens=window)
    _count_accelerator(watch, context)
    with watch.part("judging_s"):
        judged = [_judge(judge, made, rows, context) for judge in judges]
    about = _about(step, plan, len(rows), judged, cut, window)
    folder = _write(context.workdir / "evaluation", rows, made, judged, corpora, about)
    return StepOutput(
        outputs={"evaluation": store.put_tree(folder)}, summary=_summary(plan, made, judged, corpora, cut, watch)
    )


def _read_corpus(
    engine: Engine, store: ArtifactStore, corpus: CorpusArtifact, plan: Plan, window: int, context: StepContext
) -> _ReadCorpus:
    rows = read_rows(store, corpus.digest)
    stride = min(plan.stride_tokens, window)
    fitting = dataclasses.replace(plan, window_tokens=window, stride_tokens=stride)
    documents = corpus_documents(rows, corpus.layout, engine.tokens, fitting)
    total = sum(max(len(counted.document.ids) - counted.document.given, 0) for counted in documents)
    if not total:
        raise DatasetInvalid(f"the corpus {corpus.name} has no token to predict", corpus=corpus.name)

    def beat(done: int) -> None:
        context.raise_if_cancelled()
        context.progress(done, total, "tokens", stage=f"reading {corpus.name}")

    asked = [counted.document for counted in documents]
    scores = list(engine.score(asked, window, stride_tokens=stride, beat=beat))
    context.count(tokens=total)
    return _ReadCorpus(corpus, sorted(documents, key=lambda counted: counted.document.id), scores)


def _judge(judge: Judge, made: Sequence[Generation], rows: Sequence[Row], context: StepContext) -> _Judged:
    def beat(done: int) -> None:
        context.raise_if_cancelled()
        context.progress(done, len(made), "texts", stage=f"judging by {judge.name}")

    generations = judge_texts(judge, [row.text for row in made], beat=beat)
    return _Judged(judge, generations, judge_texts(judge, [row.prompt for row in rows], beat=beat))


def _count_accelerator(watch: Stopwatch, context: StepContext) -> None:
    if torch.cuda.is_available():
        parts = ("engine_start_s", "generation_s", "perplexity_s")
        context.count(accelerator_s=sum(watch.seconds(part) for part in parts))


def _about(
    step: EvaluateStep, plan: Plan, prompts: int, judged: Sequence[_Judged], cut: int, window: int
) -> dict[str, Json]:
    return {
        "protocol": plan.protocol_id,
        "prompts_digest": step.prompts_digest,
        "prompts": prompts,
        "prompts_cut": cut,
        "draws": plan.sampling.draws,
        "max_new_tokens": plan.sampling.max_new_tokens,
        "window_tokens": window,
        "seed": step.seed,
        "engine": {"kind": step.engine.kind.name, "weights": step.engine.weights.name},
        "judges": [
            {"name": one.judge.name, "digest": one.judge.digest, "labels": list(one.judge.labels)} for one in judged
        ],
        "corpora": {corpus.name: corpus.digest for corpus in step.corpora},
    }


def _write(
    folder: Path,
    rows: Sequence[Row],
    made: Sequence[Generation],
    judged: Sequence[_Judged],
    corpora: Sequence[_ReadCorpus],
    about: Mapping[str, Json],
) -> Path:
    (folder / "perplexity").mkdir(parents=True)
    _write_lines(folder / "generations.jsonl", _generation_lines(made, judged))
    _write_lines(
        folder / "prompts.jsonl",
        (
            {"prompt_id": row.id, "scores": {one.judge.name: one.prompts.scores[index] for one in judged}}
            for index, row in enumerate(rows)
        ),
    )
    for corpus in corpora:
        _write_lines(folder / "perplexity" / f"{corpus.artifact.name}.jsonl", _document_lines(corpus))
    (folder / "about.json").write_text(_line(about), encoding="utf-8")
    return folder


def _generation_lines(made: Sequence[Generation], judged: Sequence[_Judged]) -> Iterable[Mapping[str, Json]]:
    for index, row in enumerate(made):
        yield {
            "prompt_id": row.prompt_id,
            "draw": row.draw,
            "text": row.text,
            "tokens": row.tokens,
            "scores": {one.judge.name: one.generations.scores[index] for one in judged},
        }


def _document_lines(corpus: _ReadCorpus) -> Iterable[Mapping[str, Json]]:
    for counted, score in zip(corpus.documents, corpus.scores, strict=True):
        yield {
            "document_id": score.document_id,
            # A likelihood that is not a number is missing, and JSON has no NaN.
            "nll": score.nll if math.isfinite(score.nll) else None,
            "tokens": score.tokens,
            "words": counted.words,
            "bytes": counted.bytes,
        }


def _write_lines(path: Path, lines: Iterable[Mapping[str, Json]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(_line(line) for line in lines)


def _line(fields: Mapping[str, Json]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def _summary(
    plan: Plan,
    made: Sequence[Generation],
    judged: Sequence[_Judged],
    corpora: Sequence[_ReadCorpus],
    cut: int,
    watch: Stopwatch,
) -> dict[str, Json]:
    return {
        "protocol": plan.protocol_id,
        "mean_toxicity": {one.judge.name: one.generations.mean for one in judged},
        "missing_scores": {one.judge.name: one.generations.missing + one.prompts.missing for one in judged},
        "generations": len(made),
        "empty_generations": sum(not row.text.strip() for row in made),
        "generated_tokens": sum(row.tokens for row in made),
        "prompts_cut": cut,
        "perplexity": {corpus.artifact.name: _perplexity(corpus.scores) for corpus in corpora},
        "predicted_tokens": {corpus.artifact.name: sum(s.tokens for s in corpus.scores) for corpus in corpora},
        "seconds": watch.to_json(),
    }


def _perplexity(scores: Sequence[DocumentScore]) -> float | None:
    mean = math.fsum(score.nll for score in scores) / sum(score.tokens for score in scores)
    return math.exp(mean) if mean < math.log(1e300) else None
