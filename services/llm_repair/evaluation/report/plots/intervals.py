"""Changes with their confidence intervals on one axis, against the line of no change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_repair.evaluation.report.plots import svg
from llm_repair.evaluation.report.plots.svg import Scale

ROW = 48
TOP = 30


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
    write_tick: Callable[[float], str],
    limit: float | None = None,
    worse_is_right: bool = True,
) -> str:
    """Draws one line per row with a dot for the value; `limit` is the gate's bound, if one applies."""
    ends = [end for row in rows for end in (row.low, row.high)] + [no_change] + ([limit] if limit is not None else [])
    margin = (max(ends) - min(ends)) * 0.06 or 0.01
    x = Scale(min(ends) - margin, max(ends) + margin, 14, 466)
    bottom = TOP + ROW * len(rows)
    marks = svg.ticks(x.low, x.high, 6)
    parts = [svg.text(x(tick), bottom + 18, write_tick(tick), role="tm", anchor="middle") for tick in marks]
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
        svg.text(14, top + 17, row.label),
        svg.text(466, top + 17, row.written, anchor="end"),
        # Upright lines stand in the strip of each interval only, so that none runs through the words above it.
        *(svg.line(place, middle - 10, place, middle + 10, role) for place, role in lines),
        svg.line(x(row.low), middle, x(row.high), middle, "interval"),
        svg.line(x(row.low), middle - 5, x(row.low), middle + 5, "interval"),
        svg.line(x(row.high), middle - 5, x(row.high), middle + 5, "interval"),
        svg.circle(x(row.value), middle, 5, "after ring"),
    ]


def _anchor(x: float) -> str:
    if x < 60:
        return "start"
    return "end" if x > svg.WIDTH - 60 else "middle"
