# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""`evaluation.generation`: sampling continuations on CPU, against `transformers.generate` at its best batch size.

Both sample 20 new tokens from the nucleus of p = 0.9, never stopping early, from prompts of 5 to 24 words, which are
sorted by length for transformers, so that it pads little. It first tries 16, 32, 64 and 128 rows a batch, and the best
takes part. The size is the number of new tokens: size divided by seconds is tokens per second. Models: the demo's
SmolLM2-135M in fp32 and with bf16 weights; GPT-2 (124 million) and Pythia-160m in fp32, of random weights, which do not
run on the network made for Llamas but on transformers' own. Quick: a random Llama of 2 million parameters.

Where bf16 products are slow, ours are computed in fp32 from the same weights and transformers' are not, so that it is
the fp32 lines that show the engine.

The limit is the larger of reading all weights and of doing all multiply-adds once a step, at our rows a batch and at
the bandwidth and matrix-product rate that this process reached. `value_agrees` (fp32): along a greedy continuation,
the logits of both differ by at most 1e-4, absolutely or relatively.
"""

from __future__ import annotations

import dataclasses
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.models import WORDS, demo_model, make_tiny_llama, save_word_tokenizer
from llm_repair.core.evaluation import WeightFormat
from llm_repair.evaluation.engines.transformers import TransformersEngine
from llm_repair.models.inference.generation import BATCH_ROWS, Prompt
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.loading import LanguageModel, load_causal_lm, load_language_model

NEW_TOKENS: Final = 20
TOP_P: Final = 0.9
PEER_ROWS: Final = (16, 32, 64, 128)
"""Rows a batch that transformers tries."""
_TOLERANCE: Final = 1e-4
_COMPARED_PROMPTS: Final = 4
_COMPARED_STEPS: Final = 4


@dataclasses.dataclass(frozen=True)
class Load:
    """How much is sampled."""

    prompts: int
    draws: int
    rounds: int

    @property
    def tokens(self) -> int:
        """New tokens."""
        return self.prompts * self.draws * NEW_TOKENS


QUICK = Load(prompts=16, draws=4, rounds=3)
FULL = Load(prompts=32, draws=4, rounds=5)


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of all models and weight formats."""
    load = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as scratch:
        smallest = Path(scratch) / "model"
        if quick:
            make_tiny_llama(smallest)
        for weights in (WeightFormat.FLOAT32, WeightFormat.BFLOAT16):
            yield from _side_by_side("", smallest if quick else demo_model(), weights, load, limits)
        for name, model in () if quick else _other_shapes():
            model.save_pretrained(Path(scratch) / name)
            save_word_tokenizer(Path(scratch) / name)
            yield from _side_by_side(f".{name}", Path(scratch) / name, WeightFormat.FLOAT32, load, limits)


def _other_shapes() -> Iterator[tuple[str, PreTrainedModel]]:
    torch.manual_seed(3)
    yield "gpt2", GPT2LMHeadModel(GPT2Config(bos_token_id=None, eos_token_id=None))
    neox = GPTNeoXConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    yield "pythia", GPTNeoXForCausalLM(neox)


def _side_by_side(case: str, folder: Path, weights: WeightFormat, load: Load, limits: Limits) -> Iterator[Line]:
    ours = _without_stop(load_language_model(folder, weights=weights))
    theirs: Any = load_causal_lm(folder, weights=weights)
    prompts = prompts_of(ours, load.prompts)
    sampling = Sampling(draws=load.draws, max_new_tokens=NEW_TOKENS, top_p=TOP_P, seed=1)
    engine = TransformersEngine(ours)
    rows = _best_rows(theirs, prompts, load.draws)
    contenders: dict[str, Callable[[], int]] = {
        "ours": lambda: sum(
            row.tokens for batch in engine.generate(prompts, sampling, beat=lambda: None) for row in batch
        ),
        f"transformers.generate, {rows} rows a batch": lambda: by_transformers(theirs, prompts, load.draws, rows),
    }
    timings = interleaved(contenders, rounds=load.rounds)
    if any(tokens != load.tokens for tokens in timings.values.values()):
        raise AssertionError(f"{load.tokens} tokens were asked for, made were {dict(timings.values)}")
    exact = weights is WeightFormat.FLOAT32
    yield from lines_of(
        timings,
        f"evaluation.generation{case}.{'fp32' if exact else 'bf16'}",
        load.tokens,
        agrees={"ours": _same_logits(ours, theirs, prompts[:_COMPARED_PROMPTS])} if exact else None,
        limit_s=_limit_s(theirs, prompts, load, limits, exact=exact),
    )


def _best_rows(model: Any, prompts: Sequence[Prompt], draws: int) -> int:
    """Returns the batch size at which transformers is fastest now, after a warm-up."""
    seconds: dict[int, float] = {}
    by_transformers(model, prompts[: PEER_ROWS[0] // draws], draws, PEER_ROWS[0])
    for rows in PEER_ROWS:
        start = time.perf_counter()
        by_transformers(model, prompts, draws, rows)
        seconds[rows] = time.perf_counter() - start
    return min(seconds, key=lambda rows: seconds[rows])


def _without_stop(model: LanguageModel) -> LanguageModel:
    return dataclasses.replace(model, tokens=dataclasses.replace(model.tokens, stop_ids=frozenset[int]()))


def prompts_of(model: LanguageModel, count: int) -> list[Prompt]:
    """Returns prompts of 5 to 24 words."""
    rng = random.Random(7)
    texts = [" ".join(rng.choices(WORDS, k=5 + index % 20)) for index in range(count)]
    return [Prompt(f"p{index:04d}", text.ids) for index, text in enumerate(model.tokens.encode(texts))]


@torch.inference_mode()
def by_transformers(model: Any, prompts: Sequence[Prompt], draws: int, rows: int) -> int:
    """Samples by transformers alone and returns the number of new tokens."""
    from transformers import GenerationConfig

    # What is not set here would be taken from the model's own settings: ends of text, and a top k of 50.
    model.generation_config = GenerationConfig(
        do_sample=True,
        top_p=TOP_P,
        top_k=0,
        max_new_tokens=NEW_TOKENS,
        num_return_sequences=draws,
        pad_token_id=0,
    )
    ordered = sorted((prompt.ids for prompt in prompts), key=len)
    made = 0
    for start in range(0, len(ordered), rows // draws):
        ids = ordered[start : start + rows // draws]
        width = max(len(row) for row in ids)
        padded = torch.tensor([[0] * (width - len(row)) + list(row) for row in ids])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
        made += model.generate(padded, attention_mask=mask)[:, width:].numel()
    return made


@torch.inference_mode()
def _same_logits(ours: LanguageModel, theirs: Any, prompts: Sequence[Prompt]) -> bool:
    """Compares the logits of the first tokens of greedy continuations, each prompt alone and unpadded at the peer."""
    texts = [list(prompt.ids) for prompt in prompts]
    decoding, logits = ours.network.prefill(texts, 1, _COMPARED_STEPS)
    for _ in range(_COMPARED_STEPS):
        expected = torch.stack([theirs(torch.tensor([text])).logits[0, -1] for text in texts])
        if not torch.allclose(logits, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            return False
        tokens = logits.argmax(dim=-1)
        texts = [[*text, int(token)] for text, token in zip(texts, tokens, strict=True)]
        logits = decoding.step(tokens)
    return True


def _limit_s(model: Any, prompts: Sequence[Prompt], load: Load, limits: Limits, *, exact: bool) -> float:
    """Returns the time of the weights' traffic or arithmetic, whichever is longer, step by step.

    The first token costs its prompt, read once for all draws; every later one a pass over the weights a batch.
    """
    flops_s = 1e9 * (limits.sgemm_gflops if exact else max(limits.bf16_gflops, limits.sgemm_gflops))
    weights = sum(weight.numel() for weight in model.parameters() if weight.ndim == 2)
    head = model.get_output_embeddings().weight.numel()
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    used = weights if tied else weights - head
    prompt_batch = BATCH_ROWS // load.draws
    total_s = 0.0
    for start in range(0, load.prompts, prompt_batch):
        batch = prompts[start : start + prompt_batch]
        tokens = sum(len(prompt.ids) for prompt in batch)
        read_s = used * (4 if exact else 2) / (1e9 * limits.read_gb_s)
        total_s += max(read_s, 2 * ((used - head) * tokens + head * len(batch)) / flops_s)
        total_s += (NEW_TOKENS - 1) * max(read_s, 2 * used * len(batch) * load.draws / flops_s)
    return total_s


if __name__ == "__main__":
    area.main(__doc__, lines)
