"""What an execution of a step is given, reports and leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeAlias, Union

Json: TypeAlias = Union[bool, int, float, str, Sequence["Json"], Mapping[str, "Json"], None]

TRAINING_MEASURES: Final[Mapping[str, str]] = {
    "loss": "Loss of the latest optimizer step.",
    "validation_loss": "Latest validation loss.",
    "learning_rate": "Learning rate of the latest optimizer step.",
    "gradient_norm": "l2 norm of the latest gradient, before clipping.",
    "tokens_per_s": "Tokens trained on per second, without padding, in the latest optimizer step.",
}
"""What a training run reports of itself while it runs, by name: shown to people, and exported as metrics."""


@dataclass(frozen=True)
class Artifact:
    """A content-addressed thing in the store: one blob, or a tree of named blobs."""

    digest: str
    """`sha256:` and 64 hex digits: of the bytes of a blob, or of the canonical manifest of a tree."""
    size_bytes: int
    """Size of the blob, or of all blobs of the tree together."""
    is_tree: bool = False


@dataclass(frozen=True)
class Progress:
    """How far an execution is."""

    done: float
    total: float
    """In the same unit as `done`; 0 when not known yet."""
    unit: str
    """What is counted, such as `prompts`, `optimizer steps` or `bytes`."""
    stage: str = ""
    """The part of the step being worked on, such as `loading model`; empty for the main part."""
    eta_s: float | None = None
    """Seconds to the end at the present speed; None while unknown."""
    measures: Mapping[str, float] = field(default_factory=dict[str, float])
    """Latest values of what the step watches, by name; see `TRAINING_MEASURES`."""


@dataclass(frozen=True)
class Usage:
    """What an execution consumed; adds up over attempts."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    accelerator_s: float = 0.0
    peak_memory_bytes: int = 0
    tokens: int = 0
    """Tokens generated, trained on or scored, without padding."""
    written_bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            wall_s=self.wall_s + other.wall_s,
            cpu_s=self.cpu_s + other.cpu_s,
            accelerator_s=self.accelerator_s + other.accelerator_s,
            peak_memory_bytes=max(self.peak_memory_bytes, other.peak_memory_bytes),
            tokens=self.tokens + other.tokens,
            written_bytes=self.written_bytes + other.written_bytes,
        )


@dataclass(frozen=True)
class StepOutput:
    """What the code of a step returns: the artifacts it made and a small account of how."""

    outputs: Mapping[str, Artifact]
    """By role, such as `pool`, `model` or `evaluation`."""
    summary: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """A few numbers a person would ask for; at most some kilobytes. Never texts of the pool."""


@dataclass(frozen=True)
class StepResult:
    """The manifest committed at `results/<key>`: what a step made, at what cost, and from what."""

    key: str
    kind: str
    outputs: Mapping[str, Artifact]
    summary: Mapping[str, Json]
    usage: Usage
    provenance: Mapping[str, Json]
    """Versions, hardware, host, thread count, seed, attempt, start and end (RFC 3339, UTC)."""


@dataclass(frozen=True)
class RankPlace:
    """Which of the processes that run a step together one of them is."""

    rank: int
    """From 0."""
    ranks: int
    meeting: Path
    """File that does not exist yet, in a folder that all of them may write to; by it they find each other."""


class StepContext(Protocol):
    """What the code of a step may ask of the process that runs it."""

    @property
    def key(self) -> str:
        """Key of the step being run."""
        ...

    @property
    def workdir(self) -> Path:
        """Private empty folder of this attempt; removed afterwards."""
        ...

    @property
    def threads(self) -> int:
        """Number of threads that numerical libraries may use."""
        ...

    @property
    def allowed_roots(self) -> tuple[Path, ...]:
        """Folders that `file:` references may lie under."""
        ...

    @property
    def allowed_schemes(self) -> tuple[str, ...]:
        """Schemes that references may have."""
        ...

    def progress(
        self, done: float, total: float, unit: str, *, stage: str = "", measures: Mapping[str, float] | None = None
    ) -> None:
        """Reports how far the step is and the latest values of what it watches; cheap enough for every batch.

        A training loop gives `measures={"loss": …, "learning_rate": …}`, by names of `TRAINING_MEASURES`. Values that
        are not finite are left out, and one that is not given again is forgotten.
        """
        ...

    def note(self, phrase: str, **fields: Json) -> None:
        """Records a durable event a person should see, such as `resumed from checkpoint`."""
        ...

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        """Adds to the usage of this execution."""
        ...

    def raise_if_cancelled(self) -> None:
        """Raises `StepCancelled` when the execution was cancelled; called at least once a second."""
        ...

    def run_ranks(self, entry: str, ranks: int) -> StepOutput:
        """Runs the step once more in so many processes at once, and returns the output of the first of them.

        entry: `module:function`, which takes the step, the store, a context of its own and its `RankPlace`. The
        threads are shared out. What rank 0 reports is reported here, and what any consumes is counted here; all learn
        of a cancellation.

        Raises:
          WorkerLost: one of them died.
          StepCancelled: rank 0 says so, once it has saved what it wants to.
          RepairError: what the first to fail raised. In any case the others have ended too.
        """
        ...
