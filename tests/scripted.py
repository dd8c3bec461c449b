"""An engine and a judge that do what a test tells them, behind the real interfaces."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np

from llm_repair.models.inference.generation import Generation, Prompt, batches
from llm_repair.models.inference.sampling import Sampling


class ScriptedJudge:
    """Gives every text the score that a rule says, NaN for none; `others` are further labels of probability 0.25."""

    digest = "sha256:" + "5" * 64
    languages = ()

    def __init__(self, rule: Callable[[str], float], *, name: str = "scripted", others: Sequence[str] = ()) -> None:
        self._rule = rule
        self.name = name
        self.labels = ("toxic", *others)
        self.toxic_labels = ("toxic",)
        self.asked: list[tuple[str, ...]] = []
        """What it was asked together."""

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.append(tuple(texts))
        return np.array([[self._rule(text)] + [0.25] * (len(self.labels) - 1) for text in texts])

    def toxicity(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities[:, 0]

    def overflows(self, texts: Sequence[str]) -> np.ndarray:
        return np.zeros(len(texts), dtype=np.bool_)


class ScriptedEngine:
    """Continues the prompt `a` by ` a0`, ` a1` and so on, two tokens each, in batches of so many rows."""

    context_tokens = 100

    def __init__(self, rows: int = 4) -> None:
        self._rows = rows
        self.made: list[tuple[str, int]] = []
        """Prompt and draw of all samples."""
        self.is_closed = False

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, beat: Callable[[], None]
    ) -> Generator[list[Generation]]:
        try:
            for batch in batches(prompts, sampling.draws, self._rows):
                for _ in range(sampling.max_new_tokens):
                    beat()
                made = [Generation(prompt.id, draw, f" {prompt.id}{draw}", 2) for prompt, own in batch for draw in own]
                self.made += [(one.prompt_id, one.draw) for one in made]
                yield made
        finally:
            self.is_closed = True
