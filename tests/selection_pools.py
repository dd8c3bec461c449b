"""Pools with embeddings and scores in a real store, and selections from them by the real step."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llm_repair.artifacts.datasets import Row, write_rows
from llm_repair.artifacts.scores import write_scores
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.execution import StepOutput
from llm_repair.core.presets import resolved
from llm_repair.core.selection import (
    Budget,
    Limit,
    Score,
    SelectionStrategy,
    TextView,
    score_gone_by,
    view_ranked_by,
)
from llm_repair.core.steps import SelectStep
from llm_repair.selection import select

FOREIGN = "sha256:" + "0" * 64


@dataclass
class QuietContext:
    """A step context that says nothing and is never cancelled."""

    workdir: Path
    key: str = "0" * 64
    threads: int = 1
    allowed_roots: tuple[Path, ...] = ()
    allowed_schemes: tuple[str, ...] = ()

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None: ...

    def note(self, phrase: str, **fields: object) -> None: ...

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None: ...

    def raise_if_cancelled(self) -> None: ...


@dataclass(frozen=True)
class SelectionPool:
    """A pool in a store with what strategies may ask of it."""

    store: ArtifactStore
    ids: Sequence[str]
    """In the order of the source file."""
    embeddings: np.ndarray
    """(n, d), in the order of the source file."""
    scores: Mapping[Score, np.ndarray] = field(default_factory=dict)
    """In the order of the source file."""
    tokens: Sequence[int] = ()
    """Of each row, at least 2; 3 each if not given."""

    def digest(self) -> str:
        """Stores the rows and returns their digest."""
        counts = self.tokens or [3] * len(self.ids)
        rows = [Row(name, prompt="p", chosen="c " * (count - 1)) for name, count in zip(self.ids, counts, strict=True)]
        return write_rows(self.store, rows).digest

    def step(self, choice: SelectionStrategy, limit: Limit, seed: int = 1) -> SelectStep:
        """Returns the step as the coordinator plans it, its inputs in the store."""
        pool, given = self.digest(), resolved(choice)
        view, score = view_ranked_by(given.ranking), score_gone_by(given.ranking)
        return SelectStep(
            pool,
            choice,
            Budget(limit),
            seed,
            embeddings_digest=self.put_embeddings(pool, view) if view else "",
            scores_digest=self.put_scores(pool, score) if score else "",
            filter_scores_digests=tuple(
                self.put_scores(pool, wanted) for part in given.filters if (wanted := score_gone_by(part))
            ),
        )

    def run(self, choice: SelectionStrategy, limit: Limit, seed: int = 1) -> StepOutput:
        """Runs the step."""
        with tempfile.TemporaryDirectory() as workdir:
            return select.run(self.step(choice, limit, seed), self.store, QuietContext(Path(workdir)))

    def select(self, choice: SelectionStrategy, limit: Limit, seed: int = 1) -> dict[str, Any]:
        """Runs the step and returns the selection it made."""
        return json.loads(self.store.get_bytes(self.run(choice, limit, seed).outputs["selection"].digest))

    def put_embeddings(self, pool: str, view: TextView, **about: object) -> str:
        """Stores the embeddings as the step `embed` does."""
        matrix = self.embeddings[self._by_id()] if len(self.embeddings) == len(self.ids) else self.embeddings
        known = {"pool": pool, "encoder": FOREIGN, "text_view": view.name, "truncated": 2, "blank": 0}
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / "embeddings.npy", matrix)
            (Path(folder) / "about.json").write_text(json.dumps({**known, **about}))
            return self.store.put_tree(Path(folder)).digest

    def put_scores(self, pool: str, score: Score) -> str:
        """Stores scores as the step `score` does."""
        with tempfile.TemporaryDirectory() as folder:
            values = np.asarray(self.scores[score], dtype=np.float64)[self._by_id()]
            about = {"pool": pool, "score": score.name}
            return write_scores(self.store, Path(folder) / "scores", values, sorted(self.ids), about).digest

    def _by_id(self) -> list[int]:
        return sorted(range(len(self.ids)), key=self.ids.__getitem__)


def random_pool(store: ArtifactStore, n: int, *, dimensions: int = 6, seed: int = 0) -> SelectionPool:
    """Returns a pool without ties, ids out of order, row i costing 3 + i % 4 tokens."""
    rng = np.random.default_rng(seed)
    ids = [f"row-{number:04}" for number in rng.permutation(n)]
    return SelectionPool(
        store,
        ids,
        rng.normal(size=(n, dimensions)).astype(np.float32),
        {score: rng.random(n) for score in Score},
        [3 + place % 4 for place in range(n)],
    )
