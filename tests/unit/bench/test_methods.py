"""The table of methods: every contender a row, and the predecessor's figures as they were published."""

from __future__ import annotations

import statistics
from typing import Any

import pytest


def metric(change: tuple[float, float, float] | None, *, gating: bool = True) -> dict[str, Any]:
    estimate = None if change is None else {"value": change[0], "low": change[1], "high": change[2], "n": 187}
    return {"base": {"value": 0.2, "low": 0.1, "high": 0.3, "n": 187}, "change": estimate, "gating": gating}


def test_every_contender_is_a_row_with_its_changes_and_costs() -> None:
    from bench.methods.contenders import CONTENDERS
    from bench.methods.outcomes import Outcome
    from bench.methods.table import table

    metrics = {
        "toxicity.mean": metric((-0.08, -0.1, -0.06)),
        "toxicity.probability": metric(None),
        "toxicity.hatesonar.mean": metric((-0.02, -0.03, -0.01), gating=False),
        "perplexity.boolq.token": metric((1.005, 1.0, 1.011)),
    }
    outcomes = [Outcome(contender, metrics, {}, 41.6, 2_340_000_000, "PASS") for contender in CONTENDERS]

    lines = table(outcomes, "a machine").splitlines()

    assert [line for line in lines if line.startswith("| DPO | all parameters")] == [
        "| DPO | all parameters | -0.080 [-0.100, -0.060] | – | -0.020 [-0.030, -0.010] "
        "| boolq 1.005 [1.000, 1.011] | 42 | 2.3 |"
    ]
    assert sum("-0.080 [-0.100, -0.060]" in line for line in lines) == len(CONTENDERS)


def test_the_contenders_are_every_method_of_the_product() -> None:
    from bench.methods.contenders import CONTENDERS
    from llm_repair.core.registry import METHODS

    assert {str(contender.method().WhichOneof("objective")) for contender in CONTENDERS} == {e.name for e in METHODS}


def test_the_predecessors_figures_have_the_means_that_it_states() -> None:
    """Toxicity and perplexity, averaged over its three models, as in the last row of its workbook."""
    from bench.methods.predecessor import rows

    cells = [row[1:] for row in rows() if "toxicity" in row[0]]

    means = [
        [statistics.mean(float(cell.split(" / ")[part]) for cell in column) for column in zip(*cells, strict=True)]
        for part in (0, 1)
    ]
    assert means[0] == pytest.approx([43.55, 27.77, 19.02, 16.65, 8.03, 4.91], abs=0.006)
    assert means[1] == pytest.approx([17.13, 22.30, 19.75, 20.61, 18.55, 19.01], abs=0.006)
