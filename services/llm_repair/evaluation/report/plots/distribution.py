"""Histogram of the mean toxicity per prompt, one bar a side in every bin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.plots import svg
from llm_repair.evaluation.report.plots.svg import Scale

BINS = 10
HEIGHT = 270


@dataclass(frozen=True)
class SideValues:
    """One value a prompt, of one side."""

    label: str
    role: str
    """CSS class: `before` or `after`."""
    values: Sequence[float]


def distribution_plot(sides: Sequence[SideValues]) -> str:
    """Draws the histograms of one or two sides, bars of a bin beside each other, in ten bins of [0, 1]."""
    counts = [_counts(side.values) for side in sides]
    highest = max(max(bins) for bins in counts) or 1
    x = Scale(0, BINS, 44, 466)
    y = Scale(0, highest, HEIGHT - 46, 40)
    marks = [tick for tick in svg.ticks(0, highest, 4) if tick == int(tick)]
    parts = [svg.line(44, y(tick), 466, y(tick), "grid") for tick in marks]
    parts += [svg.text(38, y(tick) + 4, formats.whole(tick), role="tm", anchor="end") for tick in marks]
    width = (x(1) - x(0) - 10) / len(sides)
    for place, side in enumerate(sides):
        for index, count in enumerate(counts[place]):
            left = x(index) + 4 + place * (width + 2)
            parts.append(svg.rect(left, y(count), width, y(0) - y(count), side.role))
    parts.append(svg.line(44, y(0), 466, y(0), "axis"))
    parts += [
        svg.text(x(index), HEIGHT - 28, f"{index / BINS:.1f}", role="tm", anchor="middle")
        for index in range(0, BINS + 1, 2)
    ]
    parts.append(svg.text(258, HEIGHT - 8, "mean toxicity of the outputs to a prompt", role="tm", anchor="middle"))
    parts.append(svg.text(6, 22, "prompts", role="tm"))
    parts += legend(sides) if len(sides) > 1 else []
    return svg.figure("distribution", "Toxicity per prompt", _described(sides, counts), HEIGHT, parts)


def legend(sides: Sequence[SideValues]) -> list[str]:
    """Draws which colour is which side, at the top right."""
    parts: list[str] = []
    left = 466.0
    for side in reversed(sides):
        left -= 7.2 * len(side.label) + 30
        parts += [svg.rect(left, 12, 12, 12, side.role), svg.text(left + 17, 22, side.label)]
    return parts


def _described(sides: Sequence[SideValues], counts: Sequence[Sequence[int]]) -> str:
    said = [
        f"{side.label}: {formats.count_of(bins[0], 'prompt')} below 0.1, {formats.whole(sum(bins[BINS // 2 :]))} at 0.5"
        for side, bins in zip(sides, counts, strict=True)
    ]
    return "; ".join(f"{sentence} or above" for sentence in said) + "."


def _counts(values: Sequence[float]) -> list[int]:
    found = Counter(min(int(value * BINS), BINS - 1) for value in values)
    return [found[index] for index in range(BINS)]
