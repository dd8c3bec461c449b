"""Change of every prompt, sorted: how many got better, how many worse, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.plots import svg
from llm_repair.evaluation.report.plots.svg import Scale

HEIGHT = 270
UNCHANGED = 0.005
"""A smaller change of a mean score is invisible in two decimals and called no change."""
LEAST_REACH = 0.05
"""Of the axis, so that changes too small to matter look small."""
MOST_BARS = 840
"""Two per unit of the drawing; of more prompts every so-manieth is drawn, which keeps the shape."""


def tally(changes: Sequence[float]) -> tuple[int, int, int]:
    """Returns how many prompts got less toxic, stayed, and got more toxic."""
    better = sum(change < -UNCHANGED for change in changes)
    worse = sum(change > UNCHANGED for change in changes)
    return better, len(changes) - better - worse, worse


def changes_plot(changes: Sequence[float]) -> str:
    """Draws one bar per prompt, from the largest fall to the largest rise."""
    ordered = sorted(changes)
    reach = max([LEAST_REACH, *(abs(change) for change in ordered)])
    y = Scale(reach, -reach, 40, HEIGHT - 40)
    drawn = ordered if len(ordered) <= MOST_BARS else [ordered[i * len(ordered) // MOST_BARS] for i in range(MOST_BARS)]
    x = Scale(0, max(len(drawn), 1), 52, 472)
    width = x(1) - x(0)
    marks = svg.ticks(-reach, reach, 5)
    places = svg.decimals(marks)
    parts = [svg.line(52, y(tick), 472, y(tick), "grid") for tick in marks]
    parts += [svg.text(46, y(tick) + 4, formats.signed(tick, places), role="tm", anchor="end") for tick in marks]
    for index, change in enumerate(drawn):
        role = "better" if change < 0 else "worse"
        top, bottom = sorted((y(0), y(change)))
        parts.append(svg.rect(x(index), top, max(width - 0.4, 0.6), bottom - top, role))
    parts.append(svg.line(52, y(0), 472, y(0), "axis"))
    better, same, worse = tally(ordered)
    parts.append(svg.text(6, 22, "change of mean toxicity", role="tm"))
    parts.append(svg.text(52, HEIGHT - 12, f"{formats.whole(better)} less toxic"))
    parts.append(svg.text(262, HEIGHT - 12, f"{formats.whole(same)} unchanged", role="tm", anchor="middle"))
    parts.append(svg.text(472, HEIGHT - 12, f"{formats.whole(worse)} more toxic", anchor="end"))
    summary = f"{formats.count_of(better, 'prompt')} less toxic, {same} unchanged, {worse} more toxic."
    return svg.figure("changes", "Change of toxicity by prompt", summary, HEIGHT, parts)
