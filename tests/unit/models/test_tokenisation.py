"""Tokenisation: prefixes as saved, cuts counted, continuations cut off by tokens."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from llm_repair.models.tokenisation import EncodedText, tokenisation


def word_tokenizer(*, bos: bool = False) -> PreTrainedTokenizerFast:
    """A sentencepiece-like tokenizer: blanks become ▁ and the first one is lost in decoding."""
    words = ["<s>", "</s>", "<unk>", "▁the", "▁cat", "▁sat", "▁"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_nothing_is_prepended_unless_the_saved_tokenizer_does() -> None:
    assert tokenisation(word_tokenizer(), []).encode(["the cat"]) == [EncodedText((3, 4))]


def test_a_saved_bos_is_prepended_and_an_eos_is_not_appended() -> None:
    tokens = tokenisation(word_tokenizer(bos=True), [])

    assert tokens.prefix == (0,)
    assert tokens.encode(["the cat"]) == [EncodedText((0, 3, 4))]


def test_cut_tokens_are_counted() -> None:
    tokens = tokenisation(word_tokenizer(bos=True), [])

    assert tokens.encode(["the cat sat the cat", "sat"], max_tokens=4) == [
        EncodedText((0, 3, 4, 5), truncated_tokens=2),
        EncodedText((0, 5)),
    ]


def test_the_first_blank_of_a_continuation_survives() -> None:
    tokens = tokenisation(word_tokenizer(bos=True), [])

    assert tokens.continuation_text((0, 3, 4), (5, 3)) == " sat the"


def test_a_continuation_that_repeats_its_prompt_is_kept() -> None:
    tokens = tokenisation(word_tokenizer(), [])

    assert tokens.continuation_text((3, 4), (3, 4, 3, 4)) == " the cat the cat"


def test_an_empty_continuation_is_the_empty_text() -> None:
    assert tokenisation(word_tokenizer(), []).continuation_text((3, 4), ()) == ""


def test_the_tokenizers_own_eos_stops_too() -> None:
    assert tokenisation(word_tokenizer(), [7, 8]).stop_ids == {1, 7, 8}
