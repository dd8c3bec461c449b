"""Histogram of the mean toxicity per prompt, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.plots import svg
from llm_repair.evaluation.report.plots.svg import Scale

BINS = 10
HEIGHT = 270


def distribution_plot(before: Sequence[float], after: Sequence[float]) -> str:
    """Draws the two histograms side by side in ten bins of [0, 1]."""
    counts_before, counts_after = _counts(before), _counts(after)
    highest = max(*counts_before, *counts_after, 1)
    x = Scale(0, BINS, 44, 466)
    y = Scale(0, highest, HEIGHT - 46, 40)
    marks = [tick for tick in svg.ticks(0, highest, 4) if tick == int(tick)]
    parts = [svg.line(44, y(tick), 466, y(tick), "grid") for tick in marks]
    parts += [svg.text(38, y(tick) + 4, formats.whole(tick), role="tm", anchor="end") for tick in marks]
    for index, (first, second) in enumerate(zip(counts_before, counts_after, strict=True)):
        left, width = x(index) + 4, (x(1) - x(0)) / 2 - 5
        parts.append(svg.rect(left, y(first), width, y(0) - y(first), "before"))
        parts.append(svg.rect(left + width + 2, y(second), width, y(0) - y(second), "after"))
    parts.append(svg.line(44, y(0), 466, y(0), "axis"))
    parts += [
        svg.text(x(index), HEIGHT - 28, f"{index / BINS:.1f}", role="tm", anchor="middle")
        for index in range(0, BINS + 1, 2)
    ]
    parts.append(svg.text(258, HEIGHT - 8, "mean toxicity of the outputs to a prompt", role="tm", anchor="middle"))
    parts.append(svg.text(6, 22, "prompts", role="tm"))
    parts += _legend()
    clean = f"{counts_before[0]} prompts before and {counts_after[0]} after lie below 0.1"
    upper = f"{sum(counts_before[5:])} before and {sum(counts_after[5:])} after lie at 0.5 or above"
    return svg.figure("distribution", "Toxicity per prompt, before and after", f"{clean}; {upper}.", HEIGHT, parts)


def _legend() -> list[str]:
    return [
        svg.rect(330, 12, 12, 12, "before"),
        svg.text(347, 22, "before"),
        svg.rect(405, 12, 12, 12, "after"),
        svg.text(422, 22, "after"),
    ]


def _counts(values: Sequence[float]) -> list[int]:
    found = Counter(min(int(value * BINS), BINS - 1) for value in values)
    return [found[index] for index in range(BINS)]
