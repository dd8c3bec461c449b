"""How a model's own tokenizer turns prompts and continuations into token ids for training."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from llm_repair.models.tokenisation import start_token, tokenisation
from llm_repair.models.training.batches import Encoding

# pyright: reportUnknownMemberType=false
# transformers annotates its tokenizers in part only.


def encoding_of(tokenizer: PreTrainedTokenizerBase) -> Encoding:
    """Returns how a model's tokenizer encodes prompts and continuations, with the prefix that generation uses."""
    eos = tokenizer.eos_token_id
    return Encoding(
        encode=lambda text: tokenizer.encode(text, add_special_tokens=False, verbose=False),
        prefix=tokenisation(tokenizer, ()).prefix,
        start_token=start_token(tokenizer),
        end_text=str(tokenizer.eos_token or ""),
        end_token=eos if isinstance(eos, int) else None,
    )
