"""Presets: the constants of the study's release, by name.

Source: replication package of arXiv 2510.20428, RitaLi1005/SAPS at d2b37d8. What the release does differently in code,
not in constants, is listed in the docstring of each strategy.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from llm_repair.core.errors import FieldViolation, InvalidFields
from llm_repair.core.registry import STRATEGIES, name_of
from llm_repair.core.repair import FullParameters, Optimizer, Precision, RepairMethod, RepairPreset
from llm_repair.core.selection import (
    Allocation,
    CcsStrategy,
    FilterStrategy,
    KCenterStrategy,
    SapsStrategy,
    Score,
    SelectionPreset,
    SelectionStrategy,
    Strategy,
)

_PAPER: Final[dict[type[Strategy], Strategy]] = {
    KCenterStrategy: KCenterStrategy(pca_components=50),
    SapsStrategy: SapsStrategy(pca_components=50, clusters=10, boundary_fraction=1.0, allocation=Allocation.EQUAL),
    CcsStrategy: CcsStrategy(score=Score.TOXICITY, hard_cutoff=0.0, stratum_edges=(0.02, 0.03, 0.04, 0.05)),
}
"""Strategies without an entry have no constants."""


def resolved(choice: SelectionStrategy) -> SelectionStrategy:
    """Returns the choice with the parameters its preset stands for, written out.

    Raises:
      InvalidFields: parameters were given beside the PAPER preset.
    """
    kind, by_paper = choice.kind, choice.preset is SelectionPreset.PAPER
    if isinstance(kind, FilterStrategy):
        if by_paper:
            raise InvalidFields([FieldViolation("preset", "the study has no filters; it belongs inside")])
        try:
            return SelectionStrategy(dataclasses.replace(kind, then=resolved(kind.then)))
        except InvalidFields as error:
            inside = f"{name_of(STRATEGIES, kind)}.then"
            raise InvalidFields(violation.under(inside) for violation in error.violations) from error
    if by_paper and kind != type(kind)():
        raise InvalidFields([FieldViolation("preset", "PAPER fixes all parameters, so none may be given beside it")])
    return SelectionStrategy(_PAPER.get(type(kind), kind) if by_paper else kind)


def resolved_method(method: RepairMethod) -> RepairMethod:
    """Returns the method with its preset and the defaults that depend on the objective written out.

    The release trains all parameters by RMSprop: rate 5e-5 after 150 warm-up steps, batch 4, clip 0.5, one epoch,
    prompts learnt too, a validation every 40 samples, patience 30. We differ: the number of validation samples is a
    share, since 64 of a small budget would be most of it.

    Raises:
      InvalidFields: anything but the objective was given beside the PAPER preset.
    """
    if method.preset is RepairPreset.PAPER:
        if method != RepairMethod(method.objective, preset=RepairPreset.PAPER):
            raise InvalidFields([FieldViolation("preset", "PAPER fixes all settings but the objective")])
        return RepairMethod(
            method.objective,
            trainable=FullParameters(),
            optimizer=Optimizer.RMSPROP,
            learning_rate=5e-5,
            epochs=1,
            batch_samples=4,
            warmup_share=0.0,
            warmup_steps=150,
            final_rate_share=1.0,
            clip_norm=0.5,
            precision=Precision.FLOAT32,
            max_tokens=1024,
            prompt_in_loss=True,
            validate_every_samples=40,
            patience=30,
        )
    precision = method.precision or Precision.FLOAT32
    return dataclasses.replace(method, trainable=method.trained, learning_rate=method.peak_rate, precision=precision)
