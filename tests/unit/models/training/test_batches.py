"""Token boundaries, truncation, order and layout of batches."""

from __future__ import annotations

import pytest
import torch

from llm_repair.core.errors import DatasetInvalid
from llm_repair.models.training.batches import (
    Encoding,
    PairText,
    TokenBatch,
    TokenisedSample,
    epoch_order,
    hold_out,
    padded_batch,
    tokenise,
)
from llm_repair.models.training.objectives import IGNORED
from llm_repair.models.training.packing import packed_batch

LETTERS = Encoding(
    encode=lambda text: [ord(c) - ord("a") + 1 for c in text], start_token=90, end_text="END", end_token=99
)
"""a is 1, b is 2, ...; the end-of-text token is 99."""


def labels_of(batch: TokenBatch) -> list[list[int]]:
    """Returns the labels of a padded batch, `IGNORED` where a token does not count."""
    labels = torch.full_like(batch.input_ids, IGNORED).flatten()
    labels[batch.sources + 1] = batch.targets
    return labels.view_as(batch.input_ids).tolist()


def sample(name: str, prompt: list[int], *continuations: list[int]) -> TokenisedSample:
    return TokenisedSample(name, tuple(prompt), tuple(tuple(c) for c in continuations))


def test_prompt_and_continuation_are_encoded_apart_and_joined() -> None:
    [made] = tokenise([PairText("s", "ab", ("c", "de"))], LETTERS, max_tokens=10)

    assert made == sample("s", [1, 2], [3], [4, 5])


def test_end_of_text_is_learnt_only_where_the_text_ends_with_it() -> None:
    [made] = tokenise([PairText("s", "a", ("bEND", "b"))], LETTERS, max_tokens=10)

    assert made.continuations == ((2, 99), (2,))


def test_empty_prompt_becomes_the_start_token() -> None:
    [made] = tokenise([PairText("s", "", ("a",))], LETTERS, max_tokens=10)

    assert made.prompt == (90,)


def test_prefix_stands_before_the_prompt_only() -> None:
    encoding = Encoding(LETTERS.encode, prefix=(7,))

    [made] = tokenise([PairText("s", "a", ("b",))], encoding, max_tokens=10)

    assert (made.prompt, made.continuations) == ((7, 1), ((2,),))


@pytest.mark.parametrize(
    ("prompt", "continuations", "kept"),
    [
        ("ab", ("cdefgh", "c"), ((1, 2), ((3, 4, 5, 6), (3,)))),  # the prompt is below its half
        ("abcde", ("fghij", "f"), ((3, 4, 5), ((6, 7, 8), (6,)))),  # both are above: a half each
        ("abcde", ("fg", "f"), ((2, 3, 4, 5), ((6, 7), (6,)))),  # what the longest continuation leaves
        ("abcdefghi", ("j",), ((5, 6, 7, 8, 9), ((10,),))),
    ],
)
def test_prompts_lose_their_beginning_and_continuations_their_end(
    prompt: str, continuations: tuple[str, ...], kept: tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]
) -> None:
    cut, whole = tokenise([PairText("s", prompt, continuations), PairText("t", "abcde", ("f",))], LETTERS, max_tokens=6)

    assert (cut.prompt, cut.continuations) == kept
    assert cut.truncated
    assert not whole.truncated


def test_a_prompt_that_loses_its_beginning_keeps_the_prefix() -> None:
    encoding = Encoding(LETTERS.encode, prefix=(7,))

    [made] = tokenise([PairText("s", "abcdef", ("b",))], encoding, max_tokens=4)

    assert (made.prompt, made.continuations) == ((7, 5, 6), ((2,),))


def test_continuations_without_a_token_are_named_but_not_quoted() -> None:
    with pytest.raises(DatasetInvalid) as error:
        tokenise([PairText("blank", "secret", ("a", ""))], LETTERS, max_tokens=50)

    assert error.value.metadata["ids"] == "blank"
    assert "secret" not in error.value.message


def test_order_is_a_permutation_that_depends_on_seed_and_epoch_but_not_on_position() -> None:
    ids = [f"s{i}" for i in range(20)]

    order = epoch_order(ids, seed=1, epoch=0)

    assert sorted(order) == list(range(20))
    assert order != epoch_order(ids, seed=1, epoch=1)
    assert order != epoch_order(ids, seed=2, epoch=0)
    assert [ids[i] for i in order] == [ids[::-1][i] for i in epoch_order(ids[::-1], seed=1, epoch=0)]


@pytest.mark.parametrize(("n", "share", "expected"), [(20, 0.1, 2), (5, 0.1, 1), (25, 0.1, 3), (1, 0.5, 0), (9, 0, 0)])
def test_number_held_out_is_rounded_half_up_and_leaves_something_to_train_on(
    n: int, share: float, expected: int
) -> None:
    assert len(hold_out([f"s{i}" for i in range(n)], share=share)) == expected


def test_held_out_samples_do_not_depend_on_the_order_of_ids() -> None:
    ids = [f"s{i}" for i in range(30)]

    assert hold_out(ids, share=0.2) == hold_out(ids[::-1], share=0.2)


def test_padded_batch_masks_padding_and_prompt_but_learns_a_real_token_with_the_id_of_padding() -> None:
    """Token id 0 is padding here and also a real, learnt token: only labels decide."""
    batch = padded_batch([sample("s", [5, 6], [7, 0], [8])])

    assert batch.input_ids.tolist() == [[5, 6, 7, 0], [5, 6, 8, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert labels_of(batch) == [[IGNORED, IGNORED, 7, 0], [IGNORED, IGNORED, 8, IGNORED]]
    assert (batch.sequences, batch.tokens) == (2, 7)


def test_prompt_in_loss_learns_all_but_the_first_token() -> None:
    batch = padded_batch([sample("s", [5, 6], [7])], prompt_in_loss=True)

    assert labels_of(batch) == [[IGNORED, 6, 7]]


def test_packed_row_reads_the_prompt_once_and_no_last_token() -> None:
    """Prompt 5 6, continuations 7 8 9 and 3 4: read 5 6 7 8 3; both continuations start at position 2."""
    batch = packed_batch([sample("s", [5, 6], [7, 8, 9], [3, 4])])

    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 3]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert list(zip(batch.sources.tolist(), batch.targets.tolist(), batch.owners.tolist(), strict=True)) == [
        (1, 7, 0),
        (2, 8, 0),
        (3, 9, 0),
        (1, 3, 1),
        (4, 4, 1),
    ]


def test_packed_mask_hides_other_samples_and_the_other_continuation() -> None:
    batch = packed_batch([sample("s", [5, 6], [7, 8], [3, 4]), sample("t", [1], [2], [9])])

    sees = batch.attention_mask[0, 0].int().tolist()
    assert batch.input_ids.tolist() == [[5, 6, 7, 3, 1]]
    assert sees == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_packed_rows_are_about_equally_long_and_lose_nothing() -> None:
    samples = [sample(str(i), [1] * (10 + i), [2] * 20, [3] * 15) for i in range(40)]

    batch = packed_batch(samples)

    read = sum(s.tokens - 2 for s in samples)
    assert batch.tokens == read
    assert batch.input_ids.numel() < 1.1 * read
    assert torch.bincount(batch.owners).tolist() == [20, 15] * 40
