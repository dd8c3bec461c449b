"""The request in readable form: keyword arguments for the common case, messages for everything else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from llm_repair.client._choices import choose
from llm_repair.client._errors import FieldViolation, InvalidRequest
from llm_repair.client._method import repair_method
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import evaluation_pb2, selection_pb2, trainer_pb2, types_pb2

NumberFormat = Literal["float32", "bfloat16"]
# A revision in `hf:org/name@revision` cannot hold a colon, so the two uses of `@` never meet.
_SLICE: Final = re.compile(r"(?P<reference>.+)@(?P<slice>[0-9.]*:[0-9.]*)")


def repair_spec(
    *,
    base: pb.RepairSpec | None = None,
    model: str | None = None,
    pool: str | types_pb2.DatasetRef | None = None,
    prompts: str | types_pb2.DatasetRef | None = None,
    strategy: str | selection_pb2.SelectionStrategy | None = None,
    fraction: float | None = None,
    samples: int | None = None,
    tokens: int | None = None,
    method: str | trainer_pb2.RepairMethod | None = None,
    lora: bool = False,
    top_layers: int | None = None,
    learning_rate: float | None = None,
    epochs: int | None = None,
    eval_prompts: str | types_pb2.DatasetRef | None = None,
    judges: Sequence[str | evaluation_pb2.Judge] = (),
    corpora: Mapping[str, str | types_pb2.DatasetRef] | None = None,
    draws: int | None = None,
    dtype: NumberFormat | None = None,
    encoder: str | None = None,
    proxy: str | None = None,
    utility: str | types_pb2.DatasetRef | None = None,
    gate: pb.GatePolicy | None = None,
    random_control: bool | None = None,
    seed: int | None = None,
) -> pb.RepairSpec:
    """Builds a request; whatever is not given keeps the server's default.

    References are as in `ModelRef`; a data set's may end in `@start:end`, the share of rows meant, by hash.

    Args:
      base: A request to start from, such as a loaded file; it is copied. Arguments override it.
      model: The model to repair.
      pool: Rows that the team brings; excludes `prompts`.
      prompts: Prompts from which the model's own samples make the pool.
      strategy: Name of a selection strategy, or what `selection_strategy` builds. Default `saps`.
      fraction: Share of the pool, (0, 1]; excludes `samples` and `tokens`. Default 0.25.
      samples: Number of samples.
      tokens: Number of tokens.
      method: Name of a repair method, or what `repair_method` builds. Default `dpo`.
      lora: Trains low-rank adapters, merged at the end; excludes `top_layers`.
      top_layers: Trains only so many of the last layers; 0 for everything.
      learning_rate: Peak rate, (0, 1].
      epochs: Passes over the selected samples.
      eval_prompts: Prompts on which both models are measured; none of them should be in the pool.
      judges: `profanity`, `hatesonar`, `detoxify=REF`, `classifier=REF` or messages; the first one gates.
      corpora: Texts for perplexity, by name.
      draws: Samples per evaluation prompt.
      dtype: Number format of training, generation and scoring.
      encoder: A sentence-transformers folder.
      proxy: The model that scores samples, in the place of the model itself.
      utility: Texts on which a KL term is taken, in the place of the model's own samples.
      gate: When the repair is good.
      random_control: Also repairs with RANDOM at the same budget.
      seed: Of every random choice.

    Raises:
      InvalidRequest: an unknown name, or arguments that exclude each other. Values are checked by the server.
    """
    spec = pb.RepairSpec()
    if base is not None:
        spec.CopyFrom(base)
    for target, reference in ((spec.model, model), (spec.encoder, encoder), (spec.proxy, proxy)):
        if reference is not None:
            target.reference = reference
            target.SetInParent()
    _set_pool(spec, pool, prompts)
    _set_selection(spec, strategy)
    _set_budget(spec, fraction, samples, tokens)
    _set_method(spec, method, lora=lora, top_layers=top_layers)
    _set_training(spec.method, learning_rate, epochs, dtype)
    _set_evaluation(spec.evaluation, eval_prompts, judges, corpora)
    _set_measurement(spec.evaluation, draws, dtype)
    if utility is not None:
        spec.utility.CopyFrom(_dataset(utility))
    if gate is not None:
        spec.gate.CopyFrom(gate)
    if random_control is not None:
        spec.random_control = random_control
    if seed is not None:
        spec.seed = seed
    return spec


def selection_spec(
    *,
    base: pb.RepairSpec | None = None,
    model: str | None = None,
    pool: str | types_pb2.DatasetRef | None = None,
    prompts: str | types_pb2.DatasetRef | None = None,
    strategy: str | selection_pb2.SelectionStrategy | None = None,
    fraction: float | None = None,
    samples: int | None = None,
    tokens: int | None = None,
    method: str | trainer_pb2.RepairMethod | None = None,
    lora: bool = False,
    top_layers: int | None = None,
    judges: Sequence[str | evaluation_pb2.Judge] = (),
    dtype: NumberFormat | None = None,
    encoder: str | None = None,
    proxy: str | None = None,
    seed: int | None = None,
) -> pb.RepairSpec:
    """Builds a request that ends with its selection; a repair with the same arguments goes on from there.

    Arguments are those of `repair_spec`. Model, encoder and judges matter where strategy or pool go by them; the
    method where the strategy goes by its gradient or by a training run. A `base` may be a whole repair.

    Raises:
      InvalidRequest: as `repair_spec`.
    """
    spec = repair_spec(
        base=base,
        model=model,
        pool=pool,
        prompts=prompts,
        strategy=strategy,
        fraction=fraction,
        samples=samples,
        tokens=tokens,
        method=method,
        lora=lora,
        top_layers=top_layers,
        judges=judges,
        dtype=dtype,
        encoder=encoder,
        proxy=proxy,
        seed=seed,
    )
    spec.goal = pb.REPAIR_GOAL_SELECTION
    return spec


def dataset(reference: str) -> types_pb2.DatasetRef:
    """Returns a data set from `REF` or `REF@start:end`, where an empty start is 0 and an empty end is 1."""
    found = _SLICE.fullmatch(reference)
    if found is None:
        return types_pb2.DatasetRef(reference=reference)
    start, end = parse_slice(found["slice"])
    part = types_pb2.HashSlice(start=start, end=end)
    return types_pb2.DatasetRef(reference=found["reference"], slice=part)


def parse_slice(text: str) -> tuple[float, float]:
    """Returns start and end of `start:end`."""
    start, colon, end = text.partition(":")
    try:
        if colon:
            return float(start or 0), float(end or 1)
    except ValueError:
        pass
    raise _invalid("slice", f"must look like 0:0.73, is {text!r}")


def judge(text: str) -> evaluation_pb2.Judge:
    """Returns a judge from `name` or `name=REF`."""
    name, _, reference = text.partition("=")
    built = evaluation_pb2.Judge()
    chosen = choose(built, "kind", name, "evaluation.judges")
    if reference:
        if not isinstance(
            chosen, (evaluation_pb2.HatesonarJudge, evaluation_pb2.DetoxifyJudge, evaluation_pb2.ClassifierJudge)
        ):
            raise _invalid("evaluation.judges", f"{name} takes no reference")
        chosen.model.reference = reference
    return built


def _set_pool(
    spec: pb.RepairSpec, pool: str | types_pb2.DatasetRef | None, prompts: str | types_pb2.DatasetRef | None
) -> None:
    if pool is not None and prompts is not None:
        raise _invalid("pool", "give rows or prompts, not both")
    if pool is not None:
        spec.pool_rows.rows.CopyFrom(_dataset(pool))
    if prompts is not None:
        spec.self_generated_pool.prompts.CopyFrom(_dataset(prompts))


def _set_selection(spec: pb.RepairSpec, strategy: str | selection_pb2.SelectionStrategy | None) -> None:
    if isinstance(strategy, selection_pb2.SelectionStrategy):
        spec.strategy.CopyFrom(strategy)
    elif strategy is not None or spec.WhichOneof("selection") is None:
        choose(spec.strategy, "kind", strategy or "saps", "strategy")


def _set_budget(spec: pb.RepairSpec, fraction: float | None, samples: int | None, tokens: int | None) -> None:
    if sum(limit is not None for limit in (fraction, samples, tokens)) > 1:
        raise _invalid("budget", "give one of fraction, samples and tokens")
    if samples is not None:
        spec.budget.samples.samples = samples
        spec.budget.samples.SetInParent()
    elif tokens is not None:
        spec.budget.tokens.tokens = tokens
        spec.budget.tokens.SetInParent()
    elif fraction is not None or spec.budget.WhichOneof("limit") is None:
        everything = spec.WhichOneof("selection") == "strategy" and spec.strategy.WhichOneof("kind") == "full"
        spec.budget.fraction.fraction = fraction if fraction is not None else (1.0 if everything else 0.25)
        spec.budget.fraction.SetInParent()


def _set_method(
    spec: pb.RepairSpec, method: str | trainer_pb2.RepairMethod | None, *, lora: bool, top_layers: int | None
) -> None:
    name, base = (method, spec.method) if isinstance(method, str) or method is None else (None, method)
    spec.method.CopyFrom(repair_method(name, lora=lora, top_layers=top_layers, base=base))


def _set_training(
    target: trainer_pb2.RepairMethod, learning_rate: float | None, epochs: int | None, dtype: NumberFormat | None
) -> None:
    if learning_rate is not None:
        target.learning_rate = learning_rate
    if epochs is not None:
        target.epochs = epochs
    if dtype is not None:
        is_half = _is_bfloat16(dtype)
        target.precision = trainer_pb2.PRECISION_BFLOAT16 if is_half else trainer_pb2.PRECISION_FLOAT32


def _set_evaluation(
    target: evaluation_pb2.Evaluation,
    prompts: str | types_pb2.DatasetRef | None,
    judges: Sequence[str | evaluation_pb2.Judge],
    corpora: Mapping[str, str | types_pb2.DatasetRef] | None,
) -> None:
    if prompts is not None:
        target.prompts.CopyFrom(_dataset(prompts))
    if judges:
        del target.judges[:]
        target.judges.extend(judge(each) if isinstance(each, str) else each for each in judges)
    if corpora:
        del target.corpora[:]
        for name, texts in corpora.items():
            target.corpora.add(name=name, texts=_dataset(texts))


def _set_measurement(target: evaluation_pb2.Evaluation, draws: int | None, dtype: NumberFormat | None) -> None:
    if draws is not None:
        if target.protocol.WhichOneof("kind") == "paper":
            raise _invalid("evaluation.protocol", "the paper protocol has one draw")
        target.protocol.strict.draws = draws
    if dtype is not None:
        is_half = _is_bfloat16(dtype)
        target.engine.weights = (
            evaluation_pb2.WEIGHT_FORMAT_BFLOAT16 if is_half else evaluation_pb2.WEIGHT_FORMAT_FLOAT32
        )


def _is_bfloat16(dtype: str) -> bool:
    if dtype not in ("float32", "bfloat16"):
        raise _invalid("dtype", f"must be float32 or bfloat16, is {dtype!r}")
    return dtype == "bfloat16"


def _dataset(value: str | types_pb2.DatasetRef) -> types_pb2.DatasetRef:
    return dataset(value) if isinstance(value, str) else value


def _invalid(field: str, description: str) -> InvalidRequest:
    return InvalidRequest([FieldViolation(field, description)])
