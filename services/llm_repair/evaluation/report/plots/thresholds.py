"""Share of prompts with an output at or above a threshold, for every threshold: whether 0.5 decides the finding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.plots import svg
from llm_repair.evaluation.report.plots.distribution import SideValues, legend
from llm_repair.evaluation.report.plots.svg import Scale

HEIGHT = 270
STEPS = 100
"""The threshold moves by a hundredth."""


def thresholds_plot(sides: Sequence[SideValues], *, marked: float) -> str:
    """Draws a falling line a side; `marked` is the threshold that metrics use. Values are in [0, 1] and not empty."""
    x = Scale(0, 1, 52, 466)
    y = Scale(0, 1, HEIGHT - 46, 40)
    parts = [svg.line(52, y(share), 466, y(share), "grid") for share in (0.25, 0.5, 0.75, 1)]
    parts += [
        svg.text(46, y(share) + 4, formats.percent(share), role="tm", anchor="end") for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    parts.append(svg.line(x(marked), y(0), x(marked), y(1), "limit"))
    parts.append(svg.line(52, y(0), 466, y(0), "axis"))
    for side in sides:
        curve = [(x(t / STEPS), y(share_reaching(side.values, t / STEPS))) for t in range(STEPS + 1)]
        parts.append(svg.polyline(curve, f"line-{side.role}"))
    parts += [
        svg.text(x(tick), HEIGHT - 28, f"{tick:.1f}", role="tm", anchor="middle") for tick in (0, 0.2, 0.4, 0.6, 0.8, 1)
    ]
    parts.append(svg.text(258, HEIGHT - 8, "score from which an output counts as toxic", role="tm", anchor="middle"))
    parts.append(svg.text(6, 22, "prompts with a toxic output", role="tm"))
    parts += legend(sides) if len(sides) > 1 else []
    return svg.figure("thresholds", "Prompts with a toxic output, by threshold", _described(sides), HEIGHT, parts)


def share_reaching(values: Sequence[float], threshold: float) -> float:
    """Returns the share of values at or above a threshold."""
    ordered = sorted(values)
    return 1 - bisect_left(ordered, threshold) / len(ordered)


def _described(sides: Sequence[SideValues]) -> str:
    said = [
        f"{side.label}: "
        + ", ".join(f"{formats.percent(share_reaching(side.values, at), 1)} at {at}" for at in (0.3, 0.5, 0.7, 0.9))
        for side in sides
    ]
    return "; ".join(said) + "."
