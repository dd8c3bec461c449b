"""Changes with their confidence intervals on one axis, against the line of no change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.plots import svg
from llm_repair.evaluation.report.plots.svg import Scale

ROW = 48
TOP = 30
LEAST_MARGIN = 0.002
"""On both sides of all that is drawn, in the unit of the axis: equal values need an axis too."""


@dataclass(frozen=True)
class IntervalRow:
    """One change to draw."""

    label: str
    value: float
    low: float
    high: float
    written: str
    """Value and interval in words, drawn above the line."""


def intervals_plot(
    name: str,
    title: str,
    rows: Sequence[IntervalRow],
    *,
    no_change: float,
    write_tick: Callable[[float, int], str],
    limit: float | None = None,
    worse_is_right: bool = True,
) -> str:
    """Draws one line per row with a dot for the value.

    Args:
      name: unique on the page.
      title: of the image.
      rows: at least one.
      no_change: the value that means nothing happened.
      write_tick: writes a value of the axis with as many decimals as tell its neighbours apart.
      limit: the gate's bound, if one applies.
      worse_is_right: whether larger is worse.
    """
    ends = [end for row in rows for end in (row.low, row.high)] + [no_change] + ([limit] if limit is not None else [])
    margin = max((max(ends) - min(ends)) * 0.06, LEAST_MARGIN)
    x = Scale(min(ends) - margin, max(ends) + margin, 14, 466)
    bottom = TOP + ROW * len(rows)
    marks = svg.ticks(x.low, x.high, 6)
    places = svg.decimals(marks)
    parts = [
        svg.text(x(tick), bottom + 18, write_tick(tick, places), role="tm", anchor=_anchor(x(tick), 34))
        for tick in marks
    ]
    lines = [(x(tick), "grid") for tick in marks] + [(x(no_change), "axis")]
    if limit is not None:
        lines.append((x(limit), "limit"))
        parts.append(svg.text(x(limit), TOP - 12, "limit", role="tm", anchor=_anchor(x(limit))))
    parts.append(svg.text(x(no_change), TOP - 12, "no change", role="tm", anchor=_anchor(x(no_change))))
    for index, row in enumerate(rows):
        parts += _row(row, TOP + ROW * index, x, lines)
    parts.append(svg.text(466, bottom + 36, "worse →" if worse_is_right else "better →", role="tm", anchor="end"))
    parts.append(svg.text(14, bottom + 36, "← better" if worse_is_right else "← worse", role="tm"))
    description = "; ".join(f"{row.label}: {row.written}" for row in rows) + "."
    return svg.figure(name, title, description, bottom + 44, parts)


def _row(row: IntervalRow, top: float, x: Scale, lines: Sequence[tuple[float, str]]) -> list[str]:
    middle = top + 32
    return [
        svg.text(14, top + 17, _fitting(row)),
        svg.text(466, top + 17, row.written, anchor="end"),
        # Upright lines stand in the strip of each interval only, so that none runs through the words above it.
        *(svg.line(place, middle - 10, place, middle + 10, role) for place, role in lines),
        svg.line(x(row.low), middle, x(row.high), middle, "interval"),
        svg.line(x(row.low), middle - 5, x(row.low), middle + 5, "interval"),
        svg.line(x(row.high), middle - 5, x(row.high), middle + 5, "interval"),
        svg.circle(x(row.value), middle, 5, "after ring"),
    ]


def _fitting(row: IntervalRow) -> str:
    """Returns the label, cut where it would run into the words at the other end of the line."""
    return formats.cut(row.label, max(8, svg.LONGEST_LABEL - len(row.written)))


def _anchor(x: float, room: float = 60) -> str:
    """Returns on which side of `x` words must stand so that they do not leave the drawing."""
    if x < room:
        return "start"
    return "end" if x > svg.WIDTH - room else "middle"
