"""Opens the engine that a step names."""

from __future__ import annotations

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.evaluation import Engine as EngineChoice
from llm_repair.core.evaluation import EngineKind
from llm_repair.core.execution import StepContext
from llm_repair.evaluation.engines.engine import Engine, EngineStart
from llm_repair.evaluation.engines.transformers import TransformersEngine
from llm_repair.evaluation.engines.warm_vllm import WARM_VLLM
from llm_repair.models.loading import WARM


def open_engine(choice: EngineChoice, store: ArtifactStore, model_digest: str, context: StepContext) -> Engine:
    """Loads a model into the engine, whose memory only one of them holds at a time.

    Raises:
      EngineUnavailable: the engine is not installed or does not start.
      EngineParityFailed: its likelihoods differ from the oracle's.
      ModelInvalid: the model does not load.
    """
    match choice.kind:
        case EngineKind.TRANSFORMERS:
            WARM_VLLM.release()
            start = EngineStart.KEPT if WARM.holds(model_digest, choice.weights) else EngineStart.LOADED
            return TransformersEngine(WARM.language_model(store, model_digest, choice.weights), start)
        case EngineKind.VLLM:
            WARM.release()
            return WARM_VLLM.engine(store, model_digest, choice.weights, context)
