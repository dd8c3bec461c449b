# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# threadpoolctl is untyped.
"""Threads that compute on a part each, so that at the end of a product none waits for another.

With several threads to a product, every product ends when the slowest of them does; on busy cores that is most of the
time. And what a part's result is then depends in no bit on how many threads there are.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final, TypeVar

import threadpoolctl
import torch

_LOOK_S: Final = 0.25
"""Between two calls of `beat` while a part is waited for."""

T = TypeVar("T")


def in_threads(
    work: Iterable[Callable[[], T]], threads: int, *, ahead: int | None = None, beat: Callable[[], None]
) -> Generator[T]:
    """Yields what the calls return, in their order, made in so many threads of which each computes by itself.

    Args:
      work: calls that do not hold the interpreter's lock for long.
      threads: at least 1.
      ahead: calls that are begun before the oldest result has been taken, at least as many as threads; all if None.
      beat: called now and then by the calling thread; may raise in order to stop, which ends once the calls that are
        under way have returned.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="part", initializer=compute_alone)
    calls = iter(work)
    begun = deque(pool.submit(call) for call in itertools.islice(calls, ahead))
    try:
        while begun:
            yield _awaited(begun.popleft(), beat)
            begun.extend(pool.submit(call) for call in itertools.islice(calls, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def in_turn(work: Iterable[Callable[[], T]], *, beat: Callable[[], None]) -> Iterator[T]:
    """Yields what the calls return, made by the calling thread; `beat` is called before each."""
    for call in work:
        beat()
        yield call()


def _awaited(future: Future[T], beat: Callable[[], None]) -> T:
    while not future.done():
        beat()
        wait([future], timeout=_LOOK_S)
    return future.result()


def compute_alone() -> None:
    """Lets products of the calling thread be computed by it alone; changes nothing for any other thread."""
    # torch sets a thread's number when the thread first asks for it, and would undo what follows. Its own setter is for
    # the whole process.
    torch.get_num_threads()
    _controller().limit(limits=1, user_api="openmp")
    if (library := _torch_library()) is not None:
        library.MKL_Set_Num_Threads_Local(1)


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
    # Finding the libraries takes milliseconds.
    return threadpoolctl.ThreadpoolController()


@functools.cache
def _torch_library() -> ctypes.CDLL | None:
    """Returns torch's library if it has MKL in it, which goes by a number of its own; None where it has none."""
    for name in ("libtorch_cpu.so", "torch_cpu.dll"):
        path = Path(torch.__file__).parent / "lib" / name
        if path.is_file():
            library = ctypes.CDLL(str(path))
            return library if hasattr(library, "MKL_Set_Num_Threads_Local") else None
    return None
