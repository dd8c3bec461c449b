# pyright: reportMissingImports=false, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportUntypedBaseClass=false, reportMissingTypeArgument=false, reportPrivateImportUsage=false
# TRL is untyped.
"""TRL's trainers, set up to minimise what our loop minimises, over the same samples in the same order.

What is set, and why: `max_length` none and tokens given, so that nothing is cut and no end of text is added; labels on
the continuation only; no gradient checkpointing (TRL's default recomputes activations); the reference log-probabilities
of DPO computed before training, as ours are; AdamW fused, without weight decay, at a constant rate, gradients clipped
at 1, no dropout (the models have none). TRL's loss of SFT is the mean over the batch's learnt tokens, that of DPO the
mean over its pairs, and so are ours. Logging, saving and evaluation are off.

Padding-free works on CPU for SFT: given no mask, transformers recognises restarting positions as packed sequences. For
DPO, TRL 1.16 announces it but falls back to padding. TRL's `packing` fills rows of a fixed length across batches, which
changes what a step sees; so padding-free stands for it: the same batch, laid out without padding.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models
from transformers import PreTrainedModel, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from bench.trainer.ours import SEED
from bench.trainer.step_clock import StepClock
from llm_repair.core.repair import DpoMethod, LoraParameters, Precision, RepairMethod
from llm_repair.models.training.batches import TokenisedSample, epoch_order

_SETTINGS: dict[str, Any] = {
    "seed": SEED,
    "use_cpu": True,
    "num_train_epochs": 1,
    "optim": "adamw_torch_fused",
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": False,
    "train_sampling_strategy": "sequential",
    "dataloader_pin_memory": False,
    "logging_strategy": "no",
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "max_length": None,
}


@dataclass(frozen=True)
class _Ticks(TrainerCallback):
    clock: StepClock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.clock.start_run()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.end_step()


class _KeepsLosses:
    """Keeps the loss of every step, which the trainers only log."""

    losses: list[torch.Tensor]

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        self.losses.append(loss)
        return loss


class _Sft(_KeepsLosses, SFTTrainer):
    pass


class _Dpo(_KeepsLosses, DPOTrainer):
    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns the data set: it has tokens already, which this trainer would not accept."""
        return dataset


def training_losses(
    model: PreTrainedModel,
    samples: Sequence[TokenisedSample],
    method: RepairMethod,
    clock: StepClock,
    *,
    padding_free: bool = False,
) -> list[float]:
    """Trains one epoch and returns the loss of every step."""
    with _silence(), tempfile.TemporaryDirectory() as scratch:
        trainer = _trainer(model, samples, method, scratch, padding_free=padding_free)
        trainer.losses = []
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Ticks(clock))
        trainer.train()
    return [float(loss) for loss in trainer.losses]


def _trainer(
    model: PreTrainedModel,
    samples: Sequence[TokenisedSample],
    method: RepairMethod,
    scratch: str,
    *,
    padding_free: bool,
) -> Any:
    order = epoch_order([sample.id for sample in samples], seed=SEED, epoch=0)
    ordered = [samples[index] for index in order]
    settings: dict[str, Any] = {
        **_SETTINGS,
        "output_dir": scratch,
        "per_device_train_batch_size": method.batch_samples,
        "learning_rate": method.peak_rate,
        "weight_decay": method.weight_decay,
        "max_grad_norm": method.clip_norm,
        "bf16": method.precision is Precision.BFLOAT16,
    }
    adapters = _adapters(method.trained) if isinstance(method.trained, LoraParameters) else None
    around: dict[str, Any] = {"model": model, "processing_class": _tokenizer(), "peft_config": adapters}
    if isinstance(method.objective, DpoMethod):
        arguments = DPOConfig(**settings, beta=method.objective.beta, precompute_ref_log_probs=True)
        return _Dpo(args=arguments, train_dataset=Dataset.from_list([_pair(sample) for sample in ordered]), **around)
    arguments = SFTConfig(**settings, padding_free=padding_free)
    return _Sft(args=arguments, train_dataset=Dataset.from_list([_text(sample) for sample in ordered]), **around)


def _adapters(trained: LoraParameters) -> LoraConfig:
    """Returns adapters on all linear layers but the head; from the same seed their start values are ours."""
    return LoraConfig(
        r=trained.rank,
        lora_alpha=trained.alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=trained.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _text(sample: TokenisedSample) -> dict[str, list[int]]:
    (continuation,) = sample.continuations
    return {
        "input_ids": [*sample.prompt, *continuation],
        "labels": [*[-100] * len(sample.prompt), *continuation],
    }


def _pair(sample: TokenisedSample) -> dict[str, list[int]]:
    chosen, rejected = sample.continuations
    return {"prompt_ids": list(sample.prompt), "chosen_ids": list(chosen), "rejected_ids": list(rejected)}


def _tokenizer() -> PreTrainedTokenizerFast:
    """Returns one that knows a token for padding: all that the trainers ask of it."""
    core = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<pad>", unk_token="<pad>")


@contextlib.contextmanager
def _silence() -> Generator[None]:
    """Keeps bars, hints and deprecations of others out of the output."""
    datasets.disable_progress_bars()
    os.environ["TQDM_DISABLE"] = "1"
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
