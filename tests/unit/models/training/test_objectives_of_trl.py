# pyright: reportPrivateUsage=false
"""Our losses beside those of TRL's trainers, on log-probabilities made up here.

TRL's loss is a method of a trainer around a model. It is called on a stand-in for both: the model "predicts" the
log-probabilities we chose, the trainer holds the settings and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from llm_repair.models.training.objectives import dpo_loss, kto_baseline, kto_loss

TOKENS = 3
LABELS = torch.tensor([True, False, True, True, False])


@dataclass
class Predicting:
    """A model whose every answer is given, first come first served."""

    answers: list[Tensor]

    def __call__(self, **_: Any) -> SimpleNamespace:
        log_probs = self.answers.pop(0)
        nothing = torch.zeros_like(log_probs)
        return SimpleNamespace(log_probs=log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())


def trainer(**settings: Any) -> SimpleNamespace:
    """Stands in for a trainer with these settings."""
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda value: value, gather_for_metrics=lambda value: value
    )
    return SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=accelerator,
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
        **settings,
    )


def made_up(rows: int, seed: int) -> Tensor:
    """Log-probabilities of some tokens of each row."""
    return -3 * torch.rand(rows, TOKENS, generator=torch.Generator().manual_seed(seed))


def sequences(rows: int, prefix: str = "") -> dict[str, Tensor]:
    """Inputs of which all tokens but the first are predicted."""
    mask = torch.ones(rows, TOKENS + 1, dtype=torch.long)
    mask[:, 0] = 0
    ids = torch.ones(rows, TOKENS + 1, dtype=torch.long)
    names = ("input_ids", "attention_mask", "completion_mask")
    return {f"{prefix}{name}": value for name, value in zip(names, (ids, torch.ones_like(ids), mask), strict=True)}


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, 1.4)])
@pytest.mark.parametrize("shift", [0.0, 4.0], ids=["baseline 0", "baseline above 0"])
def test_kto_agrees_with_trl(weights: tuple[float, float], shift: float) -> None:
    """The shift makes the mean mismatched log-ratio positive; without it the mean is negative, and the baseline 0."""
    kto = pytest.importorskip("trl.trainer.kto_trainer").KTOTrainer
    own, mismatched = made_up(5, 0), made_up(5, 1)
    reference, mismatched_reference = made_up(5, 2).sum(1), mismatched.sum(1) + torch.linspace(-1, 2, 5) - shift
    settings = {"beta": 0.3, "desirable_weight": weights[0], "undesirable_weight": weights[1]}
    standing_in = trainer(loss_type="kto", calculate_KL=True, **settings)
    standing_in._compute_kl_logps = lambda model, batch: kto._compute_kl_logps(standing_in, model, batch)
    known = {"label": LABELS, "ref_logps": reference, "ref_KL_logps": mismatched_reference}
    batch = {**sequences(5), **sequences(5, "KL_"), **known}
    expected = kto._compute_loss(standing_in, Predicting([mismatched, own]), batch, return_outputs=False)

    baseline = kto_baseline(mismatched.sum(1) - mismatched_reference)
    losses = kto_loss(own.sum(1) - reference, LABELS, baseline, beta=0.3)
    found = torch.where(LABELS, weights[0], weights[1]) * losses

    assert (baseline > 0) == (shift > 0)
    torch.testing.assert_close(found.mean(), expected)


def test_dpo_agrees_with_trl() -> None:
    """Without smoothing: what TRL smooths is another loss, "robust" DPO."""
    dpo = pytest.importorskip("trl.trainer.dpo_trainer").DPOTrainer
    own, chosen, rejected = made_up(8, 0), made_up(4, 1).sum(1), made_up(4, 2).sum(1)
    standing_in = trainer(
        beta=0.3,
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        use_weighting=False,
    )
    batch = {**sequences(8), "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    expected = dpo._compute_loss(standing_in, Predicting([own]), batch, return_outputs=False)

    found = dpo_loss(*own.sum(1).chunk(2), chosen, rejected, beta=0.3)

    torch.testing.assert_close(found.losses.mean(), expected)
