# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# threadpoolctl is untyped.
"""Threads that work on a part each.

At the end of a product none waits for another. On busy cores that is most of the time: with two threads to a product on
two such cores a BERT took 2.3 times as long, and as much processor time.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import threadpoolctl
import torch


def threads_of_their_own(threads: int) -> ThreadPoolExecutor:
    """Returns a pool of which each thread computes products by itself; nothing changes for any other thread.

    So how many there are shows in no bit of a result. Where a product is the MKL's, as in forwards that are not packed,
    it still takes as many threads as the process has set.
    """
    return ThreadPoolExecutor(threads, thread_name_prefix="judge", initializer=_compute_alone)


def _compute_alone() -> None:
    # torch sets a thread's number when the thread first asks for it, and would undo what follows. Its own setter is for
    # the whole process: threads that start later, such as an engine's, would get what is set here.
    torch.get_num_threads()
    _controller().limit(limits=1, user_api="openmp")


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
    # Finding the libraries takes milliseconds.
    return threadpoolctl.ThreadpoolController()
