"""Splits of prompts: disjoint in what they say, not only in how they are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_repair.core.errors import InvalidFields
from llm_repair.core.references import normalized
from llm_repair.core.search import PromptSplits, check_disjoint, split_prompts

PROMPTS = {f"p{number}": f"Tell me about number {number}" for number in range(1000)}


def test_every_prompt_is_in_exactly_one_split() -> None:
    splits = split_prompts(PROMPTS, selection_share=0.3, seed=1)

    assert sorted(splits.selection + splits.report) == sorted(PROMPTS)
    assert len(splits.selection) == 300


@given(st.dictionaries(st.text(max_size=4), st.text("aAｂ \t", max_size=3), max_size=20), st.integers(0, 9))
def test_splits_share_no_text_whatever_its_case_width_and_blanks(texts: dict[str, str], seed: int) -> None:
    if len({normalized(text) for text in texts.values()}) < 2:
        with pytest.raises(InvalidFields):
            split_prompts(texts, selection_share=0.5, seed=seed)
        return

    splits = split_prompts(texts, selection_share=0.5, seed=seed)

    chosen, reported = ({normalized(texts[name]) for name in part} for part in (splits.selection, splits.report))
    assert chosen and reported and not chosen & reported
    assert sorted(splits.selection + splits.report) == sorted(texts)
    check_disjoint(texts, splits)


def test_the_split_depends_on_the_texts_and_the_seed_and_not_on_order_or_names() -> None:
    renamed = {f"other-{name}": text.upper() for name, text in reversed(PROMPTS.items())}

    splits = split_prompts(PROMPTS, selection_share=0.5, seed=1)

    again = split_prompts(renamed, selection_share=0.5, seed=1)
    assert [f"other-{name}" for name in splits.selection] == list(again.selection)
    assert split_prompts(PROMPTS, selection_share=0.5, seed=2) != splits


def test_a_larger_share_keeps_the_prompts_of_a_smaller_one_in_their_order() -> None:
    small, large = (split_prompts(PROMPTS, selection_share=share, seed=1) for share in (0.1, 0.6))

    assert large.selection[: len(small.selection)] == small.selection


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_near_its_ends_leaves_a_prompt_on_either_side(share: float) -> None:
    splits = split_prompts({"a": "one", "b": "two", "c": "ONE"}, selection_share=share, seed=0)

    assert splits.selection and splits.report


def test_splits_made_elsewhere_that_share_a_text_are_refused_by_id_and_never_by_text() -> None:
    texts = {"a": "Hello  There", "b": "hello there", "c": "something else"}

    with pytest.raises(InvalidFields) as refused:
        check_disjoint(texts, PromptSplits(("a",), ("b", "c")))

    assert [violation.field for violation in refused.value.violations] == ["report"]
    assert "1 are in the selection split too: b" in refused.value.message
    assert "hello" not in refused.value.message.lower()
