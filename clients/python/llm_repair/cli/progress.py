"""A repair's steps on a terminal: one line each with a bar and the time left, or plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from llm_repair.cli import words
from llm_repair.client import RepairHandle, Update
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import execution_pb2

_BAR_WIDTH: Final = 28
_REFRESHES_PER_SECOND: Final = 8
_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MEASURES: Final = {
    "loss": "loss",
    "validation_loss": "validation",
    "learning_rate": "rate",
    "gradient_norm": "gradient",
    "tokens_per_s": "tokens/s",
}
"""What is shown of a training run, and how it is called there; other measures are for programs."""


@dataclass
class StepLine:
    """What is known of one step."""

    step: pb.Step
    progress: execution_pb2.ExecutionProgress = field(default_factory=execution_pb2.ExecutionProgress)
    seen_running_at: float = 0.0

    @property
    def state(self) -> str:
        """One word: waiting, running, reused, done, failed or cancelled."""
        if self.step.state == pb.STEP_STATE_COMMITTED:
            return "reused" if self.step.reused else "done"
        name = pb.StepState.Name(self.step.state).removeprefix("STEP_STATE_")
        return "waiting" if self.step.state == pb.STEP_STATE_UNSPECIFIED else name.lower()

    @property
    def seconds(self) -> float:
        """How long this repair has waited or did wait for the step."""
        if self.step.state == pb.STEP_STATE_RUNNING:
            # The server's start, for a watch that began late; by its clock, hence never less than what was seen.
            seen_s = time.monotonic() - self.seen_running_at
            started_s = self.step.start_time.ToNanoseconds() / 1e9 if self.step.HasField("start_time") else time.time()
            return max(seen_s, time.time() - started_s)
        if self.step.HasField("start_time") and self.step.HasField("end_time"):
            return self.step.end_time.ToNanoseconds() / 1e9 - self.step.start_time.ToNanoseconds() / 1e9
        return self.step.usage.wall_s


class Board:
    """All steps of a repair in order, brought up to date by the updates of a watch."""

    def __init__(self, repair: pb.Repair) -> None:
        """Begins with every step waiting; the replay of the watch tells the rest."""
        self.name = repair.name
        self.goal = words.goal(repair.spec.goal)
        self.repair_state = repair.state
        self.lines: dict[str, StepLine] = {}
        self.learn(repair)

    def learn(self, repair: pb.Repair) -> None:
        """Takes the names and the order of all steps; a repair that has just been accepted has no plan yet."""
        planned = {step.name: self.lines.get(step.name, StepLine(pb.Step(name=step.name))) for step in repair.steps}
        self.lines = {**planned, **self.lines}

    def apply(self, update: Update) -> str:
        """Takes an update and returns a line to say about it; empty for mere progress."""
        if isinstance(update, pb.StepProgress):
            self._line(update.step).progress.CopyFrom(update.progress)
            return ""
        match update.WhichOneof("event"):
            case "step_changed":
                return self._step_changed(update.step_changed.step)
            case "step_noted":
                return f"{words.plain(update.step_noted.step)}: {words.plain(update.step_noted.note.phrase)}"
            case "state_changed":
                self.repair_state = update.state_changed.state
                return f"{self.goal} {words.repair_state(self.repair_state)}"
            case _:
                return ""

    def render(self) -> RenderableType:
        """Returns one row for each step."""
        table = Table.grid(padding=(0, 1))
        for line in self.lines.values():
            table.add_row(*_cells(line))
        return table

    def _step_changed(self, step: pb.Step) -> str:
        line = self._line(step.name)
        if step.state == pb.STEP_STATE_RUNNING and line.step.state != pb.STEP_STATE_RUNNING:
            line.seen_running_at = time.monotonic()
        line.step = step
        seconds = f" {words.duration(line.seconds)}" if line.state in ("done", "failed", "cancelled") else ""
        return f"{words.plain(step.name)} {line.state}{seconds}"

    def _line(self, name: str) -> StepLine:
        return self.lines.setdefault(name, StepLine(pb.Step(name=name)))


async def follow(handle: RepairHandle, console: Console) -> pb.Repair:
    """Shows a repair's steps until it ends, and returns it; cancelling this never cancels the repair."""
    board = Board(await handle.get())
    screen = Live(get_renderable=board.render, console=console, refresh_per_second=_REFRESHES_PER_SECOND)
    async with contextlib.aclosing(handle.watch()) as updates:
        with screen if console.is_terminal else contextlib.nullcontext():
            async for update in updates:
                line = board.apply(update)
                if _changes_state(update):
                    board.learn(await handle.get())
                if line and (not console.is_terminal or _is_off_board(update)):
                    console.print(Text(line), soft_wrap=True)
    return await handle.get()


def _changes_state(update: Update) -> bool:
    return isinstance(update, pb.RepairEvent) and update.WhichOneof("event") == "state_changed"


def _is_off_board(update: Update) -> bool:
    """Whether no row of the board shows an update: a remark, or a repair that is paused."""
    if not isinstance(update, pb.RepairEvent):
        return False
    return update.WhichOneof("event") == "step_noted" or update.state_changed.state == pb.REPAIR_STATE_PAUSED


def _cells(line: StepLine) -> tuple[RenderableType, ...]:
    name = Text(words.plain(line.step.name), no_wrap=True)
    match line.state:
        case "running":
            progress = line.progress
            total = progress.total or None
            bar = ProgressBar(total=total, completed=progress.done, width=_BAR_WIDTH, pulse=total is None)
            return _spinner(), name, bar, Text(_running_text(line), no_wrap=True)
        case "done":
            return Text("✓", "green"), name, Text(""), Text(words.duration(line.seconds), "dim")
        case "reused":
            return Text("↺", "cyan"), name, Text(""), Text("reused", "cyan")
        case "failed" | "cancelled":
            return Text("✗", "red"), name, Text(""), Text(line.state, "red")
        case _:
            return Text("·", "dim"), name, Text(""), Text("waiting", "dim")


def _running_text(line: StepLine) -> str:
    progress = line.progress
    parts = [words.duration(line.seconds)]
    if progress.total:
        parts.append(f"{progress.done:g}/{progress.total:g} {words.plain(progress.unit)}")
    if progress.stage:
        parts.append(words.plain(progress.stage))
    if progress.HasField("eta_s"):
        parts.append(f"{words.duration(progress.eta_s)} left")
    # Last, since a narrow terminal cuts them off.
    parts += [
        f"{label} {progress.measures[name]:.3g}" for name, label in _MEASURES.items() if name in progress.measures
    ]
    return " · ".join(parts)


def _spinner() -> Text:
    return Text(_SPINNER[int(time.monotonic() * _REFRESHES_PER_SECOND) % len(_SPINNER)])
