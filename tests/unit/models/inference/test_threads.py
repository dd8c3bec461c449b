"""Threads that compute on a part each."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llm_repair.models.inference.threads import compute_alone, in_threads, in_turn


def test_results_come_in_the_order_of_the_calls() -> None:
    """The first call waits for the second."""
    second_done = threading.Event()

    def first() -> int:
        assert second_done.wait(timeout=10)
        return 1

    def second() -> int:
        second_done.set()
        return 2

    assert list(in_threads([first, second], 2, beat=lambda: None)) == [1, 2]


def test_what_a_call_raises_is_raised_and_calls_that_wait_are_forgotten() -> None:
    """The second call is under way when the first one's error arrives, and holds the only thread meanwhile."""
    called: list[int] = []
    never = threading.Event()

    def call(number: int) -> None:
        called.append(number)
        if number == 0:
            raise ValueError("call 0")
        never.wait(timeout=2)

    with pytest.raises(ValueError, match="call 0"):
        list(in_threads([functools.partial(call, number) for number in range(50)], 1, beat=lambda: None))
    assert called in ([0], [0, 1])


def test_a_beat_that_raises_stops_the_work() -> None:
    release = threading.Event()

    def beat() -> None:
        release.set()
        raise KeyError

    with pytest.raises(KeyError):
        list(in_threads([lambda: release.wait(timeout=10)] * 3, 1, beat=beat))


@pytest.mark.parametrize("run", [in_turn, functools.partial(in_threads, threads=2)])
def test_no_work_is_done_at_once(run: Callable[..., object]) -> None:
    assert list(run([], beat=lambda: None)) == []  # type: ignore[call-overload]


def mkl_threads() -> int:
    """Returns how many threads MKL would take to a product of this thread; 1 where torch has no MKL in it."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    ask = getattr(ctypes.CDLL(str(path)), "MKL_Get_Max_Threads", None) if path.is_file() else None
    return ask() if ask else 1


def test_a_thread_computes_by_itself_and_others_go_on_as_before() -> None:
    seen: list[tuple[int, int]] = []

    def alone() -> None:
        compute_alone()
        seen.append((torch.get_num_threads(), mkl_threads()))

    before = (torch.get_num_threads(), mkl_threads())
    thread = threading.Thread(target=alone)
    thread.start()
    thread.join()

    assert seen == [(1, 1)]
    assert (torch.get_num_threads(), mkl_threads()) == before
