"""Benchmarks that others can read: every line has the same columns, and contenders take turns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from benchmarks import COLUMNS, quick_run

SELECTION_CASES = (
    *("k_center", "saps", "clustering", "ccs", "random"),
    *("embedding.fp32", "embedding.bf16", "gradients.gpt2", "gradients.llama"),
)


@pytest.fixture(scope="module")
def quick_selection() -> list[dict[str, Any]]:
    """The lines of a quick run, under forced kernels as a wrong environment would set them."""
    return quick_run("selection", OPENBLAS_CORETYPE="Prescott")


def test_the_first_line_describes_the_machine_and_the_kernels_it_chose_itself(
    quick_selection: list[dict[str, Any]],
) -> None:
    machine = quick_selection[0]

    assert machine["bench"] == "machine"
    assert machine["threads"] == 1
    assert all(machine[limit] > 0 for limit in ("sgemm_gflops", "bf16_gflops", "read_gb_s"))
    assert machine["kernels"]
    assert not [kernel for kernel in machine["kernels"] if "Prescott" in kernel]


def test_every_other_line_has_exactly_the_columns(quick_selection: list[dict[str, Any]]) -> None:
    lines = quick_selection[1:]

    assert {line["bench"] for line in lines} == {f"selection.{case}" for case in SELECTION_CASES}
    assert all(set(line) == COLUMNS for line in lines)
    assert all(line["seconds"] > 0 and line["ratio_to_ours"] > 0 for line in lines if not _is_absent(line))


def test_a_contender_that_does_not_take_part_has_a_line_that_says_so(quick_selection: list[dict[str, Any]]) -> None:
    absent = [line for line in quick_selection[1:] if _is_absent(line)]

    assert "UMAP + HDBSCAN" in {line["contender"].partition(":")[0] for line in absent}
    assert all(line["seconds"] is line["ratio_to_ours"] is None for line in absent)


def test_our_own_lines_have_ratio_one_a_limit_and_a_value_that_agrees(quick_selection: list[dict[str, Any]]) -> None:
    ours = [line for line in quick_selection if line["contender"] == "ours"]

    assert [line["ratio_to_ours"] for line in ours] == [1.0] * len(SELECTION_CASES)
    assert all(line["limit_share"] > 0 for line in ours)
    assert [line["value_agrees"] for line in ours] == [True] * len(SELECTION_CASES)


def test_contenders_take_turns_and_ratios_are_medians_within_rounds() -> None:
    from bench.measure import interleaved

    # Ours and theirs in turn, the second round disturbed: ratios 3, 2 and 4; the ratio of the medians would be 4.
    times = [1.0, 3.0, 10.0, 20.0, 2.0, 8.0]
    clock = _ticks(times)
    calls: list[str] = []

    timings = interleaved(
        {name: lambda name=name: calls.append(name) for name in ("ours", "theirs")}, rounds=3, clock=lambda: next(clock)
    )

    assert calls == ["ours", "theirs"] * 4
    assert all(one != other for one, other in pairwise(calls))
    assert timings.ratio("theirs", "ours") == 3.0
    assert timings.median_s("theirs") == 8.0


def _is_absent(line: dict[str, Any]) -> bool:
    return line["contender"].endswith(("LEFT OUT", "NOT INSTALLED"))


def _ticks(durations: list[float]) -> Iterator[float]:
    """Yields start and end of each duration."""
    for number, duration in enumerate(durations):
        yield 100.0 * number
        yield 100.0 * number + duration
