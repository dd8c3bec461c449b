from __future__ import annotations

import io

import pytest
from rich.console import Console

from llm_repair.cli.progress import Board
from llm_repair.v1 import coordinator_pb2 as pb
from llm_repair.v1 import execution_pb2, types_pb2


def _shown(board: Board) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=120)
    console.print(board.render())
    return [line.strip() for line in console.file.getvalue().splitlines()]


def _changed(name: str, state: pb.StepState, **fields) -> pb.RepairEvent:
    return pb.RepairEvent(step_changed=pb.StepChanged(step=pb.Step(name=name, state=state, **fields)))


@pytest.fixture
def board() -> Board:
    steps = [pb.Step(name=name) for name in ("import.model", "build_pool", "repair")]
    return Board(pb.Repair(name="projects/default/repairs/a1", steps=steps))


def test_steps_stand_in_their_order_and_wait(board):
    assert [line.split() for line in _shown(board)] == [
        ["·", "import.model", "waiting"],
        ["·", "build_pool", "waiting"],
        ["·", "repair", "waiting"],
    ]


def test_a_done_step_shows_its_seconds_and_a_reused_one_that_it_cost_nothing(board):
    board.apply(_changed("import.model", pb.STEP_STATE_COMMITTED, reused=True))
    board.apply(_changed("build_pool", pb.STEP_STATE_COMMITTED, usage=types_pb2.Usage(wall_s=75.2)))

    lines = _shown(board)

    assert lines[0].split() == ["↺", "import.model", "reused"]
    assert lines[1].split() == ["✓", "build_pool", "1", "min", "15", "s"]


def test_a_running_step_shows_how_far_it_is_and_the_time_left(board):
    board.apply(_changed("build_pool", pb.STEP_STATE_RUNNING))
    progress = execution_pb2.ExecutionProgress(done=30, total=120, unit="prompts", eta_s=90)
    board.apply(pb.StepProgress(step="build_pool", progress=progress))

    line = _shown(board)[1]

    assert "30/120 prompts · 1 min 30 s left" in line
    assert "━" in line


def test_a_training_step_shows_what_it_watches_after_the_time_left(board):
    board.apply(_changed("repair", pb.STEP_STATE_RUNNING))
    measures = {"tokens_per_s": 412.3, "loss": 0.6123, "learning_rate": 3e-5, "block": 4}
    progress = execution_pb2.ExecutionProgress(done=3, total=12, unit="steps", eta_s=9, measures=measures)
    board.apply(pb.StepProgress(step="repair", progress=progress))

    assert _shown(board)[2].endswith("3/12 steps · 9.0 s left · loss 0.612 · rate 3e-05 · tokens/s 412")


def test_the_clock_of_a_step_that_ran_before_the_watch_began_counts_from_its_start(board, monkeypatch):
    monkeypatch.setattr("llm_repair.cli.progress.time.time", lambda: 1000.0)
    event = _changed("repair", pb.STEP_STATE_RUNNING)
    event.step_changed.step.start_time.FromSeconds(700)

    board.apply(event)

    assert "5 min 00 s" in _shown(board)[2]


def test_a_step_that_the_first_answer_did_not_know_is_added(board):
    assert board.apply(_changed("report", pb.STEP_STATE_RUNNING)) == "report running"
    assert len(_shown(board)) == 4


def test_a_note_is_a_line_with_its_phrase_only(board):
    note = execution_pb2.ExecutionNote(phrase="resumed from checkpoint", fields_json='{"text": "never shown"}')

    assert board.apply(pb.RepairEvent(step_noted=pb.StepNoted(step="repair", note=note))) == (
        "repair: resumed from checkpoint"
    )


def test_progress_alone_is_no_line(board):
    assert board.apply(pb.StepProgress(step="repair")) == ""


def test_a_plan_that_comes_late_puts_known_steps_into_its_order_and_keeps_what_they_show(board):
    board.apply(_changed("repair", pb.STEP_STATE_RUNNING))
    steps = [pb.Step(name=name) for name in ("select", "repair", "report")]

    board.learn(pb.Repair(steps=steps))

    assert [line.split()[1] for line in _shown(board)] == ["select", "repair", "report", "import.model", "build_pool"]
    assert "━" in _shown(board)[1]
