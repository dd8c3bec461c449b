"""The pool in two dimensions, with the chosen samples marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.plots import svg

HEIGHT = 330
TOP, BOTTOM, LEFT, RIGHT = 38, HEIGHT - 14, 14, 466
MOST_POINTS = 1500
"""More dots than this hide each other and swell the page; some are left out, evenly, first of those not chosen."""


@dataclass(frozen=True)
class MapPoint:
    """A pool sample in the projection."""

    x: float
    y: float
    is_chosen: bool


def selection_map_plot(points: Sequence[MapPoint]) -> str:
    """Draws every sample as a small circle and every chosen one as a diamond; needs at least one."""
    rest = [point for point in points if not point.is_chosen]
    chosen = [point for point in points if point.is_chosen]
    drawn_chosen = _spread(chosen, MOST_POINTS)
    place = _plane(points)
    parts = [svg.circle(*place(point), 2.4, "rest") for point in _spread(rest, MOST_POINTS - len(drawn_chosen) // 2)]
    parts += [svg.diamond(*place(point), 4, "chosen") for point in drawn_chosen]
    parts += [
        svg.diamond(16, 16, 5, "chosen"),
        svg.text(27, 20, f"chosen ({formats.whole(len(chosen))})"),
        svg.circle(180, 16, 3, "rest"),
        svg.text(189, 20, f"not chosen ({formats.whole(len(rest))})"),
    ]
    description = f"{formats.whole(len(chosen))} of {formats.count_of(len(points), 'sample')} were chosen."
    return svg.figure("map", "The pool and the chosen samples", description, HEIGHT, parts)


def _plane(points: Sequence[MapPoint]) -> Callable[[MapPoint], tuple[float, float]]:
    """Returns where a point goes; a unit is as long in both directions, since distances are what the map shows."""
    xs, ys = [point.x for point in points], [point.y for point in points]
    units = max((max(xs) - min(xs)) / (RIGHT - LEFT), (max(ys) - min(ys)) / (BOTTOM - TOP)) or 1.0
    middle_x, middle_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2

    def place(point: MapPoint) -> tuple[float, float]:
        return (LEFT + RIGHT) / 2 + (point.x - middle_x) / units, (TOP + BOTTOM) / 2 - (point.y - middle_y) / units

    return place


def _spread(points: Sequence[MapPoint], most: int) -> Sequence[MapPoint]:
    return points if len(points) <= most else [points[index * len(points) // most] for index in range(most)]
