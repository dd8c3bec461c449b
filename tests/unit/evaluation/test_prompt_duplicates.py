"""Prompts with one text under several ids."""

from __future__ import annotations

from llm_repair.artifacts.datasets import Row
from llm_repair.evaluation.prompt_duplicates import duplicate_warnings


def test_prompts_that_share_a_text_are_counted() -> None:
    rows = [Row(f"p{number}", prompt=text) for number, text in enumerate(["a", "b", "a", "c", "c", "a"])]

    assert duplicate_warnings(rows) == [{"kind": "DUPLICATE_PROMPTS", "prompts": 5, "texts": 2}]


def test_prompts_that_differ_in_a_blank_are_different_to_the_model() -> None:
    assert duplicate_warnings([Row("p1", prompt="a"), Row("p2", prompt="a "), Row("p3", prompt="A")]) == []


def test_no_prompts_are_no_duplicates() -> None:
    assert duplicate_warnings([]) == []
