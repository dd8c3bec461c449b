"""`evaluation.vllm`: the vLLM engine on processors, against `transformers.generate`, and a second model on a warm one.

- `evaluation.vllm.generation`: 20 new tokens a row from the nucleus of p = 0.9, of the same prompts, by a random Llama
  of 2 million parameters in fp32; transformers pads 32 rows a batch. Seconds are **processor time** of all threads, so
  size, in new tokens, divided by seconds is tokens per CPU-second. There is no limit: at this size both are mostly
  bookkeeping. `value_agrees`: the engine takes at most half of transformers' time.
- `evaluation.vllm.start`: wall time until the engine has a model: the first one of the process, and another of the same
  form whose weights replace those of a warm one.

Quick: 16 prompts instead of 128. Without vLLM there is a line that says so.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench import area
from bench.evaluation import generation
from bench.lines import Line, lines_of
from bench.measure import Limits, interleaved
from bench.models import make_tiny_llama
from llm_repair.core.evaluation import WeightFormat
from llm_repair.evaluation.engines.vllm import VllmEngine
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.loading import load_causal_lm, load_language_model

_DRAWS: Final = 4
_PEER_ROWS: Final = 32
_ROUNDS: Final = 5
_TO_REACH: Final = 2.0


def lines(quick: bool, limits: Limits) -> Iterator[Line]:
    """Yields the lines of both cases."""
    if importlib.util.find_spec("vllm") is None:
        yield Line("evaluation.vllm.generation", "ours: no vLLM, LEFT OUT", "")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / name for name in ("one", "other")]
        for folder in folders:
            make_tiny_llama(folder, heads=4)  # vLLM knows no narrower ones on processors
        began = time.perf_counter()
        engine = VllmEngine(folders[0], WeightFormat.FLOAT32)
        first_s = time.perf_counter() - began
        try:
            yield from _generation(engine, folders[0], prompts=16 if quick else 128)
            began = time.perf_counter()
            engine.reload(folders[1])
            yield from _starts(first_s, time.perf_counter() - began)
        finally:
            engine.shut_down()


def _generation(engine: VllmEngine, folder: Path, *, prompts: int) -> Iterator[Line]:
    asked = generation.prompts_of(load_language_model(folder, weights=WeightFormat.FLOAT32), prompts)
    theirs = load_causal_lm(folder, weights=WeightFormat.FLOAT32)
    sampling = Sampling(
        draws=_DRAWS, max_new_tokens=generation.NEW_TOKENS, top_p=generation.TOP_P, temperature=1.0, seed=1
    )
    peer = f"transformers.generate, {_PEER_ROWS} rows a batch"
    contenders: dict[str, Callable[[], int]] = {
        "ours": lambda: sum(row.tokens for rows in engine.generate(asked, sampling, beat=lambda: None) for row in rows),
        peer: lambda: generation.by_transformers(theirs, asked, _DRAWS, _PEER_ROWS),
    }
    timings = interleaved(contenders, rounds=_ROUNDS, clock=time.process_time)
    tokens = prompts * _DRAWS * generation.NEW_TOKENS
    if any(made != tokens for made in timings.values.values()):
        raise AssertionError(f"{tokens} tokens were asked for, made were {dict(timings.values)}")
    agrees = {"ours": timings.ratio(peer, "ours") >= _TO_REACH}
    yield from lines_of(timings, "evaluation.vllm.generation", tokens, agrees=agrees)


def _starts(first_s: float, reload_s: float) -> Iterator[Line]:
    bench = "evaluation.vllm.start"
    yield Line(bench, "ours: weights replaced in a warm one", "", reload_s, 1.0)
    yield Line(bench, "first start of the process", "", first_s, first_s / reload_s)


if __name__ == "__main__":
    area.main(__doc__, lines)
