"""Opens the engine that a step names."""

from __future__ import annotations

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import EngineUnavailable
from llm_repair.core.evaluation import Engine as EngineChoice
from llm_repair.core.evaluation import EngineKind
from llm_repair.evaluation.engines.engine import Engine
from llm_repair.evaluation.engines.parity import check_parity
from llm_repair.evaluation.engines.transformers import TransformersEngine
from llm_repair.models.loading import WARM


def open_engine(choice: EngineChoice, store: ArtifactStore, model_digest: str) -> Engine:
    """Loads a model into the engine; vLLM is checked against transformers before it may measure anything.

    Raises:
      EngineUnavailable: the engine is not installed or does not start.
      EngineParityFailed: its likelihoods differ from the oracle's.
      ModelInvalid: the model does not load.
    """
    match choice.kind:
        case EngineKind.TRANSFORMERS:
            return TransformersEngine(WARM.language_model(store, model_digest, choice.weights))
        case EngineKind.VLLM:
            # Imported here, since vLLM is optional and takes seconds to import.
            from llm_repair.evaluation.engines.vllm import VllmEngine

            WARM.release()
            folder = store.materialize(model_digest)
            engine = VllmEngine(folder, choice.weights)
            try:
                check_parity(engine, folder)
            except RuntimeError as error:
                # Some shapes start and only then turn out to have no kernel on this machine.
                raise EngineUnavailable("vLLM cannot run this model on this machine") from error
            return engine
