"""Training and validation loss by optimizer step."""

from __future__ import annotations

from collections.abc import Sequence

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.plots import svg
from llm_repair.evaluation.report.plots.svg import Scale

HEIGHT = 270
Points = Sequence[tuple[float, float]]


def training_plot(training: Points, validation: Points) -> str:
    """Draws (step, loss) of training as a line and of validation as diamonds on a dashed line."""
    losses = [loss for _, loss in (*training, *validation)]
    last_step = max(step for step, _ in (*training, *validation))
    margin = (max(losses) - min(losses)) * 0.08 or 0.05
    x = Scale(0, max(last_step, 1), 52, 466)
    y = Scale(min(losses) - margin, max(losses) + margin, HEIGHT - 46, 40)
    marks, steps = svg.ticks(y.low, y.high, 6), [tick for tick in svg.ticks(0, x.high, 5) if tick == int(tick)]
    parts = [svg.line(52, y(tick), 466, y(tick), "grid") for tick in marks]
    parts += [svg.text(46, y(tick) + 4, formats.decimal(tick, 2), role="tm", anchor="end") for tick in marks]
    parts += [svg.text(x(tick), HEIGHT - 28, formats.whole(tick), role="tm", anchor="middle") for tick in steps]
    parts.append(svg.line(52, HEIGHT - 46, 466, HEIGHT - 46, "axis"))
    parts.append(svg.polyline([(x(step), y(loss)) for step, loss in training], "curve"))
    parts.append(svg.polyline([(x(step), y(loss)) for step, loss in validation], "curve dashed"))
    parts += [svg.diamond(x(step), y(loss), 5, "chosen") for step, loss in validation]
    parts += [
        svg.text(6, 22, "loss", role="tm"),
        svg.line(250, 18, 272, 18, "curve"),
        svg.text(278, 22, "training"),
        svg.diamond(368, 18, 5, "chosen"),
        svg.text(379, 22, "validation"),
        svg.text(258, HEIGHT - 8, "optimizer step", role="tm", anchor="middle"),
    ]
    ends = [f"training loss from {formats.decimal(training[0][1], 3)} to {formats.decimal(training[-1][1], 3)}"]
    ends += [f"lowest validation loss {formats.decimal(min(loss for _, loss in validation), 3)}"] if validation else []
    return svg.figure("training", "Loss during the repair", "; ".join(ends) + ".", HEIGHT, parts)
