"""Products with weights: the same numbers whatever form the machine is fastest with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from llm_repair.models.inference import products
from llm_repair.models.inference.products import multiplies_bfloat16_fast, product, product_dtype

CPU = torch.device("cpu")
XEON_WITH_TILES = {"architecture": "x86_64", "cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}
XEON_WITHOUT = {**XEON_WITH_TILES, "amx_bf16": False}
EPYC = {"architecture": "x86_64", "cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}
OLD = {"architecture": "x86_64", "cpu_name": "AMD EPYC", "avx512_bf16": False, "amx_bf16": False}
ARM = {"architecture": "aarch64"}


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    multiplies_bfloat16_fast.cache_clear()
    yield
    multiplies_bfloat16_fast.cache_clear()


@pytest.mark.parametrize(
    ("processor", "fast"),
    [(XEON_WITH_TILES, True), (XEON_WITHOUT, False), (EPYC, True), (OLD, False), (ARM, True)],
)
def test_whether_bf16_is_fast_goes_by_what_the_processor_is(
    processor: dict[str, object], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)

    assert multiplies_bfloat16_fast() is fast


@pytest.mark.parametrize(
    ("weights", "fast", "count", "multiplied"),
    [
        (torch.float32, True, 10, torch.float32),
        (torch.bfloat16, True, 10, torch.bfloat16),
        (torch.bfloat16, False, 10, torch.float32),
        (torch.bfloat16, False, 2**30 + 1, torch.bfloat16),
    ],
)
def test_slow_bf16_is_multiplied_in_fp32_unless_the_memory_would_count(
    weights: torch.dtype, fast: bool, count: int, multiplied: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "multiplies_bfloat16_fast", lambda: fast)

    assert product_dtype(weights, CPU, count) is multiplied


def test_every_form_multiplies_rows_with_the_matrix_and_adds_the_bias() -> None:
    """Powers of two and small integers: exact in bf16 as well."""
    weight = torch.tensor([[1.0, 2.0, 0.5], [-4.0, 0.0, 1.0]])
    bias = torch.tensor([0.25, -1.0])
    rows = torch.tensor([[1.0, 1.0, 2.0], [0.0, 3.0, -2.0]])

    for dtype in (torch.float32, torch.bfloat16):
        assert product(weight.to(dtype))(rows).tolist() == [[4.0, -2.0], [5.0, -2.0]]
        made = product(weight.to(dtype), bias)(rows)
        assert made.tolist() == [[4.25, -3.0], [5.25, -3.0]]
        assert made.dtype is torch.float32
