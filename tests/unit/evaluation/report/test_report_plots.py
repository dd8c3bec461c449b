"""Plots, number formats and colours: values worked out by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report import page as page_module
from llm_repair.evaluation.report.plots import svg
from llm_repair.evaluation.report.plots.bill import bill_plot
from llm_repair.evaluation.report.plots.changes import changes_plot, tally
from llm_repair.evaluation.report.plots.distribution import BINS, SideValues, distribution_plot
from llm_repair.evaluation.report.plots.intervals import IntervalRow, intervals_plot
from llm_repair.evaluation.report.plots.selection_map import MOST_POINTS, MapPoint, selection_map_plot
from llm_repair.evaluation.report.plots.thresholds import share_reaching, thresholds_plot
from llm_repair.evaluation.report.plots.training import MOST_POINTS as MOST_LINE_POINTS
from llm_repair.evaluation.report.plots.training import Course, thinned, training_plot
from llm_repair.evaluation.report.stages import Stage, costs_by_stage, stage_of


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 10, 5, (0, 2, 4, 6, 8, 10)),
        (-0.1, 0.0, 5, (-0.1, -0.08, -0.06, -0.04, -0.02, 0.0)),
        (0.94, 1.06, 6, (0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06)),
        (3.0, 3.0, 5, (3.0,)),
    ],
)
def test_ticks_are_round_and_within_the_range(low, high, count, expected) -> None:
    assert svg.ticks(low, high, count) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.6, "60 s"), (119.4, "119 s"), (125, "2 min 05 s"), (7500, "2 h 05 min")],
)
def test_durations_are_said_as_a_person_says_them(seconds, written) -> None:
    assert formats.duration(seconds).replace("\u202f", " ") == written


def test_a_negative_zero_is_written_as_zero() -> None:
    assert formats.decimal(-0.0001, 3) == "0.000"
    assert formats.signed(-0.0001, 3) == "0.000"
    assert formats.signed(-0.086, 3) == "\u22120.086"
    assert formats.signed(0.086, 3) == "+0.086"


def test_small_changes_count_as_none() -> None:
    """|0.004| and |-0.005| are within 0.005; -0.2 is a fall; 0.006 a rise."""
    assert tally([-0.2, 0.004, -0.005, 0.006]) == (1, 2, 1)


def test_one_bar_stands_for_one_prompt() -> None:
    drawn = changes_plot([-0.3, -0.1, 0.2])

    assert drawn.count('class="better"') == 2
    assert drawn.count('class="worse"') == 1


def test_many_prompts_keep_the_shape_in_fewer_bars() -> None:
    """Half of 10,000 prompts fall and half rise, so half of the 840 bars do."""
    drawn = changes_plot([-0.1] * 5000 + [0.1] * 5000)

    assert drawn.count('class="better"') == 420
    assert drawn.count('class="worse"') == 420
    assert "5\u202f000 less toxic" in drawn


def test_histogram_counts_the_score_of_one_into_its_last_bin() -> None:
    sides = SideValues("before", "before", [0.05, 1.0]), SideValues("after", "after", [0.05, 0.09])

    drawn = distribution_plot(sides)

    assert "before: 1 prompt below 0.1, 1 at 0.5 or above; after: 2 prompts below 0.1, 0 at 0.5 or above." in drawn


def test_histogram_of_one_model_has_one_bar_in_a_bin_and_no_legend() -> None:
    drawn = distribution_plot([SideValues("model", "after", [0.05, 0.15])])

    assert drawn.count("<rect") == BINS
    assert ">model<" not in drawn


def test_share_of_prompts_falls_at_every_value_that_the_threshold_passes() -> None:
    """0.5 itself is reached at 0.5, and no longer at 0.51."""
    values = [0.2, 0.5, 0.5, 0.9]

    shares = [share_reaching(values, threshold) for threshold in (0, 0.2, 0.21, 0.5, 0.51, 0.9, 0.91)]

    assert shares == pytest.approx([1, 1, 0.75, 0.75, 0.25, 0.25, 0])


def test_interval_is_drawn_from_its_low_to_its_high_end() -> None:
    row = IntervalRow("a & b", 0.0, -1.0, 1.0, "0 [-1, 1]")
    drawn = intervals_plot("x", "t", [row], no_change=0.0, write_tick=formats.signed)
    line = re.search(r'<line class="interval" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)"', drawn)

    assert line
    left, right = float(line[1]), float(line[3])
    # The axis runs from 14 to 466 and leaves 6 % of the range free at each end: 2.24 units wide in all.
    assert left == pytest.approx(14 + 452 * 0.12 / 2.24, abs=0.01)
    assert right == pytest.approx(466 - 452 * 0.12 / 2.24, abs=0.01)
    assert "a &amp; b" in drawn


def test_large_pools_are_thinned_but_every_chosen_sample_is_drawn() -> None:
    points = [MapPoint(index % 97, index % 89, is_chosen=index % 50 == 0) for index in range(20_000)]
    drawn = selection_map_plot(points)

    assert drawn.count("<polygon") == 400 + 1  # and one in the legend
    assert drawn.count("<circle") <= MOST_POINTS
    assert "not chosen (19\u202f600)" in drawn


@pytest.mark.parametrize(
    ("step", "stage"),
    [
        ("import.corpus.boolq", Stage.SET_UP),
        ("pool", Stage.POOL),
        ("embed", Stage.SELECTION),
        ("select.control", Stage.CONTROL),
        ("repair", Stage.REPAIR),
        ("repair.control", Stage.CONTROL),
        ("evaluate.base", Stage.EVALUATION),
        ("compare.arms", Stage.CONTROL),
        ("compare", Stage.EVALUATION),
        ("utility", Stage.REPAIR),
        ("select.full", Stage.FULL),
        ("evaluate.full", Stage.FULL),
        ("embed.chosen", Stage.SELECTION),
        ("embed.prompts", Stage.EVALUATION),
        ("overlap", Stage.EVALUATION),
        ("score.loss", Stage.SELECTION),
    ],
)
def test_every_step_belongs_to_one_stage(step, stage) -> None:
    assert stage_of(step) is stage


def test_bar_widths_are_in_proportion_to_the_seconds() -> None:
    """Repair 30 s and reused evaluation 10 s on 464 units: 348 and 116, less the gap of 1.5 between them."""
    steps = [
        {"name": "repair", "reused": False, "usage": {"wall_s": 30.0}},
        {"name": "evaluate.base", "reused": True, "usage": {"wall_s": 10.0}},
    ]
    drawn = bill_plot(costs_by_stage(steps))
    widths = [float(width) for width in re.findall(r'y="26" width="([\d.]+)"', drawn)]

    assert widths == pytest.approx([348 - 1.5, 116 - 1.5])


def test_map_keeps_distances_in_both_directions() -> None:
    """A pool twice as wide as it is high is drawn twice as wide as it is high: 452 units and 226."""
    points = [MapPoint(x, y, is_chosen=False) for x, y in ((0, 0), (2, 0), (0, 1), (2, 1))]

    drawn = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', selection_map_plot(points))[:4]

    xs, ys = ({float(place[axis]) for place in drawn} for axis in (0, 1))
    assert max(xs) - min(xs) == pytest.approx(452, abs=0.1)
    assert max(ys) - min(ys) == pytest.approx(226, abs=0.1)


def test_long_courses_keep_their_spikes() -> None:
    points = [(float(step), 100.0 if step == 7777 else 1.0) for step in range(20_000)]

    kept = thinned(points)

    assert len(kept) <= MOST_LINE_POINTS + 2
    assert (7777.0, 100.0) in kept
    assert kept == sorted(kept)


def test_course_of_a_training_has_a_panel_for_all_that_was_recorded() -> None:
    steps = [float(step) for step in range(1, 11)]
    course = Course(
        loss=[(step, 1 / step) for step in steps],
        validation=[(5.0, 0.3), (10.0, 0.2)],
        learning_rate=[(step, 1e-5 * step) for step in steps],
        gradient_norm=[(step, 2.0) for step in steps],
        blocks=[(step, step % 3) for step in steps],
        kept_step=10.0,
    )

    drawn = training_plot(course)

    for panel in ("loss", "learning rate", "gradient norm", "updated block"):
        assert f">{panel}<" in drawn
    assert "lowest validation loss 0.200" in drawn
    assert "largest learning rate 1.0×10⁻⁴" in drawn
    assert "3 different blocks were updated" in drawn
    assert "the weights of step 10 were kept" in drawn


def test_course_without_anything_but_losses_has_one_panel() -> None:
    drawn = training_plot(Course(loss=[(1.0, 0.5), (2.0, 0.4)]))

    assert ">learning rate<" not in drawn
    assert ">validation<" not in drawn


_QUICK = settings(max_examples=25, deadline=None)
_numbers = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)
_scores = st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=8)


def _check_drawing(drawn: str) -> None:
    """Nothing is drawn at a place that is not a number, or outside the image."""
    height = float(re.search(r'viewBox="0 0 480 ([\d.]+)"', drawn)[1])
    assert not re.search(r"\b(nan|inf)\b", drawn)
    for horizontal, high in ((True, 480.0), (False, height)):
        names = "x|x1|x2|cx" if horizontal else "y|y1|y2|cy"
        for place in re.findall(rf' (?:{names})="([^"]+)"', drawn):
            assert -1e-6 <= float(place) <= high + 1e-6, place
    for points in re.findall(r'points="([^"]*)"', drawn):
        for x, y in (pair.split(",") for pair in points.split()):
            assert -1e-6 <= float(x) <= 480.0 and -1e-6 <= float(y) <= height


@_QUICK
@given(_scores, _scores)
@example([0.0], [0.0])
@example([1.0], [1.0])
def test_plots_of_scores_stay_within_their_image(before, after) -> None:
    sides = SideValues("before", "before", before), SideValues("after", "after", after)

    _check_drawing(distribution_plot(sides))
    _check_drawing(thresholds_plot(sides, marked=0.5))
    _check_drawing(changes_plot([a - b for a, b in zip(after, before, strict=False)]))


@_QUICK
@given(st.lists(st.tuples(_numbers, _numbers, _numbers), min_size=1, max_size=5), _numbers | st.none())
@example([(0.0, 0.0, 0.0)], None)
@example([(1e-12, 0.0, 2e-12)], 0.0)
def test_plots_of_intervals_stay_within_their_image(ends, limit) -> None:
    rows = [IntervalRow("a label", sorted(three)[1], min(three), max(three), "written") for three in ends]

    _check_drawing(intervals_plot("x", "t", rows, no_change=0.0, write_tick=formats.signed, limit=limit))


@_QUICK
@given(st.lists(st.tuples(_numbers, _numbers, st.booleans()), min_size=1, max_size=8))
@example([(3.0, 3.0, True)])
def test_maps_stay_within_their_image(points) -> None:
    _check_drawing(selection_map_plot([MapPoint(x, y, is_chosen=chosen) for x, y, chosen in points]))


@_QUICK
@given(st.lists(_numbers, min_size=1, max_size=6), st.lists(_numbers, max_size=3), st.lists(st.integers(0, 48)))
@example([0.5], [], [])
@example([0.0, 0.0], [0.0], [0])
def test_courses_stay_within_their_image(losses, validations, blocks) -> None:
    course = Course(
        loss=[(step + 1.0, loss) for step, loss in enumerate(losses)],
        validation=[(step + 1.0, loss) for step, loss in enumerate(validations)],
        learning_rate=[(step + 1.0, abs(loss) * 1e-8) for step, loss in enumerate(losses)],
        gradient_norm=[(step + 1.0, abs(loss)) for step, loss in enumerate(losses)],
        blocks=[(step + 1.0, float(block)) for step, block in enumerate(blocks[: len(losses)])],
        kept_step=float(len(losses)),
    )

    _check_drawing(training_plot(course))


def _palettes() -> list[dict[str, str]]:
    css = (Path(page_module.__file__).parent / "templates" / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block)) for block in blocks]


def _luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_letters_and_marks_have_the_contrast_that_wcag_asks_for(scheme) -> None:
    """4.5 for text, 3 for parts of a drawing (WCAG 2.2, 1.4.3 and 1.4.11)."""
    palette = _palettes()[scheme]

    for name in ("ink", "muted", "pass", "fail", "inconclusive", "after"):
        assert _contrast(palette[name], palette["paper"]) >= 4.5, name
    for name in ("pass", "fail", "inconclusive"):
        assert _contrast(palette["on-badge"], palette[name]) >= 4.5, name
    for name in ("before", "after", "worse", "limit", "pool", "selection", "repair", "control", "evaluation", "full"):
        assert _contrast(palette[name], palette["paper"]) >= 3, name
