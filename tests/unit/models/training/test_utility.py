"""Which utility texts a step takes, and which are held out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_repair.core.errors import PoolTooSmall
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.utility import UtilityTexts


def texts(count: int) -> list[TokenisedSample]:
    return [TokenisedSample(f"u{i:04}", (0,), ((1, 2),)) for i in range(count)]


def split(count: int, *, share: float = 0.1, batch: int = 4, seed: int = 0) -> UtilityTexts:
    return UtilityTexts(texts(count), held_out_share=share, batch=batch, seed=seed)


def ids(samples: list[TokenisedSample]) -> list[str]:
    return [sample.id for sample in samples]


@given(count=st.integers(2, 300), share=st.floats(0, 0.5), batch=st.integers(1, 16))
def test_no_text_is_both_drawn_and_held_out(count: int, share: float, batch: int) -> None:
    utility = split(count, share=share, batch=batch)

    drawn = {name for step in range(1, 20) for name in ids(utility.of_step(step, batch))}

    assert drawn.isdisjoint(ids(utility.held_out))


def test_every_text_is_drawn_once_before_any_is_drawn_again() -> None:
    """20 texts, 2 held out: 18 are drawn in 4.5 steps of 4; the fifth step takes the last 2 and begins anew."""
    utility = split(20)

    drawn = [name for step in range(1, 10) for name in ids(utility.of_step(step, 4))]

    assert len(set(drawn[:18])) == len(set(drawn[18:36])) == 18
    assert set(drawn).isdisjoint(ids(utility.held_out))
    assert drawn[:18] != drawn[18:36]


def test_draw_is_a_function_of_seed_and_step() -> None:
    """Neither the order of the texts nor the steps before decide; the seed does."""
    forward, backward = split(20), UtilityTexts(texts(20)[::-1], held_out_share=0.1, batch=4, seed=0)

    later_first = [ids(forward.of_step(step, 4)) for step in (7, 3)]

    assert later_first == [ids(backward.of_step(7, 4)), ids(backward.of_step(3, 4))]
    assert ids(split(20, seed=1).of_step(3, 4)) != later_first[1]


def test_smaller_last_batch_takes_as_many_texts_as_it_has_samples() -> None:
    assert len(split(20).of_step(3, 2)) == 2


@pytest.mark.parametrize(
    ("count", "share", "held_out"), [(20, 0.1, 2), (2, 0.1, 1), (2, 0.0, 0), (10_000, 0.1, 64), (100, 0.5, 50)]
)
def test_share_is_held_out_but_no_more_than_the_release_had(count: int, share: float, held_out: int) -> None:
    assert len(split(count, share=share).held_out) == held_out


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_texts_are_refused(count: int) -> None:
    with pytest.raises(PoolTooSmall, match="at least 2 utility texts") as refused:
        split(count)

    assert refused.value.metadata == {"texts": str(count)}
