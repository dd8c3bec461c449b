"""The pool in two dimensions, with the chosen samples marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.evaluation.report.plots import svg
from llm_repair.evaluation.report.plots.svg import Scale

HEIGHT = 330
MOST_POINTS = 1500
"""More dots than this hide each other and swell the page; of those not chosen some are left out, evenly."""


@dataclass(frozen=True)
class MapPoint:
    """A pool sample in the projection."""

    x: float
    y: float
    is_chosen: bool


def selection_map_plot(points: Sequence[MapPoint]) -> str:
    """Draws every sample as a small circle and every chosen one as a diamond."""
    rest = [point for point in points if not point.is_chosen]
    chosen = [point for point in points if point.is_chosen]
    stride = max(1, -(-len(rest) // max(1, MOST_POINTS - min(len(chosen), MOST_POINTS // 2))))
    drawn_rest = rest[::stride]
    xs, ys = [point.x for point in points], [point.y for point in points]
    x = Scale(min(xs), max(xs), 14, 466)
    y = Scale(min(ys), max(ys), HEIGHT - 14, 38)
    parts = [svg.circle(x(point.x), y(point.y), 2.4, "rest") for point in drawn_rest]
    parts += [svg.diamond(x(point.x), y(point.y), 4, "chosen") for point in chosen[:MOST_POINTS]]
    parts += [
        svg.diamond(16, 16, 5, "chosen"),
        svg.text(27, 20, f"chosen ({len(chosen)})"),
        svg.circle(150, 16, 3, "rest"),
        svg.text(159, 20, f"not chosen ({len(rest)})"),
    ]
    description = f"{len(chosen)} of {len(points)} samples were chosen."
    return svg.figure("map", "The pool and the chosen samples", description, HEIGHT, parts)
