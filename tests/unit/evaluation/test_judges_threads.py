"""Threads that compute alone: one thread to a product in them, and in no other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from llm_repair.evaluation.judges.threads import threads_of_their_own


@pytest.fixture(autouse=True)
def _two_threads_a_product() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def number_of_threads() -> int:
    torch.ones(8, 8) @ torch.ones(8, 8)
    return torch.get_num_threads()


def test_threads_compute_alone_and_all_others_as_before() -> None:
    with threads_of_their_own(3) as alone, ThreadPoolExecutor(1) as started_later:
        found = [alone.submit(number_of_threads).result() for _ in range(6)]

        assert found == [1] * 6
        assert number_of_threads() == 2
        assert started_later.submit(number_of_threads).result() == 2
