# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's and transformers' functions are partly untyped.
"""`trainer.gpu.<model>.bf16`: optimizer steps on one GPU.

The repair step's loop with DAPT on a whole Llama of 1.2 billion parameters: random weights and tokens, batches of 8
samples of 1,024 tokens, packed, bf16 autocast over fp32 weights. Size and clock as in `trainer.sft`. The limit is the
arithmetic of `bounds` at the rate for dense bf16 that the maker states, so that `limit_share` is the model FLOPs
utilisation; of a GPU that is not listed, at the rate of a large matrix product. `value_agrees`: it is at least 0.45.

Quick: a random Llama of 0.2 million parameters and short samples; there `value_agrees` says that every loss differs
from that of the same steps on the processors by at most 1e-2 relatively.

Without a GPU there is a line that says so.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Iterator, Sequence
from typing import Final

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from bench import area
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.trainer import ours
from bench.trainer.bounds import Work, step_flops
from bench.trainer.samples import real_tokens
from bench.trainer.step_clock import StepClock
from bench.trainer.steps import BATCH, batches_of, method_of
from bench.trainer.subjects import Size, model_of
from llm_repair.core.repair import DaptMethod, FullParameters, Precision
from llm_repair.models.training.adapters import make_trainable
from llm_repair.models.training.batches import TokenisedSample
from llm_repair.models.training.ranks import Ranks

_STATED_TFLOPS: Final = {"A100": 312.0, "H100": 989.4, "H200": 989.4}
"""Dense bf16 with fp32 sums, of the SXM modules: NVIDIA's data sheets."""
_TO_REACH: Final = 0.45
_TOLERANCE: Final = 1e-2
_STEPS: Final = 8
_ROUNDS: Final = 3
_PROMPT_TOKENS: Final = 24
_PROBE_WIDTH: Final = 8192
_PROBE_RUNS: Final = 20


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the line of the model."""
    name = "0.2m" if quick else "1.2b"
    bench, tokens = f"trainer.gpu.{name}.bf16", 64 if quick else 1024
    if not torch.cuda.is_available():
        yield Line(bench, "ours: no GPU, LEFT OUT", "")
        return
    model = model_of(Size.TINY) if quick else _llama()
    samples = _samples(_STEPS * BATCH, tokens, vocabulary=model.config.vocab_size)
    yield from _lines(bench, model, samples, torch.device("cuda", 0), compared=quick)


def _lines(
    bench: str, model: PreTrainedModel, samples: list[TokenisedSample], gpu: torch.device, *, compared: bool
) -> Iterator[Line]:
    method, clock = method_of(DaptMethod(), FullParameters(), Precision.BFLOAT16), StepClock(_on_the_gpu)

    def run() -> list[float]:
        return ours.training_losses(copy.deepcopy(model).to(gpu), samples, method, clock, ranks=Ranks(device=gpu))

    timings = interleaved({"ours": run}, rounds=_ROUNDS, clock=clock)
    counted = batches_of(samples)[1:]
    target = make_trainable(copy.deepcopy(model), method.trained, seed=ours.SEED)
    limit_s = sum(step_flops(target, Work.of(batch)) for batch in counted) / _flops_a_second(gpu)
    if compared:
        expected = ours.training_losses(copy.deepcopy(model), samples, method, StepClock())
        agrees = _close(timings.values["ours"], expected)
    else:
        agrees = limit_s / timings.median_s("ours") >= _TO_REACH
    size = sum(real_tokens(batch) for batch in counted)
    yield from lines_of(timings, bench, size, agrees={"ours": agrees}, limit_s=limit_s)


def _samples(count: int, tokens: int, *, vocabulary: int) -> list[TokenisedSample]:
    rng = random.Random(5)
    rows = [tuple(rng.randrange(vocabulary) for _ in range(tokens)) for _ in range(count)]
    return [
        TokenisedSample(f"s{number:04d}", ids[:_PROMPT_TOKENS], (ids[_PROMPT_TOKENS:],))
        for number, ids in enumerate(rows)
    ]


def _llama() -> PreTrainedModel:
    """Returns a random model of the shape of Llama 3.2 1B, by its published config."""
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(3)
    return LlamaForCausalLM(config).eval()


def _on_the_gpu() -> float:
    """Returns the time at which all that the GPU was told is done."""
    torch.cuda.synchronize()
    return time.perf_counter()


def _flops_a_second(gpu: torch.device) -> float:
    name = torch.cuda.get_device_name(gpu)
    return next((1e12 * rate for part, rate in _STATED_TFLOPS.items() if part in name), None) or _measured_rate(gpu)


def _measured_rate(gpu: torch.device) -> float:
    matrix = torch.randn(_PROBE_WIDTH, _PROBE_WIDTH, device=gpu, dtype=torch.bfloat16)
    best = math.inf
    for _ in range(_PROBE_RUNS):
        start = _on_the_gpu()
        matrix @ matrix
        best = min(best, _on_the_gpu() - start)
    return 2 * _PROBE_WIDTH**3 / best


def _close(found: Sequence[float], expected: Sequence[float]) -> bool:
    return len(found) == len(expected) and all(
        math.isclose(one, other, rel_tol=_TOLERANCE) for one, other in zip(found, expected, strict=True)
    )


if __name__ == "__main__":
    area.main(__doc__, lines)
