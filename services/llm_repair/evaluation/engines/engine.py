"""The seam between measurements and what runs the model."""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol

from llm_repair.models.inference.generation import Generation, Prompt
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.inference.scoring import Document, DocumentScore
from llm_repair.models.tokenisation import Tokenisation


class EngineStart(enum.Enum):
    """How an engine came by its model."""

    LOADED = 1
    """It was started, or the model was loaded."""
    RELOADED = 2
    """It was running with a model of the same form, whose weights were replaced."""
    KEPT = 3
    """It had the model from the step before."""


class Engine(Protocol):
    """One loaded model that can be sampled from and asked for likelihoods."""

    @property
    def start(self) -> EngineStart:
        """How it came by the model."""
        ...

    @property
    def tokens(self) -> Tokenisation:
        """How this model's texts become token ids; the same for every engine."""
        ...

    @property
    def context_tokens(self) -> int:
        """Longest prompt and continuation together."""
        ...

    @property
    def longest_window_tokens(self) -> int:
        """Longest perplexity window."""
        ...

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, beat: Callable[[], None]
    ) -> Generator[list[Generation]]:
        """Yields the continuations batch by batch, ordered by prompt id and draw; `beat` may raise to stop.

        Raises:
          DatasetInvalid, PromptTooLong: before anything is generated; see `models.inference.generation.check_prompts`.
          EngineUnavailable: it breaks down.
        """
        ...

    def score(
        self,
        documents: Sequence[Document],
        window_tokens: int,
        *,
        stride_tokens: int | None = None,
        beat: Callable[[int], None],
    ) -> Iterator[DocumentScore]:
        """Yields the likelihood of every document, sorted by id; `beat` gets the tokens done and may raise to stop.

        Windows as in `models.inference.scoring`.
        """
        ...

    def close(self) -> None:
        """Ends its use; what is loaded may stay warm for the next step."""
        ...
