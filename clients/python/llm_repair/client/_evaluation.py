"""How models are measured, in readable form: prompts, judges, texts to read, protocol and engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Final, Literal

import yaml
from google.protobuf import json_format

from llm_repair.client._choices import assign, choose
from llm_repair.client._datasets import as_dataset, invalid
from llm_repair.v1 import evaluation_pb2, types_pb2

NumberFormat = Literal["float32", "bfloat16"]
Dataset = str | types_pb2.DatasetRef

_PROTOCOLS: Final = {"strict.v1": "strict", "paper.v1": "paper"}
_LAYOUTS: Final = frozenset(evaluation_pb2.CorpusLayout.keys())
_NO_LAYOUT: Final = "CORPUS_LAYOUT_UNSPECIFIED"


def evaluation(
    *,
    base: evaluation_pb2.Evaluation | None = None,
    prompts: Dataset | None = None,
    judges: Sequence[str | evaluation_pb2.Judge] = (),
    corpora: Mapping[str, Dataset | evaluation_pb2.Corpus] | None = None,
    cloze_sets: Mapping[str, Dataset] | None = None,
    bias_pairs: Mapping[str, Dataset] | None = None,
    prompt_sets: Mapping[str, Dataset] | None = None,
    calibration: Dataset | None = None,
    protocol: str | None = None,
    draws: int | None = None,
    engine: str | None = None,
    dtype: NumberFormat | None = None,
) -> evaluation_pb2.Evaluation:
    """Builds the measurement of a request; whatever is not given keeps the server's default.

    Args:
      base: A measurement to start from; it is copied. Arguments override it.
      prompts: Prompts of the gate; with a column `group`, metrics are also given by group.
      judges: `profanity`, `hatesonar`, `detoxify=REF`, `classifier=REF` or messages; the first one gates.
      corpora: Texts for perplexity, by name; `REF:wikitext` and `REF:running-text` say how rows make documents.
      cloze_sets: Texts whose last word is to be predicted, by name.
      bias_pairs: Pairs of sentences that differ in a stereotype, by name.
      prompt_sets: Further prompts, by name: benign ones, or some that name groups of people.
      calibration: Labelled texts on which every judge is tried.
      protocol: `strict.v1` or `paper.v1`.
      draws: Samples per prompt; the paper protocol has one.
      engine: `transformers` or `vllm`.
      dtype: Number format of generation and scoring.

    Raises:
      InvalidRequest: an unknown name, or arguments that exclude each other. Values are checked by the server.
    """
    made = evaluation_pb2.Evaluation()
    if base is not None:
        made.CopyFrom(base)
    for target, data in ((made.prompts, prompts), (made.calibration, calibration)):
        if data is not None:
            target.CopyFrom(as_dataset(data))
    if judges:
        del made.judges[:]
        made.judges.extend(judge(each) if isinstance(each, str) else each for each in judges)
    _set_texts(made, corpora, cloze_sets, bias_pairs, prompt_sets)
    _set_protocol(made, protocol, draws)
    if engine is not None:
        assign(made.engine, "kind", engine, "evaluation.engine")
    if dtype is not None:
        is_half = is_bfloat16(dtype)
        made.engine.weights = evaluation_pb2.WEIGHT_FORMAT_BFLOAT16 if is_half else evaluation_pb2.WEIGHT_FORMAT_FLOAT32
    return made


def default_evaluation() -> evaluation_pb2.Evaluation:
    """Returns the measurement that `llm-repair evaluate` makes where no data are given.

    Held-out prompts that lead to toxic text, Wikipedia passages and news, judged by profanity and hatesonar. The data
    come from packages, so a package mirror is enough; they are small, and the protocol's id says how it is cut down.
    """
    text = resources.files(__package__ or "").joinpath("default_evaluation.yaml").read_text(encoding="utf-8")
    return json_format.ParseDict(yaml.safe_load(text), evaluation_pb2.Evaluation())


def judge(text: str) -> evaluation_pb2.Judge:
    """Returns a judge from `name` or `name=REF`."""
    name, _, reference = text.partition("=")
    built = evaluation_pb2.Judge()
    chosen = choose(built, "kind", name, "evaluation.judges")
    if reference:
        if not isinstance(
            chosen, (evaluation_pb2.HatesonarJudge, evaluation_pb2.DetoxifyJudge, evaluation_pb2.ClassifierJudge)
        ):
            raise invalid("evaluation.judges", f"{name} takes no reference")
        chosen.model.reference = reference
    return built


def split_layout(text: str) -> tuple[str, str]:
    """Returns the reference and the contract's name of the layout in `REF` or `REF:layout`.

    What does not end in the name of a layout is all reference.
    """
    reference, _, last = text.rpartition(":")
    layout = f"CORPUS_LAYOUT_{last.upper().replace('-', '_')}"
    if not reference or layout not in _LAYOUTS:
        return text, _NO_LAYOUT
    return reference, layout


def is_bfloat16(dtype: str) -> bool:
    """Returns whether a number format is bfloat16 and not float32."""
    if dtype not in ("float32", "bfloat16"):
        raise invalid("dtype", f"must be float32 or bfloat16, is {dtype!r}")
    return dtype == "bfloat16"


def _set_texts(
    target: evaluation_pb2.Evaluation,
    corpora: Mapping[str, Dataset | evaluation_pb2.Corpus] | None,
    cloze_sets: Mapping[str, Dataset] | None,
    bias_pairs: Mapping[str, Dataset] | None,
    prompt_sets: Mapping[str, Dataset] | None,
) -> None:
    """Replaces each kind of data that is given, and leaves the others."""
    if corpora:
        del target.corpora[:]
        target.corpora.extend(_corpus(name, texts) for name, texts in corpora.items())
    if cloze_sets:
        del target.cloze_sets[:]
        target.cloze_sets.extend(
            evaluation_pb2.ClozeSet(name=name, texts=as_dataset(texts)) for name, texts in cloze_sets.items()
        )
    if bias_pairs:
        del target.bias_pairs[:]
        target.bias_pairs.extend(
            evaluation_pb2.BiasPairs(name=name, pairs=as_dataset(pairs)) for name, pairs in bias_pairs.items()
        )
    if prompt_sets:
        del target.prompt_sets[:]
        target.prompt_sets.extend(
            evaluation_pb2.PromptSet(name=name, prompts=as_dataset(prompts)) for name, prompts in prompt_sets.items()
        )


def _corpus(name: str, texts: Dataset | evaluation_pb2.Corpus) -> evaluation_pb2.Corpus:
    if isinstance(texts, evaluation_pb2.Corpus):
        return evaluation_pb2.Corpus(name=name, texts=texts.texts, layout=texts.layout)
    texts, layout = split_layout(texts) if isinstance(texts, str) else (texts, _NO_LAYOUT)
    return evaluation_pb2.Corpus(name=name, texts=as_dataset(texts), layout=layout)


def _set_protocol(target: evaluation_pb2.Evaluation, protocol: str | None, draws: int | None) -> None:
    if protocol is not None:
        if protocol not in _PROTOCOLS:
            raise invalid("evaluation.protocol", f"{protocol!r} is not known; choose one of {', '.join(_PROTOCOLS)}")
        choose(target.protocol, "kind", _PROTOCOLS[protocol], "evaluation.protocol")
    if draws is not None:
        if target.protocol.WhichOneof("kind") == "paper":
            raise invalid("evaluation.protocol", "the paper protocol has one draw")
        target.protocol.strict.draws = draws
