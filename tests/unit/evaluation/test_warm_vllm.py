"""The keeper of vLLM and the flow of its requests, with a scripted engine in the place of the real one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import EngineParityFailed, EngineUnavailable, StepCancelled
from llm_repair.core.evaluation import Engine as EngineChoice
from llm_repair.core.evaluation import EngineKind, WeightFormat
from llm_repair.evaluation.engines import registry, vllm, warm_vllm
from llm_repair.evaluation.engines.engine import EngineStart
from llm_repair.evaluation.engines.vllm import VllmEngine
from llm_repair.evaluation.engines.warm_vllm import WarmVllm
from llm_repair.models.inference.generation import Prompt
from llm_repair.models.inference.sampling import Sampling

FP32, BF16 = WeightFormat.FLOAT32, WeightFormat.BFLOAT16


class KeptEngine:
    """Knows which folder it was started on or given last."""

    def __init__(self, folder: Path, weights: WeightFormat) -> None:
        self.served = [folder]
        self.start = EngineStart.LOADED
        self.is_usable = True
        self.is_shut_down = False

    def started_as(self, start: EngineStart) -> KeptEngine:
        self.start = start
        return self

    def reload(self, folder: Path) -> None:
        self.served.append(folder)

    def shut_down(self) -> None:
        self.is_shut_down = True


@pytest.fixture
def parity(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The differences that the next checks will find; none if it is empty."""
    found: list[float] = []

    def check(engine: KeptEngine, folder: Path, *, tolerance: float = 0.005) -> float:
        assert engine.served[-1] == folder
        if found and found.pop(0) > tolerance:
            raise EngineParityFailed
        return 0.0

    monkeypatch.setattr(warm_vllm, "check_parity", check)
    monkeypatch.setattr(vllm, "VllmEngine", KeptEngine)
    return found


@pytest.fixture
def digests(store: ArtifactStore, llama_folder: Path, gpt2_folder: Path, tmp_path: Path) -> dict[str, str]:
    """Two models of one form, one with another tokenizer, and one of another shape."""
    folders = {"first": llama_folder, "other shape": gpt2_folder}
    for name in ("second", "other tokenizer"):
        folders[name] = tmp_path / name
        shutil.copytree(llama_folder, folders[name])
    (folders["second"] / "README.md").write_text("A repaired model.")
    settings = json.loads((llama_folder / "tokenizer_config.json").read_text())
    (folders["other tokenizer"] / "tokenizer_config.json").write_text(json.dumps({**settings, "odd": True}))
    return {name: store.put_tree(folder).digest for name, folder in folders.items()}


def test_the_same_model_is_kept_and_one_of_its_form_reloaded(
    store: ArtifactStore, digests: dict[str, str], parity: list[float], new_context: Callable[..., Any]
) -> None:
    keeper, context = WarmVllm(), new_context()

    engines = [keeper.engine(store, digests[name], FP32, context) for name in ("first", "first", "second", "second")]
    starts = []
    for name in ("first", "first", "second"):
        starts.append(keeper.engine(store, digests[name], FP32, context).start)

    assert len({id(engine) for engine in engines}) == 1
    assert starts == [EngineStart.RELOADED, EngineStart.KEPT, EngineStart.RELOADED]
    assert context.notes == []


@pytest.mark.parametrize(
    ("name", "weights", "why"),
    [
        ("other shape", FP32, "tensors of other shapes"),
        ("other tokenizer", FP32, "another tokenizer_config.json"),
        ("second", BF16, "another number format"),
    ],
)
def test_another_form_starts_it_anew_and_a_note_says_why(
    name: str, weights: WeightFormat, why: str,
    store: ArtifactStore, digests: dict[str, str], parity: list[float], new_context: Callable[..., Any],
) -> None:  # fmt: skip
    keeper, context = WarmVllm(), new_context()
    first = keeper.engine(store, digests["first"], FP32, context)

    second = keeper.engine(store, digests[name], weights, context)

    assert second is not first
    assert first.is_shut_down  # type: ignore[attr-defined]
    assert second.start is EngineStart.LOADED
    assert context.notes == [("vLLM starts anew", {"why": why})]


@pytest.mark.parametrize(("difference", "start"), [(5e-5, EngineStart.RELOADED), (2e-4, EngineStart.LOADED)])
def test_weights_that_were_not_wholly_replaced_show_and_start_it_anew(
    difference: float, start: EngineStart, store: ArtifactStore, digests: dict[str, str], parity: list[float],
    new_context: Callable[..., Any],
) -> None:  # fmt: skip
    """A start may be 0.5 % off; after a replacement in fp32 0.01 % is the limit."""
    keeper, context = WarmVllm(), new_context()
    keeper.engine(store, digests["first"], FP32, context)
    parity.append(difference)

    assert keeper.engine(store, digests["second"], FP32, context).start is start


def test_an_engine_that_broke_down_is_started_anew(
    store: ArtifactStore, digests: dict[str, str], parity: list[float], new_context: Callable[..., Any]
) -> None:
    keeper, context = WarmVllm(), new_context()
    first = keeper.engine(store, digests["first"], FP32, context)
    first.is_usable = False  # type: ignore[misc]

    assert keeper.engine(store, digests["first"], FP32, context) is not first


def test_one_that_fails_at_its_start_is_not_kept(
    store: ArtifactStore, digests: dict[str, str], parity: list[float], new_context: Callable[..., Any]
) -> None:
    keeper, context = WarmVllm(), new_context()
    parity.append(0.006)

    with pytest.raises(EngineParityFailed):
        keeper.engine(store, digests["first"], FP32, context)
    assert keeper.engine(store, digests["first"], FP32, context).start is EngineStart.LOADED


def test_another_engine_gets_its_memory(
    store: ArtifactStore, digests: dict[str, str], parity: list[float], new_context: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(registry, "WARM_VLLM", WarmVllm())
    opened = [
        registry.open_engine(EngineChoice(kind), store, digests["first"], new_context())
        for kind in (EngineKind.VLLM, EngineKind.TRANSFORMERS, EngineKind.TRANSFORMERS)
    ]

    assert opened[0].is_shut_down  # type: ignore[attr-defined]
    assert [engine.start for engine in opened] == [EngineStart.LOADED, EngineStart.LOADED, EngineStart.KEPT]
    assert not registry.WARM.holds(digests["second"], FP32)


class ScriptedCore:
    """Finishes two requests at every step, the newest first."""

    def __init__(self, *, breaks_at_step: int | None = None) -> None:
        self.under_way: list[str] = []
        self.asked: list[Any] = []
        """Parameters of the requests."""
        self.most = 0
        self.steps = 0
        self._breaks_at_step = breaks_at_step

    def add_request(self, request: str, prompt: object, params: object) -> None:
        self.under_way.append(request)
        self.asked.append(params)
        self.most = max(self.most, len(self.under_way))

    def abort_request(self, requests: Sequence[str]) -> None:
        self.under_way = [request for request in self.under_way if request not in requests]

    def step(self) -> list[Any]:
        self.steps += 1
        if self.steps == self._breaks_at_step:
            raise RuntimeError("the core died")
        done = [self.under_way.pop() for _ in range(min(2, len(self.under_way)))]
        waiting = [SimpleNamespace(request_id=request, finished=False) for request in self.under_way]
        made = [SimpleNamespace(token_ids=[7, 4])]
        return [SimpleNamespace(request_id=request, finished=True, outputs=made) for request in done] + waiting


def running(core: ScriptedCore) -> VllmEngine:
    engine = VllmEngine.__new__(VllmEngine)
    engine._llm = SimpleNamespace(llm_engine=core)
    engine._is_usable = True
    return engine


def test_the_seed_of_a_request_is_of_seed_prompt_and_draw_whoever_else_is_asked() -> None:
    """The first 63 bits of sha256, little-endian, as vLLM takes no more; so an attempt that goes on draws the same."""
    core = ScriptedCore()
    engine = running(core)
    engine._params = SimpleNamespace
    engine._tokens = SimpleNamespace(  # type: ignore[assignment]
        stop_ids=frozenset({9, 4}), continuation_text=lambda prompt, new: f"{prompt} {new}"
    )
    engine._context_tokens = 100
    sampling = Sampling(draws=2, max_new_tokens=5, top_p=0.9, temperature=0.7, seed=3)

    def seeds(names: str, seed: int = 3) -> list[int]:
        core.asked.clear()
        prompts = [Prompt(name, (1, 2)) for name in names]
        (made,) = engine.generate(prompts, dataclasses.replace(sampling, seed=seed), beat=lambda: None)
        assert [(one.prompt_id, one.draw, one.tokens) for one in made] == [(n, d, 1) for n in names for d in range(2)]
        return [params.seed for params in core.asked]

    def expected(name: str, draw: int) -> int:
        return int.from_bytes(hashlib.sha256(f"3\0{name}\0{draw}".encode()).digest()[:8], "little") // 2

    assert seeds("ab") == [expected(name, draw) for name in "ab" for draw in range(2)]
    assert vars(core.asked[0]) == {
        "max_tokens": 5, "temperature": 0.7, "top_p": 0.9, "stop_token_ids": [4, 9], "seed": expected("a", 0),
    }  # fmt: skip
    assert seeds("b") == [expected("b", draw) for draw in range(2)]
    assert not set(seeds("ab", seed=4)) & {expected(name, draw) for name in "ab" for draw in range(2)}


def requests(count: int) -> Any:
    return (((1, 2), number) for number in range(count))


def test_outputs_come_in_the_order_of_the_requests_and_new_ones_join_as_others_finish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm, "_REQUESTS", 5)
    core = ScriptedCore()

    made = [out.request_id for out in running(core)._run(requests(12), lambda: None)]

    assert made == [str(number) for number in range(12)]
    assert core.most == 5
    assert core.steps == 6


def test_what_is_under_way_is_taken_back_when_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm, "_REQUESTS", 5)
    cancelled, left = ScriptedCore(), ScriptedCore()

    def cancel() -> None:
        if cancelled.steps == 2:
            raise StepCancelled

    with pytest.raises(StepCancelled):
        list(running(cancelled)._run(requests(12), cancel))
    outputs = running(left)._run(requests(2), lambda: None)
    next(outputs)
    outputs.close()

    assert cancelled.under_way == left.under_way == []


def test_a_core_that_dies_is_said_to_be_unavailable_and_is_not_used_again() -> None:
    engine = running(ScriptedCore(breaks_at_step=2))

    with pytest.raises(EngineUnavailable, match="broke down: RuntimeError"):
        list(engine._run(requests(9), lambda: None))
    assert not engine.is_usable
