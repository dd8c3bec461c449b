"""Threads: heavy work runs on one thread a shard, so that its bits do not depend on how many there are."""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# threadpoolctl is untyped.

from __future__ import annotations

import contextlib
import functools

import threadpoolctl


def one_blas_thread() -> contextlib.AbstractContextManager[object]:
    """Keeps NumPy's matrix products to one thread while it lasts.

    How a product is split over threads would show in its last bits. And on busy cores the threads wait for each other:
    with two on two such cores the small products of K_CENTER took more than ten times as long.
    """
    return _controller().limit(limits=1, user_api="blas")


@functools.cache
def _controller() -> threadpoolctl.ThreadpoolController:
    # Finding the libraries takes milliseconds, and NumPy's is there from the start.
    return threadpoolctl.ThreadpoolController()
