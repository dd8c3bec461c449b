"""Run by test_vllm_engine in a process of its own: what vLLM makes of model folders, as JSON on the last line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from llm_repair.core.evaluation import WeightFormat
from llm_repair.evaluation.engines.parity import check_parity
from llm_repair.evaluation.engines.vllm import VllmEngine
from llm_repair.models.inference.generation import Prompt
from llm_repair.models.inference.sampling import Sampling
from llm_repair.models.inference.scoring import Document

WINDOW_TOKENS = 40


def measure(folder: Path, prompts: list[Prompt], documents: list[Document]) -> dict[str, object]:
    engine = VllmEngine(folder, WeightFormat.FLOAT32)
    greedy = Sampling(draws=1, max_new_tokens=16, greedy=True)
    nucleus = Sampling(draws=3, max_new_tokens=8, top_p=0.9, seed=4)
    made = {
        "greedy": [[row.text, row.tokens] for batch in engine.generate(prompts, greedy, beat=_pass) for row in batch],
        "sampled": [_key(engine, prompts, nucleus), _key(engine, prompts, nucleus)],
        "nll": [[s.document_id, s.nll, s.tokens] for s in engine.score(documents, WINDOW_TOKENS, beat=lambda _: None)],
        "parity": check_parity(engine, folder),
        "longest_window_tokens": engine.longest_window_tokens,
    }
    engine.close()
    return made


def _key(engine: VllmEngine, prompts: list[Prompt], sampling: Sampling) -> list[list[object]]:
    rows = [row for batch in engine.generate(prompts, sampling, beat=_pass) for row in batch]
    return [[row.prompt_id, row.draw, row.text] for row in rows]


def _pass() -> None:
    pass


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    prompts = [Prompt(name, tuple(ids)) for name, ids in asked["prompts"].items()]
    documents = [Document(name, tuple(ids)) for name, ids in asked["documents"].items()]
    answers = {folder: measure(Path(folder), prompts, documents) for folder in asked["folders"]}
    print("\n" + json.dumps(answers))
