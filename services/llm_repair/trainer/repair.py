"""The repair step: trains the model on the selected samples and leaves a standard model folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from llm_repair.artifacts.datasets import Row, read_rows
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, PoolTooSmall, StepCancelled
from llm_repair.core.execution import Artifact, Json, StepContext, StepOutput
from llm_repair.core.repair import RepairMethod
from llm_repair.core.steps import RepairStep, step_key
from llm_repair.models.adapters import TrainableModel, make_trainable
from llm_repair.models.batches import NAMED_IDS, Encoding, PairText, TokenisedSample, hold_out, tokenise
from llm_repair.models.checkpoints import Checkpoints
from llm_repair.models.loading import context_tokens, load_causal_lm, load_tokenizer
from llm_repair.models.objectives import Objective
from llm_repair.models.tokenisation import tokenisation
from llm_repair.models.training import TrainingResult, TrainingRun
from llm_repair.trainer.methods import objective_of
from llm_repair.trainer.weights import WeightChange, save_folder, stored_dtype, weight_change, weights_digest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

# pyright: reportUnknownMemberType=false
# transformers annotates its models and tokenizers in part only.


def run(step: RepairStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Trains on the selected samples; outputs `model`, `curve` and, with LoRA, `adapter`.

    Raises:
      NotCarriedOut: the method is not built.
      DatasetInvalid: a selected sample is unknown, lacks a rejected continuation the method needs, or has no token.
      PoolTooSmall: nothing was selected.
      PromptTooLong: a prompt leaves no room for a continuation.
      LossNotFinite: training diverged; nothing is published.
      AdapterNotApplied: the repaired weights equal the base.
      StepCancelled: the best model so far is left as a partial.
    """
    torch.set_num_threads(context.threads)
    objective = objective_of(step.method.objective)
    texts = selected_texts(read_rows(store, step.pool_digest), _selected_ids(store, step), objective)
    context.progress(0, 0, "models", stage="loading model")
    base = store.materialize(step.model_digest)
    model = load_causal_lm(base, device=_device())
    samples = _tokenise(texts, load_tokenizer(base), model, step.method)
    target = make_trainable(model, step.method.trainable, seed=step.seed)
    trained = sum(parameter.numel() for parameter in target.parameters.values())
    held_out = hold_out([sample.id for sample in samples], share=step.method.validation_share)
    training = TrainingRun(
        target,
        [sample for sample in samples if sample.id not in held_out],
        [sample for sample in samples if sample.id in held_out],
        objective=objective,
        method=step.method,
        seed=step.seed,
        context=context,
        checkpoints=Checkpoints(store, context, base_digest=step.model_digest, config_digest=step_key(step)),
    )
    try:
        result = training.run()
    except StepCancelled:
        _leave_partial(training, target, base, store, context)
        raise
    outputs, change = _save(target, result, base, store, context)
    summary = _account(result, samples, held_out, trained_parameters=trained, change=change)
    digest = weights_digest(store.entries(outputs["model"].digest))
    return StepOutput(outputs, {**summary, "weights_digest": digest})


def selected_texts(rows: Sequence[Row], ids: Sequence[str], objective: Objective) -> list[PairText]:
    """Returns the selected samples with the continuations the objective compares, sorted by id.

    Raises:
      DatasetInvalid: ids that the pool does not have, or rows without a text the objective needs.
      PoolTooSmall: no ids.
    """
    if not ids:
        raise PoolTooSmall("no sample was selected")
    by_id = {row.id: row for row in rows}
    _refuse([name for name in ids if name not in by_id], "are not in the pool")
    chosen = [by_id[name] for name in sorted(set(ids))]
    _refuse([row.id for row in chosen if not row.chosen], "have no chosen continuation")
    if objective.continuations == 1:
        return [PairText(row.id, row.prompt, (row.chosen,)) for row in chosen]
    _refuse([row.id for row in chosen if not row.rejected], "have no rejected continuation, which the method needs")
    return [PairText(row.id, row.prompt, (row.chosen, row.rejected)) for row in chosen]


def _refuse(ids: Sequence[str], why: str) -> None:
    if ids:
        named = ", ".join(ids[:NAMED_IDS])
        raise DatasetInvalid(
            f"{len(ids)} selected samples {why}; the first are {named}", count=len(ids), ids=",".join(ids[:NAMED_IDS])
        )


def _selected_ids(store: ArtifactStore, step: RepairStep) -> list[str]:
    return list(json.loads(store.get_bytes(step.selection_digest))["ids"])


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _tokenise(
    texts: Sequence[PairText], tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, method: RepairMethod
) -> list[TokenisedSample]:
    words = tokenisation(tokenizer, ())
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    encoding = Encoding(
        encode=lambda text: tokenizer.encode(text, add_special_tokens=False, verbose=False),
        prefix=words.prefix,
        start_token=eos if bos is None else bos,
        end_text=tokenizer.eos_token or "",
        end_token=eos,
    )
    return tokenise(texts, encoding, max_tokens=min(method.max_tokens, context_tokens(model.config)))


def _save(
    target: TrainableModel, result: TrainingResult, base: Path, store: ArtifactStore, context: StepContext
) -> tuple[dict[str, Artifact], WeightChange]:
    context.progress(0, 0, "models", stage="saving model")
    outputs: dict[str, Artifact] = {}
    if target.adapters is not None:
        target.save_adapters(context.workdir / "adapter", base="base")
        outputs["adapter"] = store.put_tree(context.workdir / "adapter")
    folder = context.workdir / "model"
    change = _save_merged(target, base, folder)
    outputs["model"] = store.put_tree(folder)
    curve = dataclasses.asdict(result.history)
    outputs["curve"] = store.put_bytes(json.dumps(curve, sort_keys=True).encode())
    return outputs, change


def _save_merged(target: TrainableModel, base_folder: Path, folder: Path) -> WeightChange:
    """Writes the merged model in the base's number format, after making sure that it is not the base."""
    dtype = stored_dtype(base_folder)
    base = load_causal_lm(base_folder).to(dtype)
    merged = target.merged().to(device=base.device, dtype=dtype)
    change = weight_change(merged, base)
    save_folder(merged, base_folder, folder)
    return change


def _leave_partial(
    training: TrainingRun, target: TrainableModel, base: Path, store: ArtifactStore, context: StepContext
) -> None:
    """Keeps the best model so far under the attempt's name; nothing if no step was taken."""
    if training.steps_taken == 0:
        return
    kept = training.keep_best().kept_step
    folder = context.workdir / "partial"
    _save_merged(target, base, folder)
    store.put_partial(context.key, context.workdir.name, folder)
    context.note("left the best model so far", step=kept)


def _account(
    result: TrainingResult,
    samples: Sequence[TokenisedSample],
    held_out: set[str],
    *,
    trained_parameters: int,
    change: WeightChange,
) -> Mapping[str, Json]:
    history = result.history
    best = history.best
    return {
        "samples": len(samples) - len(held_out),
        "validation_samples": len(held_out),
        "truncated": sum(sample.truncated for sample in samples),
        "trained_parameters": trained_parameters,
        "optimizer_steps": len(history.curve),
        "planned_optimizer_steps": result.planned_steps,
        "kept_step": result.kept_step,
        "tokens": history.tokens,
        "first_loss": history.curve[0].loss,
        "last_loss": history.curve[-1].loss,
        "best_validation_loss": best.loss if best else None,
        "seconds": {part: round(seconds, 3) for part, seconds in sorted(result.seconds.items())},
        "changed_tensors": change.changed_tensors,
        "tensors": change.tensors,
        "max_abs_change": change.max_abs_change,
    }
