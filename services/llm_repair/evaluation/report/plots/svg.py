"""The few SVG shapes the plots are made of. All coordinates are in user units, y downwards."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from llm_repair.evaluation.report import formats

WIDTH = 480
LONGEST_LABEL = 62
"""Characters of 13 px that fit into the width, with a little to spare."""


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to coordinates."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Returns the coordinate of `value`, clipped to the range."""
        share = 0.0 if self.high == self.low else (value - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * min(1.0, max(0.0, share))


def figure(name: str, title: str, description: str, height: float, parts: Iterable[str]) -> str:
    """Returns an SVG image with an accessible title and description; `name` is unique on the page."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-labelledby="{name}-t {name}-d" '
        f'xmlns="http://www.w3.org/2000/svg"><title id="{name}-t">{_escaped(title)}</title>'
        f'<desc id="{name}-d">{_escaped(description)}</desc>{"".join(parts)}</svg>'
    )


def rect(x: float, y: float, width: float, height: float, role: str, *, fill: str = "") -> str:
    """Returns a rectangle; `fill` overrides the colour of the class, for hatching."""
    style = f' style="fill:{fill}"' if fill else ""
    return (
        f'<rect class="{role}" x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0))}" '
        f'height="{_n(max(height, 0))}"{style}/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, role: str) -> str:
    """Returns a straight line."""
    return f'<line class="{role}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def circle(x: float, y: float, radius: float, role: str) -> str:
    """Returns a dot."""
    return f'<circle class="{role}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"/>'


def diamond(x: float, y: float, radius: float, role: str) -> str:
    """Returns a square on its corner, to tell a point from a dot without colour."""
    corners = f"{_n(x)},{_n(y - radius)} {_n(x + radius)},{_n(y)} {_n(x)},{_n(y + radius)} {_n(x - radius)},{_n(y)}"
    return f'<polygon class="{role}" points="{corners}"/>'


def polyline(points: Iterable[tuple[float, float]], role: str) -> str:
    """Returns a line through points."""
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    return f'<polyline class="{role}" points="{path}"/>'


def text(x: float, y: float, content: str, *, role: str = "tx", anchor: str = "start") -> str:
    """Returns a line of text; `anchor` is start, middle or end."""
    shown = _escaped(formats.cut(content, LONGEST_LABEL))
    return f'<text class="{role}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{shown}</text>'


def ticks(low: float, high: float, count: int = 6) -> tuple[float, ...]:
    """Returns round values within [low, high], about `count` of them."""
    if not high > low:
        return (low,)
    raw = (high - low) / count
    power = 10.0 ** _exponent(raw)
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = -(-low // step)
    places = max(0, 2 - _exponent(step))
    values = (round((first + index) * step, places) + 0.0 for index in itertools.count())
    return tuple(itertools.takewhile(lambda value: value <= high + step * 1e-9, values))


def decimals(ticks: Iterable[float]) -> int:
    """Returns how many decimals tell round values such as those of `ticks` apart, at most 6."""
    values = list(ticks)
    exact = (places for places in range(6) if all(abs(round(value, places) - value) < 1e-9 for value in values))
    return next(exact, 6)


def _escaped(content: str) -> str:
    return html.escape(formats.printable(content))


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"
