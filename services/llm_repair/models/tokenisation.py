# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' tokenizers are partly untyped.
"""Turns texts into token ids and back, with every choice explicit: what is prepended, cut, and where to stop.

Nothing is ever recognised by the id of a padding token, and continuations are cut off by token count, never by
searching the prompt in the text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from transformers import PreTrainedTokenizerBase

TokenIds: TypeAlias = tuple[int, ...]

_ANCHOR_TOKENS = 4
"""Prompt tokens decoded together with a continuation, so that its first blank survives."""


@dataclass(frozen=True)
class EncodedText:
    """The token ids of one text."""

    ids: TokenIds
    truncated_tokens: int = 0
    """Tokens cut off at the end."""


@dataclass(frozen=True)
class Tokenisation:
    """A tokenizer with what its saved configuration prepends, and the ids that end a text."""

    tokenizer: PreTrainedTokenizerBase
    prefix: TokenIds
    """Prepended to every text: BOS where the tokenizer's own configuration says so, else nothing."""
    stop_ids: frozenset[int]
    """Any of these ends a continuation and is not part of it."""

    @property
    def start(self) -> TokenIds:
        """What a text begins with whose first token is to be predicted: the prefix, else BOS or EOS if there is one."""
        token = start_token(self.tokenizer)
        return self.prefix or (() if token is None else (token,))

    def encode(
        self, texts: Sequence[str], *, max_tokens: int | None = None, prefix: TokenIds | None = None
    ) -> list[EncodedText]:
        """Returns the ids of each text, cut at the end to `max_tokens`; no padding, no EOS.

        Args:
          texts: any number.
          max_tokens: the prefix included; no cut if None.
          prefix: put before every text; the saved one if None.
        """
        if not texts:
            return []
        before = self.prefix if prefix is None else prefix
        plain = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [self._cut((*before, *ids), max_tokens) for ids in plain]

    def continuation_text(self, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
        """Returns the text of `new_ids` as they follow `prompt_ids`, special tokens left out.

        Some tokenizers drop the first blank of what they decode; so the last tokens of the prompt are decoded
        with and without the continuation, and the difference by length is the answer.
        """
        anchor = [token for token in prompt_ids[-_ANCHOR_TOKENS:] if token not in self.prefix]
        before = self._decode(anchor)
        whole = self._decode([*anchor, *new_ids])
        # A prompt may end amid a character that only the continuation completes.
        return whole[len(before) :] if whole.startswith(before) else self._decode(new_ids)

    def _cut(self, ids: TokenIds, max_tokens: int | None) -> EncodedText:
        if max_tokens is None or len(ids) <= max_tokens:
            return EncodedText(ids)
        return EncodedText(ids[:max_tokens], len(ids) - max_tokens)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(
            self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False),
        )


def tokenisation(tokenizer: PreTrainedTokenizerBase, stop_ids: Collection[int]) -> Tokenisation:
    """Reads off what the tokenizer prepends, and adds its own EOS to `stop_ids`."""
    own_eos = tokenizer.eos_token_id
    stops = {*stop_ids, *([own_eos] if isinstance(own_eos, int) else [])}
    return Tokenisation(tokenizer, _saved_prefix(tokenizer), frozenset(stops))


def start_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Returns what stands before the first token of a text: BOS, else EOS; None for a tokenizer without either."""
    known = [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if isinstance(token, int)]
    return known[0] if known else None


def _saved_prefix(tokenizer: PreTrainedTokenizerBase) -> TokenIds:
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return tuple(full[:start])
    return ()
