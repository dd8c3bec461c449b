"""The engine that runs models in this process by torch: CPU default, and oracle of the others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from llm_repair.evaluation.engines.engine import EngineStart
from llm_repair.models.inference import generation, scoring
from llm_repair.models.inference.generation import Generation, Prompt
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.inference.scoring import Document, DocumentScore
from llm_repair.models.loading import LanguageModel
from llm_repair.models.tokenisation import Tokenisation


class TransformersEngine:
    """Generates and scores by `models`; on CPU and at an equal number of threads a repeat is equal to the bit."""

    def __init__(self, model: LanguageModel, start: EngineStart = EngineStart.LOADED) -> None:
        """Wraps a loaded model; it stays with whoever loaded it, so that the next step finds it warm."""
        self._model = model
        self._start = start

    @property
    def start(self) -> EngineStart:
        """How it came by the model."""
        return self._start

    @property
    def tokens(self) -> Tokenisation:
        """How this model's texts become token ids."""
        return self._model.tokens

    @property
    def context_tokens(self) -> int:
        """Longest prompt and continuation together."""
        return self._model.network.context_tokens

    @property
    def longest_window_tokens(self) -> int:
        """Longest perplexity window: the whole context, since the last target is never an input."""
        return self._model.network.context_tokens

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, beat: Callable[[], None]
    ) -> Generator[list[Generation]]:
        """Yields the continuations batch by batch; see `Engine`."""
        return generation.generate(self._model, prompts, sampling, beat=beat)

    def score(
        self,
        documents: Sequence[Document],
        window_tokens: int,
        *,
        stride_tokens: int | None = None,
        beat: Callable[[int], None],
    ) -> Iterator[DocumentScore]:
        """Yields the likelihood of every document; see `Engine`."""
        return scoring.score(self._model.network, documents, window_tokens, stride_tokens=stride_tokens, beat=beat)

    def close(self) -> None:
        """Does nothing: the model is the loader's."""
