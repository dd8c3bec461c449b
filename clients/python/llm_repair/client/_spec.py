"""The request in readable form: keyword arguments for the common case, messages for everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llm_repair.client._choices import choose
from llm_repair.client._datasets import as_dataset, invalid
from llm_repair.client._evaluation import NumberFormat, default_evaluation, evaluation, is_bfloat16
from llm_repair.client._method import repair_method
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import evaluation_pb2, selection_pb2, trainer_pb2, types_pb2


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
    corpora: Mapping[str, str | types_pb2.DatasetRef | evaluation_pb2.Corpus] | None = None,
    draws: int | None = None,
    dtype: NumberFormat | None = None,
    measured_by: evaluation_pb2.Evaluation | None = None,
    encoder: str | None = None,
    proxy: str | None = None,
    utility: str | types_pb2.DatasetRef | None = None,
    gate: pb.GatePolicy | None = None,
    random_control: bool | None = None,
    full_control: bool | None = None,
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
      measured_by: The whole measurement, as `evaluation` builds it; the arguments before override it.
      encoder: A sentence-transformers folder; near duplicates of prompts are looked for by it too.
      proxy: The model that scores samples, in the place of the model itself.
      utility: Texts on which a KL term is taken, in the place of the model's own samples.
      gate: When the repair is good.
      random_control: Also repairs with RANDOM at the same budget.
      full_control: Also repairs with the whole pool, to which reconstructed scores refer.
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
    _set_evaluation(
        spec,
        evaluation(
            base=measured_by or spec.evaluation,
            prompts=eval_prompts,
            judges=judges,
            corpora=corpora,
            draws=draws,
            dtype=dtype,
        ),
    )
    if utility is not None:
        spec.utility.CopyFrom(as_dataset(utility))
    if gate is not None:
        spec.gate.CopyFrom(gate)
    if random_control is not None:
        spec.random_control = random_control
    if full_control is not None:
        spec.full_control = full_control
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


def evaluation_spec(
    *,
    base: pb.RepairSpec | None = None,
    model: str | None = None,
    baseline: str | None = None,
    measured_by: evaluation_pb2.Evaluation | None = None,
    gate: pb.GatePolicy | None = None,
    seed: int | None = None,
) -> pb.RepairSpec:
    """Builds a request that measures a model and trains nothing.

    Args:
      base: A request to start from, which may be a whole repair; what it would train by is left out.
      model: The model that is measured.
      baseline: The model it is compared with, prompt by prompt; without one it is measured alone.
      measured_by: How, as `evaluation` builds it; `default_evaluation()` if not given and not in `base`.
      gate: When the model is good; one model alone has no changes, so only absolute bounds.
      seed: Of every random choice.
    """
    spec = pb.RepairSpec()
    if base is not None:
        for name in ("model", "baseline", "evaluation", "gate"):
            if base.HasField(name):
                getattr(spec, name).CopyFrom(getattr(base, name))
        spec.seed = base.seed
    for target, reference in ((spec.model, model), (spec.baseline, baseline)):
        if reference is not None:
            target.reference = reference
            target.SetInParent()
    if measured_by is not None or not spec.HasField("evaluation"):
        spec.evaluation.CopyFrom(measured_by or default_evaluation())
    if gate is not None:
        spec.gate.CopyFrom(gate)
    if seed is not None:
        spec.seed = seed
    spec.goal = pb.REPAIR_GOAL_EVALUATION
    return spec


def _set_evaluation(spec: pb.RepairSpec, measured_by: evaluation_pb2.Evaluation) -> None:
    """Sets the measurement; one that says nothing is left unset, so that a selection does not seem to have one."""
    if measured_by.ByteSize():
        spec.evaluation.CopyFrom(measured_by)


def _set_pool(
    spec: pb.RepairSpec, pool: str | types_pb2.DatasetRef | None, prompts: str | types_pb2.DatasetRef | None
) -> None:
    if pool is not None and prompts is not None:
        raise invalid("pool", "give rows or prompts, not both")
    if pool is not None:
        spec.pool_rows.rows.CopyFrom(as_dataset(pool))
    if prompts is not None:
        spec.self_generated_pool.prompts.CopyFrom(as_dataset(prompts))


def _set_selection(spec: pb.RepairSpec, strategy: str | selection_pb2.SelectionStrategy | None) -> None:
    if isinstance(strategy, selection_pb2.SelectionStrategy):
        spec.strategy.CopyFrom(strategy)
    elif strategy is not None or spec.WhichOneof("selection") is None:
        choose(spec.strategy, "kind", strategy or "saps", "strategy")


def _set_budget(spec: pb.RepairSpec, fraction: float | None, samples: int | None, tokens: int | None) -> None:
    if sum(limit is not None for limit in (fraction, samples, tokens)) > 1:
        raise invalid("budget", "give one of fraction, samples and tokens")
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
        is_half = is_bfloat16(dtype)
        target.precision = trainer_pb2.PRECISION_BFLOAT16 if is_half else trainer_pb2.PRECISION_FLOAT32
