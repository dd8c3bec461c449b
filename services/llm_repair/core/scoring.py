"""Scores: who makes them, and what of a repair method decides them.

A score that two requests share has one key, so whatever does not decide it is set to its default.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from llm_repair.core.presets import resolved_method
from llm_repair.core.repair import (
    DaptKlMethod,
    DaptMethod,
    DpoMethod,
    ExmateMethod,
    FullParameters,
    IrepairKlMethod,
    IrepairMethod,
    KtoMethod,
    LoraParameters,
    Method,
    RepairMethod,
)
from llm_repair.core.selection import Score

MODEL_SCORES: Final = (Score.GRAND, Score.EL2N, Score.LOSS)
"""Read off the model as it is."""
DYNAMICS_SCORES: Final = (Score.AUM, Score.FORGETTING)
"""Read off a short training run of the model."""
JUDGE_SCORES: Final = (Score.TOXICITY, Score.FAILURE_RATE)
"""Made by a judge, in the evaluation service."""


def scored_method(method: RepairMethod, score: Score, *, dynamics_epochs: int) -> RepairMethod:
    """Returns the method with everything that does not decide the score at its default.

    GRAND: the gradient at the base model, up to a factor, over the parameters that are trained; see `_as_scored`. EL2N
    and LOSS: of the chosen continuation under any method, since DPO's own loss at its reference is ln 2 for every
    pair. AUM and FORGETTING: the short run learns the chosen continuations at the method's pace.
    """
    if score in DYNAMICS_SCORES:
        default = RepairMethod(DaptMethod())
        return dataclasses.replace(
            resolved_method(method),
            objective=DaptMethod(),
            epochs=dynamics_epochs,
            validation_share=0.0,
            validations=default.validations,
            validate_every_samples=None,
            patience=0,
            checkpoint_every_steps=default.checkpoint_every_steps,
            utility_texts=default.utility_texts,
            utility_tokens=default.utility_tokens,
            parallelism=default.parallelism,
        )
    by_gradient, settled = score is Score.GRAND, resolved_method(method)
    return RepairMethod(
        _as_scored(method.objective) if by_gradient else DaptMethod(),
        trainable=(method.trainable if by_gradient else None) or FullParameters(),
        precision=settled.precision,
        max_tokens=settled.max_tokens,
        prompt_in_loss=settled.prompt_in_loss,
    )


def _as_scored(objective: Method) -> Method:
    """Returns the objective whose gradient at the base model is that of the given one, up to a factor.

    KL terms vanish there with their gradients, so the methods that add one have the gradient of DAPT; which block
    IREPAIR will update is not asked. DPO's gradient is that of the margin, and β a factor, as it is in KTO, whose two
    weights matter against each other. EXMATE's β is that of its DPO term.
    """
    match objective:
        case DpoMethod():
            return DpoMethod()
        case KtoMethod():
            return dataclasses.replace(objective, beta=KtoMethod.beta)
        case ExmateMethod(dpo_weight=0):
            return dataclasses.replace(objective, beta=ExmateMethod.beta)
        case ExmateMethod():
            return objective
        case DaptMethod() | DaptKlMethod() | IrepairMethod() | IrepairKlMethod():
            return DaptMethod()


def scoring_seed(method: RepairMethod, score: Score, seed: int) -> int:
    """Returns the seed where the score depends on chance: order of a training run, start of adapters; else 0."""
    by_chance = score in DYNAMICS_SCORES or isinstance(method.trainable, LoraParameters)
    return seed if by_chance else 0
