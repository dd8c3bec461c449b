"""Run by test_vllm_engine in a process of its own: what vLLM makes of models in turn, as JSON on the last line."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.evaluation import WeightFormat
from llm_repair.evaluation.engines import vllm
from llm_repair.evaluation.engines.vllm import VllmEngine
from llm_repair.evaluation.engines.warm_vllm import WARM_VLLM
from llm_repair.models.inference.generation import Prompt
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.inference.scoring import Document

GREEDY = Sampling(draws=1, max_new_tokens=16, greedy=True)
NUCLEUS = Sampling(draws=3, max_new_tokens=8, top_p=0.9, seed=4)
ENDING_STRIDE = 40


@dataclasses.dataclass
class Notes:
    """The part of a step's context that the engine uses."""

    workdir: Path
    said: list[Any] = dataclasses.field(default_factory=list)

    def note(self, phrase: str, **fields: object) -> None:
        self.said.append([phrase, fields])


def measure(
    engine: VllmEngine, texts: dict[str, tuple[int, ...]], endings: list[Document], window_tokens: int
) -> dict[str, object]:
    prompts = [Prompt(name, ids) for name, ids in texts.items() if len(ids) < 100]
    documents = [Document(name, ids) for name, ids in texts.items()]
    window = min(window_tokens, engine.longest_window_tokens)
    scores = engine.score(documents, window, beat=lambda done: None)
    ended = engine.score(endings, window, stride_tokens=ENDING_STRIDE, beat=lambda done: None)
    return {
        "start": engine.start.name,
        "greedy": [[row.text, row.tokens] for row in _rows(engine, prompts, GREEDY)],
        "sampled": [[[r.prompt_id, r.draw, r.text] for r in _rows(engine, prompts, NUCLEUS)] for _ in range(2)],
        "nll": [[score.document_id, score.nll, score.tokens] for score in scores],
        "endings": [dataclasses.astuple(score) for score in ended],
        "longest_window_tokens": engine.longest_window_tokens,
        "threads": torch.get_num_threads(),
    }


def _rows(engine: VllmEngine, prompts: list[Prompt], sampling: Sampling) -> list[Any]:
    return [row for batch in engine.generate(prompts, sampling, beat=lambda: None) for row in batch]


if __name__ == "__main__":
    # So few that a long text does not fit, and as many as there may be sequences.
    vllm._BATCHED_TOKENS = 256
    asked = json.loads(sys.argv[1])
    store = ArtifactStore(asked["store"], cache_dir=Path(tempfile.mkdtemp()))
    texts = {name: tuple(ids) for name, ids in asked["texts"].items()}
    notes = Notes(Path(asked["workdir"]))
    answers: list[object] = []
    for digest, weights, endings in asked["models"]:
        engine = WARM_VLLM.engine(store, digest, WeightFormat[weights], notes)  # type: ignore[arg-type]
        documents = [Document(name, tuple(ids), given) for name, ids, given in endings]
        answers.append(measure(engine, texts, documents, asked["window_tokens"]))
        # A later step of the worker sets its threads: vLLM's CPU worker would have taken that away.
        torch.set_num_threads(2)
    WARM_VLLM.release()
    print("\n" + json.dumps({"answers": answers, "notes": notes.said}))
