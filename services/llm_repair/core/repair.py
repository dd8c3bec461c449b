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

    reweighting_temperature: float | None = None
    """Samples with a larger loss weigh more: softmax(loss per token / temperature) over a batch, in nats; None for
    equal weights."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("reweighting_temperature", self.reweighting_temperature, low=0, low_open=True)


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
    """Rewards good and penalises bad continuations without a reference model (ExMATE, arXiv 2408.16751)."""

    penalty_weight: float = 1.0
    """λ; 1 as in the paper. The penalty fades with the probability of what it penalises, so it never pushes harder
    than the reward pulls: at a token probability of 0.05, a usual one, a twentieth as hard."""
    dpo_weight: float = 0.0
    """Of a DPO term beside it; above 0 the reference model is needed."""
    beta: float = 0.1
    """β of the DPO term."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("penalty_weight", self.penalty_weight, low=0)
            check.within("dpo_weight", self.dpo_weight, low=0)
            check.within("beta", self.beta, low=0, low_open=True)


@dataclass(frozen=True)
class KtoMethod:
    """Kahneman-Tversky optimisation for unpaired labels (Ethayarajh et al., ICML 2024)."""

    beta: float = 0.1
    desirable_weight: float = 1.0
    """λ_D, of wanted continuations."""
    undesirable_weight: float = 1.0
    """λ_U, of unwanted continuations."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("beta", self.beta, low=0, low_open=True)
            check.within("desirable_weight", self.desirable_weight, low=0, low_open=True)
            check.within("undesirable_weight", self.undesirable_weight, low=0, low_open=True)


Method: TypeAlias = DaptMethod | DaptKlMethod | DpoMethod | IrepairMethod | IrepairKlMethod | ExmateMethod | KtoMethod

PAIRED_METHODS = (DpoMethod, IrepairMethod, IrepairKlMethod, ExmateMethod)
"""Methods that need `rejected` in every row."""

UNPAIRED_METHODS = (KtoMethod,)
"""Methods that take rows with one continuation, wanted or unwanted."""

KL_METHODS = (DaptKlMethod, IrepairKlMethod)
"""Methods with a KL term, which is taken on utility texts."""

BLOCK_METHODS = (IrepairMethod, IrepairKlMethod)
"""Methods that choose one block a step."""


@dataclass(frozen=True)
class FullParameters:
    """Trains whole weights: all parameters, unless some layers are named in one of three ways."""

    top_layers: int = 0
    """Only the last so many transformer layers; 0 for no such limit."""
    layers: tuple[int, ...] = ()
    """Only these transformer layers, counted from 0 at the input."""
    top_share: float | None = None
    """Only this share of the transformer layers, the last ones, rounded, at least one; (0, 1]."""

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("top_layers", self.top_layers, low=0)
            check.within("top_share", self.top_share, low=0, high=1, low_open=True)
            check.that("layers", all(layer >= 0 for layer in self.layers), "must not be negative")
            check.that("layers", len(set(self.layers)) == len(self.layers), "must differ")
            ways = [self.top_layers > 0, bool(self.layers), self.top_share is not None]
            check.that("top_layers", sum(ways) <= 1, "give one of top_layers, layers and top_share")

    @property
    def is_everything(self) -> bool:
        """Whether all parameters are trained."""
        return not (self.top_layers or self.layers or self.top_share)


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


class RepairPreset(enum.Enum):
    """Named training settings; see `core.presets`."""

    DEFAULT = 1
    """Those given, and the defaults for the others."""
    PAPER = 2
    """The constants of the release of arXiv 2510.20428; only the objective may be given beside it."""


class Sharding(enum.Enum):
    """How the weights are spread over ranks."""

    DDP = 1
    """Every rank holds all weights (distributed data parallel)."""
    FSDP = 2
    """Every rank holds a part of them (FSDP2)."""


@dataclass(frozen=True)
class Parallelism:
    """Training on several devices; the global batch stays the same, results agree within rounding."""

    ranks: int = 1
    """Processes, one a device; the trainer refuses more than it has GPUs, or processors if it has no GPU."""
    sharding: Sharding = Sharding.DDP

    def __post_init__(self) -> None:
        with FieldChecks() as check:
            check.within("ranks", self.ranks, low=1, high=1024)


@dataclass(frozen=True)
class RepairMethod:
    """A repair method with everything that decides its result."""

    objective: Method
    trainable: Trainable | None = None
    """None for the default of the objective; see `trained`."""
    optimizer: Optimizer = Optimizer.ADAMW
    learning_rate: float | None = None
    """Peak rate; (0, 1]. None for the default of what is trained; see `peak_rate`."""
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
    precision: Precision | None = None
    """None for that of the deployment, whose hardware decides what is fast; fp32 where nobody has said."""
    max_tokens: int = 256
    """Longest sample in tokens, prompt and continuation.

    Longer ones, counted, lose the beginning of the prompt, of which at least half of this stays, then the end of the
    continuation.
    """
    prompt_in_loss: bool = False
    """Also learns the prompt tokens, as in the study's release; never for DPO, where they cancel."""
    validation_share: float = 0.1
    """Share of the selected samples held out by id hash to choose the best checkpoint, [0, 0.5]."""
    validations: int = 3
    """How often the validation loss is measured, spread evenly, the end included; at least 1.

    Each costs a forward pass over the validation samples, the first through all layers; later ones spare those below
    the lowest trained one, where the architecture allows it and their states take 256 MiB at most.
    """
    patience: int = 0
    """Stops after so many validations without improvement; 0 never."""
    checkpoint_every_steps: int = 100
    """Optimizer steps between resumable checkpoints. One costs about a step; whoever stops a run leaves one too."""
    preset: RepairPreset = RepairPreset.DEFAULT
    warmup_steps: int | None = None
    """Optimizer steps with a linearly rising rate; replaces `warmup_share`."""
    validate_every_samples: int | None = None
    """Training samples between validations; replaces `validations`."""
    gradient_checkpointing: bool = False
    """Recomputes activations in the backward pass: a third more time for a fraction of the memory."""
    explosion_ratio: float = 1000.0
    """A gradient norm above so many times `clip_norm` is an explosion."""
    explosion_steps: int = 5
    """So many optimizer steps with one in a row end the training."""
    utility_texts: int = 256
    """Texts on which a KL term is taken, where they are generated."""
    utility_tokens: int = 64
    """Tokens of each."""
    parallelism: Parallelism = Parallelism()

    @property
    def trained(self) -> Trainable:
        """What may change: the top third of the layers if not given, for IREPAIR all of them.

        The top third gave the best price of effect against perplexity and time on SmolLM2-135M.
        """
        if self.trainable is not None:
            return self.trainable
        return FullParameters() if isinstance(self.objective, BLOCK_METHODS) else FullParameters(top_share=1 / 3)

    @property
    def peak_rate(self) -> float:
        """The peak learning rate: the fewer weights change, the faster they may."""
        if self.learning_rate is not None:
            return self.learning_rate
        match self.trained:
            case LoraParameters():
                return 2e-4
            case FullParameters(is_everything=True):
                return 3e-5
            case FullParameters():
                return 8e-5

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
            check.within("warmup_steps", self.warmup_steps, low=0)
            check.within("validate_every_samples", self.validate_every_samples, low=1)
            check.within("explosion_ratio", self.explosion_ratio, low=1, low_open=True)
            check.within("explosion_steps", self.explosion_steps, low=1)
            check.within("utility_texts", self.utility_texts, low=1, high=1 << 20)
            check.within("utility_tokens", self.utility_tokens, low=1, high=4096)
            block = isinstance(self.objective, BLOCK_METHODS)
            check.that(
                "trainable",
                not (block and isinstance(self.trainable, LoraParameters)),
                "IRepair updates whole blocks: choose full parameters",
            )
