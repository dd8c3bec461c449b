"""The seam between measurements and what runs the model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol

from llm_repair.models.inference.generation import Generation, Prompt
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.inference.scoring import Document, DocumentScore
from llm_repair.models.tokenisation import Tokenisation


class Engine(Protocol):
    """One loaded model that can be sampled from and asked for likelihoods."""

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
        """Gives back what the engine holds; the object is of no use afterwards."""
        ...
