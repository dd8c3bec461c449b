"""Repair methods and training settings: typed parameters, with units, ranges and sources.

A method is an objective plus a choice of trainable parameters; one training loop serves all
(`models/training/loop.py`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from llm_repair.core.fields import FieldChecks


@dataclass(frozen=True)
class DaptMethod:
    """Domain-adaptive pre-training: negative log-likelihood of the chosen continuations."""


@dataclass(frozen=True)
class DaptKlMethod:
    """DAPT with a KL term towards the reference model on utility text (arXiv 2510.20428, §3)."""

    nll_weight: float = 0.5
    """b."""
    kl_weight: float = 1.0
    """γ."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("nll_weight", self.nll_weight, low=0)
            check.within("kl_weight", self.kl_weight, low=0)


@dataclass(frozen=True)
class DpoMethod:
    """Direct preference optimisation (Rafailov et al., NeurIPS 2023)."""

    beta: float = 0.1
    """β, strength of the pull to the reference model; usually 0.01 to 0.5."""
    label_smoothing: float = 0.0
    """Assumed share of flipped preferences, [0, 0.5)."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("beta", self.beta, low=0, low_open=True)
            check.within("label_smoothing", self.label_smoothing, low=0, high=0.5, high_open=True)


@dataclass(frozen=True)
class IrepairMethod:
    """IRepair: per step, only the block most sensitive to the toxic sequence is updated."""

    nll_weight: float = 0.5

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("nll_weight", self.nll_weight, low=0)


@dataclass(frozen=True)
class IrepairKlMethod:
    """IRepair with the KL term."""

    nll_weight: float = 0.5
    kl_weight: float = 1.0

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("nll_weight", self.nll_weight, low=0)
            check.within("kl_weight", self.kl_weight, low=0)


@dataclass(frozen=True)
class ExmateMethod:
    """Rewards good and penalises bad continuations without a reference model."""

    penalty_weight: float = 0.1

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("penalty_weight", self.penalty_weight, low=0)


@dataclass(frozen=True)
class KtoMethod:
    """Kahneman-Tversky optimisation for unpaired labels (Ethayarajh et al., ICML 2024)."""

    beta: float = 0.1

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("beta", self.beta, low=0, low_open=True)


Method: TypeAlias = DaptMethod | DaptKlMethod | DpoMethod | IrepairMethod | IrepairKlMethod | ExmateMethod | KtoMethod

PAIRED_METHODS = (DpoMethod, IrepairMethod, IrepairKlMethod, ExmateMethod)
"""Methods that need `rejected` in every row."""


@dataclass(frozen=True)
class FullParameters:
    """Trains whole weights."""

    top_layers: int = 0
    """Only the last so many transformer layers; 0 for all parameters.

    The top third gave the best price of effect against perplexity and time on SmolLM2-135M.
    """

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("top_layers", self.top_layers, low=0)


@dataclass(frozen=True)
class LoraParameters:
    """Trains low-rank adapters on all linear layers (Hu et al., ICLR 2022); merged on publish."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("rank", self.rank, low=1, high=4096)
            check.within("alpha", self.alpha, low=0, low_open=True)
            check.within("dropout", self.dropout, low=0, high=1, high_open=True)


Trainable: TypeAlias = FullParameters | LoraParameters


class Optimizer(enum.Enum):
    """Which optimizer takes the steps."""

    ADAMW = 1
    RMSPROP = 2


class Precision(enum.Enum):
    """Number format of the forward and backward pass; weights and optimizer state stay fp32."""

    FLOAT32 = 1
    BFLOAT16 = 2
    """bf16 autocast."""


@dataclass(frozen=True)
class RepairMethod:
    """A repair method with everything that decides its result."""

    objective: Method
    trainable: Trainable = FullParameters()
    optimizer: Optimizer = Optimizer.ADAMW
    learning_rate: float = 3e-5
    """Peak rate; (0, 1]. LoRA needs about ten times that of full parameters."""
    weight_decay: float = 0.0
    epochs: int = 2
    batch_samples: int = 8
    """Samples (pairs for DPO) per optimizer step."""
    warmup_share: float = 0.1
    """Share of the optimizer steps with a linearly rising rate, [0, 1)."""
    final_rate_share: float = 0.1
    """The rate decays linearly to this share of its peak, [0, 1]."""
    clip_norm: float = 1.0
    """Largest l2 norm of the gradient; larger ones are scaled down."""
    precision: Precision = Precision.FLOAT32
    max_tokens: int = 256
    """Longest sample in tokens, prompt and continuation; longer ones lose the end of their continuation, counted."""
    prompt_in_loss: bool = False
    """Also learns the prompt tokens, as in the study's release; never for DPO, where they cancel."""
    validation_share: float = 0.1
    """Share of the selected samples held out by id hash to choose the best checkpoint, [0, 0.5]."""
    validations: int = 4
    """How often the validation loss is measured, spread evenly, the end included; at least 1."""
    patience: int = 0
    """Stops after so many validations without improvement; 0 never."""
    checkpoint_every_steps: int = 10
    """Optimizer steps between resumable checkpoints."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("learning_rate", self.learning_rate, low=0, high=1, low_open=True)
            check.within("weight_decay", self.weight_decay, low=0)
            check.within("epochs", self.epochs, low=1, high=1000)
            check.within("batch_samples", self.batch_samples, low=1, high=65536)
            check.within("warmup_share", self.warmup_share, low=0, high=1, high_open=True)
            check.within("final_rate_share", self.final_rate_share, low=0, high=1)
            check.within("clip_norm", self.clip_norm, low=0, low_open=True)
            check.within("max_tokens", self.max_tokens, low=8, high=1 << 20)
            check.within("validation_share", self.validation_share, low=0, high=0.5)
            check.within("validations", self.validations, low=1)
            check.within("patience", self.patience, low=0)
            check.within("checkpoint_every_steps", self.checkpoint_every_steps, low=1)
            block = isinstance(self.objective, IrepairMethod | IrepairKlMethod)
            check.that(
                "trainable",
                not (block and isinstance(self.trainable, LoraParameters)),
                "IRepair updates whole blocks: choose full parameters",
            )
