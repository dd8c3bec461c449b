"""What a method trains, and how fast, where a request does not say."""

import pytest

from llm_repair.core.repair import (
    DaptMethod,
    DpoMethod,
    FullParameters,
    IrepairKlMethod,
    IrepairMethod,
    LoraParameters,
    RepairMethod,
    Trainable,
)


@pytest.mark.parametrize(
    ("method", "trained", "rate"),
    [
        (RepairMethod(DpoMethod()), FullParameters(top_share=1 / 3), 8e-5),
        (RepairMethod(DaptMethod(), trainable=FullParameters()), FullParameters(), 3e-5),
        (RepairMethod(DpoMethod(), trainable=FullParameters(layers=(2,))), FullParameters(layers=(2,)), 8e-5),
        (RepairMethod(DpoMethod(), trainable=LoraParameters()), LoraParameters(), 2e-4),
        (RepairMethod(IrepairMethod()), FullParameters(), 3e-5),
        (RepairMethod(IrepairKlMethod(), learning_rate=1e-6), FullParameters(), 1e-6),
    ],
)
def test_the_fewer_weights_are_trained_the_faster_they_learn(
    method: RepairMethod, trained: Trainable, rate: float
) -> None:
    assert (method.trained, method.peak_rate) == (trained, rate)
