"""Where the time went: one stacked bar, reused work hatched at what it had cost when it ran."""

from __future__ import annotations

from collections.abc import Sequence

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.plots import svg
from llm_repair.evaluation.report.plots.svg import Scale
from llm_repair.evaluation.report.stages import Stage, StageCost

BAR_TOP, BAR_HEIGHT, LEGEND_TOP, LEGEND_ROW = 26, 44, 104, 26
_HATCH = (
    '<defs><pattern id="hatch-{role}" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect class="{role} faint" width="6" height="6"/>'
    '<rect class="{role}" width="2" height="6"/></pattern></defs>'
)


def bill_plot(costs: Sequence[StageCost]) -> str:
    """Draws the stages of the repair itself; set-up is named in the page, not drawn, as it is paid only once."""
    shown = [cost for cost in costs if cost.stage is not Stage.SET_UP]
    total = sum(cost.wall_s + cost.reused_wall_s for cost in shown) or 1.0
    x = Scale(0, total, 8, 472)
    parts = [_HATCH.format(role=role_of(cost.stage)) for cost in shown if cost.reused_wall_s]
    position = 0.0
    for cost in shown:
        role = role_of(cost.stage)
        for seconds, fill in ((cost.wall_s, ""), (cost.reused_wall_s, f"url(#hatch-{role})")):
            if seconds > 0:
                parts.append(_segment(x, position, seconds, role, fill))
                position += seconds
    parts += [svg.text(8, 16, "0", role="tm"), svg.text(472, 16, formats.duration(total), role="tm", anchor="end")]
    for index, cost in enumerate(shown):
        parts += _legend_row(cost, LEGEND_TOP + LEGEND_ROW * index)
    description = "; ".join(f"{cost.stage.value}: {spent(cost)}" for cost in shown) + "."
    height = LEGEND_TOP + LEGEND_ROW * len(shown)
    return svg.figure("bill", "Time by stage", description, height, parts)


def role_of(stage: Stage) -> str:
    """Returns the CSS class that carries the colour of a stage."""
    return "s-" + stage.value.split(" ", maxsplit=1)[0]


def spent(cost: StageCost) -> str:
    """Returns what a stage cost, and what was reused, in words."""
    if not cost.reused_wall_s:
        return formats.duration(cost.wall_s)
    reused = f"reused, {formats.duration(cost.reused_wall_s)} saved"
    return f"{formats.duration(cost.wall_s)} + {reused}" if cost.wall_s else reused


def _segment(x: Scale, start: float, seconds: float, role: str, fill: str) -> str:
    width = x(start + seconds) - x(start)
    gap = 1.5 if width > 4 else 0
    return svg.rect(x(start), BAR_TOP, width - gap, BAR_HEIGHT, role, fill=fill)


def _legend_row(cost: StageCost, y: float) -> list[str]:
    role = role_of(cost.stage)
    only_reused = bool(cost.reused_wall_s) and not cost.wall_s
    return [
        svg.rect(8, y - 11, 14, 14, role, fill=f"url(#hatch-{role})" if only_reused else ""),
        svg.text(32, y + 1, cost.stage.value.capitalize()),
        svg.text(472, y + 1, spent(cost), anchor="end"),
    ]
