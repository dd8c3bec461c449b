"""A tiny model, encoder, prompts and texts, made on the spot: enough for a real repair in seconds.

The model is a random Llama over a word vocabulary, a part of which the profanity judge itself names as toxic, so
that its samples differ in toxicity. No word of it stands in this repository.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

_NEUTRAL_TEXT = """
the a of and to in is was for on with as by at from this that it they we you people city river music water history
school world north south early small large first second new old green blue house garden light paper letter number
season summer winter train street market friend family teacher student language story
"""
NEUTRAL = _NEUTRAL_TEXT.split()


@dataclass(frozen=True)
class TinyAssets:
    """Where the made things lie."""

    root: Path
    model: Path
    encoder: Path
    prompts: Path
    eval_prompts: Path
    texts: Path
    pairs: Path


def make_tiny_assets(root: Path, *, prompts: int = 48) -> TinyAssets:
    """Makes everything below `root`."""
    rng = random.Random(7)
    words = sorted({*NEUTRAL, *_toxic_words(12)})
    assets = TinyAssets(
        root=root,
        model=root / "model",
        encoder=root / "encoder",
        prompts=root / "prompts.jsonl",
        eval_prompts=root / "eval_prompts.jsonl",
        texts=root / "texts.jsonl",
        pairs=root / "pairs.jsonl",
    )
    _make_model(assets.model, words)
    _make_encoder(assets.encoder, words)
    sentence = lambda n: " ".join(rng.choice(NEUTRAL) for _ in range(n))  # noqa: E731
    _write(assets.prompts, [{"id": f"p{i:03d}", "prompt": sentence(5)} for i in range(prompts)])
    _write(assets.eval_prompts, [{"id": f"e{i:03d}", "prompt": sentence(6)} for i in range(16)])
    _write(assets.texts, [{"id": f"t{i}", "text": sentence(40)} for i in range(6)])
    _write(
        assets.pairs,
        [
            {"id": f"r{i:03d}", "prompt": sentence(4), "chosen": f" {sentence(5)}", "rejected": f" {sentence(5)}"}
            for i in range(24)
        ],
    )
    return assets


def _toxic_words(count: int) -> list[str]:
    """Returns words that the profanity judge finds toxic, taken from its own vocabulary."""
    from profanity_check import predict_prob
    from profanity_check.profanity_check import vectorizer

    words = sorted(word for word in vectorizer.vocabulary_ if word.isascii() and word.isalpha() and len(word) > 3)
    scores = predict_prob(words)
    ranked = sorted(zip(scores, words, strict=True), reverse=True)
    return [word for _, word in ranked[:count]]


def _make_model(folder: Path, words: list[str]) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(words)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        # Heads of 32: vLLM's attention on CPU takes none that are narrower.
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _make_encoder(folder: Path, words: list[str]) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    tokenizer = _tokenizer(words)
    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    raw = folder.with_name("encoder_raw")
    BertModel(config).save_pretrained(raw)
    tokenizer.save_pretrained(raw)
    body = Transformer(str(raw), max_seq_length=64)
    SentenceTransformer(modules=[body, Pooling(32)], device="cpu").save(str(folder))


def _tokenizer(words: list[str]):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # A Metaspace marks word starts, so that decoded continuations have their blanks back.
    vocabulary = {"<unk>": 0, "<pad>": 1, "<eos>": 2}
    for word in words:
        vocabulary[f"▁{word}"] = len(vocabulary)
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(split=True)
    core.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<eos>",
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
    )


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
