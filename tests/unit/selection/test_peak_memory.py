"""Peak memory against an allocation of known size."""

from pathlib import Path

import numpy as np
import pytest

from llm_repair.selection.peak_memory import PeakMemory

MEGABYTE = 2**20


def test_memory_that_was_given_back_still_counts_and_what_was_before_does_not() -> None:
    np.ones(300 * MEGABYTE, dtype=np.uint8)
    memory = PeakMemory()
    before = memory.read()
    np.ones(100 * MEGABYTE, dtype=np.uint8)

    after = memory.read()

    assert before is not None
    assert after is not None
    assert 95 * MEGABYTE < after - before < 250 * MEGABYTE


def test_where_the_kernel_cannot_tell_there_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)

    assert PeakMemory().read() is None
