"""Keeps vLLM running between the steps of a worker: its start takes longer than many an evaluation.

A second model of the same form, as a repaired one is, is loaded into the running engine. vLLM may be trusted with that
no more than with a start, so it is checked against transformers again, and more strictly: what was left of the first
model would show as a small difference only. Where it shows, or the form differs, the engine is started anew.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from llm_repair.artifacts.safetensors_headers import tensor_shapes
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import EngineParityFailed, EngineUnavailable
from llm_repair.core.evaluation import WeightFormat
from llm_repair.core.execution import StepContext
from llm_repair.evaluation.engines.engine import EngineStart
from llm_repair.evaluation.engines.parity import TOLERANCE, check_parity

if TYPE_CHECKING:
    from llm_repair.evaluation.engines.vllm import VllmEngine

_RELOADED_TOLERANCE: Final = {WeightFormat.FLOAT32: 1e-4, WeightFormat.BFLOAT16: TOLERANCE}
"""A start is within 1e-6 in fp32. A head that stays that of another model was seen to be 0.4 % apart."""
_NOT_OF_THE_FORM: Final = ("README.md", "repair.json", "model.safetensors.index.json")


@dataclass(frozen=True)
class _Form:
    """What two models have in common if one's weights can take the place of the other's."""

    files: Mapping[str, str]
    """Digests of configuration and tokenizer by name."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of all tensors."""
    weights: WeightFormat

    def difference(self, other: _Form) -> str:
        """Says what differs; empty if nothing does."""
        if self.weights != other.weights:
            return "another number format"
        if self.shapes != other.shapes:
            return "tensors of other shapes"
        changed = sorted(name for name, _ in self.files.items() ^ other.files.items())
        return f"another {changed[0]}" if changed else ""


@dataclass
class _Running:
    engine: VllmEngine
    digest: str
    form: _Form


@dataclass
class WarmVllm:
    """The one vLLM engine of a worker process."""

    _running: _Running | None = field(default=None)

    def engine(self, store: ArtifactStore, digest: str, weights: WeightFormat, context: StepContext) -> VllmEngine:
        """Returns the engine with this model, checked against transformers; notes why it starts anew.

        Raises:
          EngineUnavailable: vLLM is not installed, or does not run this model on this machine.
          EngineParityFailed: its likelihoods differ from the oracle's.
        """
        form = _form(store, digest, weights)
        if self._running is not None and self._running.engine.is_usable:
            if (self._running.digest, self._running.form.weights) == (digest, weights):
                return self._running.engine.started_as(EngineStart.KEPT)
            why = self._running.form.difference(form) or self._reloaded(store.materialize(digest), weights)
            if not why:
                self._running = _Running(self._running.engine, digest, form)
                return self._running.engine.started_as(EngineStart.RELOADED)
            context.note("vLLM starts anew", why=why)
        self.release()
        self._running = _Running(_started(store.materialize(digest), weights), digest, form)
        return self._running.engine

    def release(self) -> None:
        """Shuts the engine down, if there is one, and gives its memory back."""
        running, self._running = self._running, None
        if running is not None:
            running.engine.shut_down()
            del running
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _reloaded(self, folder: Path, weights: WeightFormat) -> str:
        """Loads the weights of a model of the same form; says why that failed, or nothing."""
        assert self._running is not None
        try:
            self._running.engine.reload(folder)
            check_parity(self._running.engine, folder, tolerance=_RELOADED_TOLERANCE[weights])
        except (EngineParityFailed, EngineUnavailable) as error:
            return f"the weights could not be replaced: {error.reason}"
        return ""


WARM_VLLM = WarmVllm()
"""The one of this worker process."""


def _started(folder: Path, weights: WeightFormat) -> VllmEngine:
    # Imported here, since vLLM is optional and takes seconds to import.
    from llm_repair.evaluation.engines.vllm import VllmEngine

    engine = VllmEngine(folder, weights)
    try:
        check_parity(engine, folder)
    except (EngineParityFailed, EngineUnavailable):
        engine.shut_down()
        raise
    return engine


def _form(store: ArtifactStore, digest: str, weights: WeightFormat) -> _Form:
    entries = store.entries(digest)
    folder = store.materialize(digest)
    shapes: dict[str, tuple[int, ...]] = {}
    for name in entries:
        if name.endswith(".safetensors"):
            shapes |= tensor_shapes(folder / name)
    files = {
        name: blob.digest
        for name, blob in entries.items()
        if not name.endswith(".safetensors") and name not in _NOT_OF_THE_FORM
    }
    return _Form(files, shapes, weights)
