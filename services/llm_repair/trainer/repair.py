"""The repair step: trains the model on the selected samples and leaves a standard model folder."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from transformers import PreTrainedModel

from llm_repair.artifacts.datasets import iterate_rows
from llm_repair.artifacts.model_files import weights_digest
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import (
    AdapterNotApplied,
    FieldViolation,
    InvalidFields,
    LossNotFinite,
    OutOfMemory,
    StepCancelled,
    StorageFull,
    StorageUnavailable,
)
from llm_repair.core.execution import Artifact, Json, RankPlace, StepContext, StepOutput
from llm_repair.core.repair import KL_METHODS
from llm_repair.core.steps import RepairStep, step_key
from llm_repair.models.loading import context_tokens, load_causal_lm, load_tokenizer
from llm_repair.models.training.adapters import TrainableModel, make_trainable
from llm_repair.models.training.batches import PairText, TokenisedSample, tokenise
from llm_repair.models.training.checkpoints import Checkpoints
from llm_repair.models.training.encoding import encoding_of
from llm_repair.models.training.faults import (
    full_disk_named,
    out_of_memory_named,
    require_finite,
    require_known_tokens,
)
from llm_repair.models.training.loop import TrainingResult, TrainingRun
from llm_repair.models.training.ranks import Ranks, joined, own_device, require_devices
from llm_repair.trainer import lineage
from llm_repair.trainer.methods import objective_of
from llm_repair.trainer.samples import SelectedTexts, selected_texts, utility_texts
from llm_repair.trainer.weights import WeightChange, save_folder, stored_dtype, weight_change

RANK: Final = "llm_repair.trainer.repair:run_rank"
RANK_ON_HALVES: Final = "llm_repair.trainer.repair:run_rank_on_halves"
"""Code of one of several ranks."""


def run(step: RepairStep, store: ArtifactStore, context: StepContext) -> StepOutput:
    """Trains on the selected samples; outputs `model`, `curve` and, with LoRA, `adapter`.

    Raises:
      InvalidFields: the method has a KL term, and there are no utility texts for it; or more ranks than devices.
      DatasetInvalid: a selected sample is unknown, lacks a continuation the method needs, or has no token.
      PoolTooSmall: nothing was selected, or a single utility text.
      ModelInvalid: the model cannot be trained as the method asks, or does not know a token of its tokenizer.
      LossNotFinite, GradientExploded: training diverged, or left the base's number format; nothing is published.
      OutOfMemory: memory does not suffice, on halved micro-batches too, or for saving; nothing is published.
      StorageFull: neither a checkpoint nor the model finds space; nothing is published.
      AdapterNotApplied: the repaired weights equal the base.
      WorkerLost: one of several ranks died.
      StepCancelled: the best model so far is left as a partial.
    """
    if isinstance(step.method.objective, KL_METHODS) and not step.utility_digest:
        raise InvalidFields([FieldViolation("utility_digest", "is required: the method has a KL term")])
    ranks = step.method.parallelism.ranks
    if ranks == 1:
        return repaired(step, store, context, Ranks(device=own_device()))
    require_devices(ranks)
    try:
        return context.run_ranks(RANK, ranks)
    except OutOfMemory as error:
        context.note("out of memory, so micro-batches are halved", step=int(error.metadata["step"]))
    return context.run_ranks(RANK_ON_HALVES, ranks)


def run_rank(step: RepairStep, store: ArtifactStore, context: StepContext, place: RankPlace) -> StepOutput:
    """Does the work of `run` together with other ranks; the output is rank 0's."""
    with joined(place, step.method.parallelism.sharding) as ranks:
        return repaired(step, store, context, ranks)


def run_rank_on_halves(step: RepairStep, store: ArtifactStore, context: StepContext, place: RankPlace) -> StepOutput:
    """Does the same with micro-batches of half the size."""
    with joined(place, step.method.parallelism.sharding) as ranks:
        return repaired(step, store, context, ranks, halved=True)


def repaired(
    step: RepairStep, store: ArtifactStore, context: StepContext, ranks: Ranks, *, halved: bool = False
) -> StepOutput:
    """Repairs the model together with the other ranks; what comes out is the first one's."""
    torch.set_num_threads(context.threads)
    ids = list(json.loads(store.get_bytes(step.selection_digest))["ids"])
    rows = iterate_rows(store, step.pool_digest)
    texts = selected_texts(rows, ids, step.method.objective, validation_share=step.method.validation_share)
    context.progress(0, 0, "models", stage="loading model")
    base = store.materialize(step.model_digest)
    # Sharding moves the weights layer by layer, so that they need not fit on one device.
    with out_of_memory_named(0):
        model = load_causal_lm(base, device=None if ranks.shards else ranks.device)
    utility = utility_texts(iterate_rows(store, step.utility_digest)) if step.utility_digest else []
    repair = _Repair(step, store, context, base, ranks, halved)
    return repair.of(model, _tokenised(step, base, model, texts, utility))


@dataclass(frozen=True)
class _Samples:
    """Everything a run reads, in token ids."""

    training: Sequence[TokenisedSample]
    held_out: Sequence[TokenisedSample]
    utility: Sequence[TokenisedSample]


def _tokenised(
    step: RepairStep, base: Path, model: PreTrainedModel, texts: SelectedTexts, utility: Sequence[PairText]
) -> _Samples:
    longest = min(step.method.max_tokens, context_tokens(model.config))
    encoding = encoding_of(load_tokenizer(base))
    parts = [tokenise(part, encoding, max_tokens=longest) for part in (texts.training, texts.held_out, utility)]
    require_known_tokens((sample for part in parts for sample in part), int(model.config.vocab_size))
    return _Samples(*parts)


@dataclass(frozen=True)
class _Repair:
    """One repair of one base model."""

    step: RepairStep
    store: ArtifactStore
    context: StepContext
    base: Path
    """Folder of the base model."""
    ranks: Ranks
    halved: bool

    def of(self, model: PreTrainedModel, samples: _Samples) -> StepOutput:
        """Trains, saves and accounts."""
        with out_of_memory_named(0):
            target, training = self._prepared(model, samples)
        trained_parameters = sum(parameter.numel() for parameter in target.parameters.values())
        try:
            result = training.run()
        except StepCancelled:
            self._leave_partial(training, target)
            raise
        if not self.ranks.is_first:
            return StepOutput({})
        with out_of_memory_named(training.steps_taken):
            outputs, change = self._save(self._whole(target, result), result)
        account = _account(result, samples)
        about_weights = {
            "trained_parameters": trained_parameters,
            **dataclasses.asdict(change),
            "weights_digest": weights_digest(self.store.entries(outputs["model"].digest)),
        }
        return StepOutput(outputs, {**account, **about_weights})

    def _prepared(self, model: PreTrainedModel, samples: _Samples) -> tuple[TrainableModel, TrainingRun]:
        step = self.step
        target = make_trainable(model, step.method.trained, seed=step.seed)
        training = TrainingRun(
            target,
            samples.training,
            samples.held_out,
            objective=objective_of(step.method.objective),
            method=step.method,
            seed=step.seed,
            context=self.context,
            checkpoints=Checkpoints(
                self.store, self.context, step.model_digest, config_digest=step_key(step), ranks=self.ranks
            ),
            utility=samples.utility,
            ranks=self.ranks,
            halved=self.halved,
        )
        return target, training

    def _whole(self, target: TrainableModel, result: TrainingResult) -> TrainableModel:
        """Returns the model with its best weights; in main memory, and loaded anew, where the ranks had sharded it."""
        if not self.ranks.shards:
            return target
        target = make_trainable(load_causal_lm(self.base), self.step.method.trained, seed=self.step.seed)
        target.load(result.weights)
        return target

    def _save(self, target: TrainableModel, result: TrainingResult) -> tuple[dict[str, Artifact], WeightChange]:
        self.context.progress(0, 0, "models", stage="saving model")
        outputs: dict[str, Artifact] = {}
        if target.adapters is not None:
            with full_disk_named("the adapter"):
                target.save_adapters(self.context.workdir / "adapter", base=self.step.model_digest)
            outputs["adapter"] = self.store.put_tree(self.context.workdir / "adapter", given=True)
        folder = self.context.workdir / "model"
        change = self._save_merged(target, folder, result.kept_step)
        outputs["model"] = self.store.put_tree(folder, given=True)
        curve = dataclasses.asdict(result.history)
        outputs["curve"] = self.store.put_bytes(json.dumps(curve, sort_keys=True).encode())
        return outputs, change

    def _save_merged(self, target: TrainableModel, folder: Path, kept_step: int) -> WeightChange:
        """Writes the merged model in the base's number format, once it is known to be finite and not the base."""
        dtype = stored_dtype(self.base)
        base = load_causal_lm(self.base)
        merged = target.merged()
        for model in (base, merged):
            torch.nn.Module.to(model, device="cpu", dtype=dtype)
        change = weight_change(merged, base)
        require_finite(change.max_abs_change, kept_step, f"largest change of a weight in {dtype}")
        about = json.dumps(lineage.training_lineage(self.step, self.base), indent=2, sort_keys=True)
        with full_disk_named("the repaired model"):
            save_folder(merged, self.base, folder)
            (folder / lineage.FILE_NAME).write_text(about + "\n", encoding="utf-8")
        return change

    def _leave_partial(self, training: TrainingRun, target: TrainableModel) -> None:
        """Keeps the best model so far under the attempt's name; nothing if it is the base still, or cannot be kept."""
        if training.steps_taken == 0:
            return
        result = training.keep_best()
        if not self.ranks.is_first:
            return
        kept, folder = result.kept_step, self.context.workdir / "partial"
        try:
            with out_of_memory_named(training.steps_taken):
                self._save_merged(self._whole(target, result), folder, kept)
            self.store.put_partial(self.context.key, self.context.workdir.name, folder)
        except (AdapterNotApplied, LossNotFinite, OutOfMemory, StorageFull, StorageUnavailable) as error:
            # A repair that is paused or cancelled has not failed.
            self.context.note("left no model", step=kept, reason=error.reason)
            return
        self.context.note("left the best model so far", step=kept)


def _account(result: TrainingResult, samples: _Samples) -> Mapping[str, Json]:
    history = result.history
    best = history.best
    everyone = [*samples.training, *samples.held_out]
    blocks = Counter(point.block for point in history.curve if point.block is not None)
    return {
        "samples": len(samples.training),
        "validation_samples": len(samples.held_out),
        "undesirable_samples": sum(not sample.desirable for sample in everyone),
        "utility_texts": len(samples.utility),
        "truncated": sum(sample.truncated for sample in everyone),
        "optimizer_steps": len(history.curve),
        "planned_optimizer_steps": result.planned_steps,
        "kept_step": result.kept_step,
        "steps_by_block": {str(block): steps for block, steps in sorted(blocks.items())},
        "tokens": history.tokens,
        "first_loss": history.curve[0].loss,
        "last_loss": history.curve[-1].loss,
        "best_validation_loss": best.loss if best else None,
        "seconds": {part: round(seconds, 3) for part, seconds in sorted(result.seconds.items())},
    }
