"""Tokenizers with and without a prefix of their own, one token a byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from llm_repair.models.tokenisation import Tokenisation, tokenisation

BOS, EOS = 0, 1


def _tokenizer(*, prefix: bool, **specials: str) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<bos>": BOS, "<eos>": EOS, **{letter: index + 2 for index, letter in enumerate(alphabet)}}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    if prefix:
        core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    return PreTrainedTokenizerFast(tokenizer_object=core, **specials)


@pytest.fixture(scope="session")
def bare() -> Tokenisation:
    """Has an end of text and puts nothing before a text by itself, as the tokenizer of GPT-2."""
    return tokenisation(_tokenizer(prefix=False, eos_token="<eos>"), ())


@pytest.fixture(scope="session")
def prefixing() -> Tokenisation:
    """Puts its start of text before every text, as those of Llama models do."""
    return tokenisation(_tokenizer(prefix=True, bos_token="<bos>", eos_token="<eos>"), ())


@pytest.fixture(scope="session")
def startless() -> Tokenisation:
    """Has no token to begin a text with."""
    return tokenisation(_tokenizer(prefix=False), ())


@pytest.fixture(scope="session")
def ids() -> Callable[[str], tuple[int, ...]]:
    """Returns the token ids of a text."""
    tokenizer = _tokenizer(prefix=False)
    return lambda text: tuple(tokenizer(text)["input_ids"])
