"""The benchmarks, which stand beside the product and not in its packages."""

import pytest
from benchmarks import ROOT


@pytest.fixture(autouse=True)
def _bench_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
