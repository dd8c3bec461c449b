"""The course of a training by optimizer step: loss and validation, learning rate, gradient norm, chosen blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.plots import svg
from llm_repair.evaluation.report.plots.svg import Scale

Points: TypeAlias = Sequence[tuple[float, float]]
"""(optimizer step, value)."""
LEFT, RIGHT = 68, 466
MOST_POINTS = 400
"""Of a line; of more, each stretch of steps keeps its lowest and its highest value, so no spike is lost."""
_GAP = 34


@dataclass(frozen=True)
class Course:
    """What was recorded of a training; whatever was not is empty."""

    loss: Points
    validation: Points = ()
    learning_rate: Points = ()
    gradient_norm: Points = ()
    blocks: Points = ()
    """The one block that was updated at a step, where the method chooses one."""
    kept_step: float | None = None
    """Step whose weights were kept."""


@dataclass(frozen=True)
class _Panel:
    title: str
    height: float
    points: Points
    role: str = "curve"
    marked: Points = field(default=())
    """Drawn as diamonds."""
    write_tick: Callable[[float], str] = formats.number
    is_dots: bool = False
    from_zero: bool = False


def training_plot(course: Course) -> str:
    """Draws a panel for everything recorded, one below the other over the same steps; needs at least one loss."""
    last_step = max(step for step, _ in (*course.loss, *course.validation))
    x = Scale(0, max(last_step, 1), LEFT, RIGHT)
    parts: list[str] = []
    top = 36.0
    for panel in _panels(course):
        parts += _drawn(panel, x, top)
        top += panel.height + _GAP
    bottom = top - _GAP
    steps = [tick for tick in svg.ticks(0, x.high, 5) if tick == int(tick)]
    parts += [svg.text(x(tick), bottom + 18, formats.whole(tick), role="tm", anchor="middle") for tick in steps]
    parts.append(svg.text((LEFT + RIGHT) / 2, bottom + 38, "optimizer step", role="tm", anchor="middle"))
    if course.kept_step is not None:
        parts.append(svg.line(x(course.kept_step), 36, x(course.kept_step), bottom, "limit"))
    parts += _legend(course)
    return svg.figure("training", "Course of the training", _described(course), bottom + 46, parts)


def thinned(points: Points) -> Points:
    """Returns at most about `MOST_POINTS` points with the extremes of all, in order."""
    if len(points) <= MOST_POINTS:
        return points
    stretch = math.ceil(2 * len(points) / MOST_POINTS)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept


def _panels(course: Course) -> list[_Panel]:
    panels = [
        _Panel("loss", 150, course.loss, marked=course.validation),
        _Panel("learning rate", 54, course.learning_rate, "curve quiet", write_tick=_rate, from_zero=True),
        _Panel("gradient norm", 70, course.gradient_norm, "curve quiet", from_zero=True),
        _Panel("updated block", 90, course.blocks, "after", write_tick=formats.whole, is_dots=True),
    ]
    return [panel for panel in panels if panel.points]


def _drawn(panel: _Panel, x: Scale, top: float) -> list[str]:
    values = [value for _, value in (*panel.points, *panel.marked)]
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or abs(high) * 0.05 or 0.05
    y = Scale(0 if panel.from_zero else low - margin, high + margin, top + panel.height, top)
    marks = svg.ticks(y.low, y.high, max(2, int(panel.height / 30)))
    if panel.is_dots:
        marks = tuple(tick for tick in marks if tick == int(tick) and tick >= 0)
    parts = [svg.line(LEFT, y(tick), RIGHT, y(tick), "grid") for tick in marks]
    parts += [svg.text(LEFT - 6, y(tick) + 4, panel.write_tick(tick), role="tm", anchor="end") for tick in marks]
    parts.append(svg.line(LEFT, top + panel.height, RIGHT, top + panel.height, "axis"))
    parts.append(svg.text(6, top - 10, panel.title, role="tm"))
    at = [(x(step), y(value)) for step, value in thinned(panel.points)]
    # One point makes no line.
    parts += [svg.circle(*place, 2.4, "after") for place in at] if panel.is_dots or len(at) == 1 else []
    parts += [] if panel.is_dots else [svg.polyline(at, panel.role)]
    marked = [(x(step), y(value)) for step, value in panel.marked]
    parts += [svg.polyline(marked, "curve dashed")] if marked else []
    return parts + [svg.diamond(*place, 4 if len(marked) <= 40 else 2.5, "chosen") for place in marked]


def _legend(course: Course) -> list[str]:
    parts = [svg.line(180, 14, 202, 14, "curve"), svg.text(208, 18, "training")]
    if course.validation:
        parts += [svg.diamond(280, 14, 4, "chosen"), svg.text(290, 18, "validation")]
    if course.kept_step is not None:
        parts += [svg.line(372, 8, 372, 20, "limit"), svg.text(380, 18, "weights kept")]
    return parts


def _rate(value: float) -> str:
    return "0" if value == 0 else formats.scientific(value)


def _described(course: Course) -> str:
    first, last = course.loss[0][1], course.loss[-1][1]
    said = [f"training loss from {formats.decimal(first, 3)} to {formats.decimal(last, 3)}"]
    if course.validation:
        said.append(f"lowest validation loss {formats.decimal(min(loss for _, loss in course.validation), 3)}")
    if course.learning_rate:
        said.append(f"largest learning rate {formats.scientific(max(rate for _, rate in course.learning_rate))}")
    if course.gradient_norm:
        said.append(f"largest gradient norm {formats.number(max(norm for _, norm in course.gradient_norm))}")
    if course.blocks:
        said.append(f"{len({block for _, block in course.blocks})} different blocks were updated")
    if course.kept_step is not None:
        said.append(f"the weights of step {formats.whole(course.kept_step)} were kept")
    return "; ".join(said) + "."
