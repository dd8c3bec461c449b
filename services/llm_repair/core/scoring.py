"""Scores: who makes them, and what of a repair method decides them.

A score that two requests share has one key, so whatever does not decide it is set to its default.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from llm_repair.core.presets import resolved_method
from llm_repair.core.repair import DaptMethod, DpoMethod, FullParameters, LoraParameters, RepairMethod
from llm_repair.core.selection import Score

MODEL_SCORES: Final = (Score.GRAND, Score.EL2N, Score.LOSS)
"""Read off the model as it is."""
DYNAMICS_SCORES: Final = (Score.AUM, Score.FORGETTING)
"""Read off a short training run of the model."""
JUDGE_SCORES: Final = (Score.TOXICITY, Score.FAILURE_RATE)
"""Made by a judge, in the evaluation service."""


def scored_method(method: RepairMethod, score: Score, *, dynamics_epochs: int) -> RepairMethod:
    """Returns the method with everything that does not decide the score at its default.

    GRAND: at the base model the KL terms vanish with their gradients and DPO's gradient is that of the margin, so the
    weights of the terms only scale it; the parameters it is taken over matter. EL2N and LOSS: of the chosen
    continuation under any method, since DPO's own loss at its reference is ln 2 for every pair. AUM and FORGETTING:
    the short run learns the chosen continuations at the method's pace.
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
        )
    by_gradient, settled = score is Score.GRAND, resolved_method(method)
    return RepairMethod(
        DpoMethod() if by_gradient and isinstance(method.objective, DpoMethod) else DaptMethod(),
        trainable=(method.trainable if by_gradient else None) or FullParameters(),
        precision=settled.precision,
        max_tokens=settled.max_tokens,
        prompt_in_loss=settled.prompt_in_loss,
    )


def scoring_seed(method: RepairMethod, score: Score, seed: int) -> int:
    """Returns the seed where the score depends on chance: order of a training run, start of adapters; else 0."""
    by_chance = score in DYNAMICS_SCORES or isinstance(method.trainable, LoraParameters)
    return seed if by_chance else 0
