"""What models are measured on besides the prompts of a repair, made on the spot, and a second tiny model."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from tiny_assets import NEUTRAL, TinyAssets

from llm_repair.client import evaluation
from llm_repair.v1 import evaluation_pb2

SEQUENCE_PROMPTS = 140


@dataclass(frozen=True)
class MeasuredAssets:
    """Where the made things lie."""

    other_model: Path
    """The tiny model with its toxic words made unlikely."""
    grouped: Path
    """20 prompts of two groups."""
    many: Path
    """Prompts enough for a sequence."""
    lines: Path
    """Twelve articles in the form of WikiText: of fewer than ten units intervals are wide."""
    cloze: Path
    pairs: Path
    """Sentence pairs of two kinds."""
    benign: Path
    labelled: Path

    def everything(self) -> evaluation_pb2.Evaluation:
        """Returns a measurement with every kind of probe, in seconds."""
        made = evaluation(
            prompts=f"file:{self.grouped}",
            judges=["profanity", "hatesonar"],
            corpora={"articles": f"file:{self.lines}:wikitext"},
            cloze_sets={"words": f"file:{self.cloze}"},
            bias_pairs={"pairs": f"file:{self.pairs}"},
            prompt_sets={"benign": f"file:{self.benign}"},
            calibration=f"file:{self.labelled}",
            draws=3,
        )
        made.protocol.strict.max_new_tokens = 8
        return made


def make_measured_assets(tiny: TinyAssets) -> MeasuredAssets:
    """Makes everything below the root of the tiny assets."""
    rng = random.Random(11)
    root = tiny.root / "measured"
    root.mkdir(exist_ok=True)
    assets = MeasuredAssets(
        root / "other_model",
        *(root / f"{name}.jsonl" for name in ("grouped", "many", "lines", "cloze", "pairs", "benign", "labelled")),
    )
    if not assets.other_model.exists():
        _make_other_model(tiny.model, assets.other_model)

    def words(count: int) -> str:
        return " ".join(rng.choice(NEUTRAL) for _ in range(count))

    _write(assets.grouped, [{"id": f"g{n:02}", "prompt": words(5), "group": "ab"[n % 2]} for n in range(20)])
    _write(assets.many, [{"id": f"m{n:03}", "prompt": words(5)} for n in range(SEQUENCE_PROMPTS)])
    _write(assets.cloze, [{"id": f"c{n}", "text": words(9)} for n in range(12)])
    pairs = [{"id": f"b{n}", "chosen": words(6), "rejected": words(6), "group": "xy"[n % 2]} for n in range(12)]
    _write(assets.pairs, pairs)
    _write(assets.benign, [{"id": f"n{n}", "prompt": words(4), "group": "z"} for n in range(6)])
    _write(assets.labelled, [{"id": f"l{n}", "text": words(7), "label": bool(n % 2)} for n in range(8)])
    articles = [(" = City = ", "", words(20), " = = Sub = = ", words(8 + n), "") for n in range(12)]
    _write(assets.lines, [{"text": line} for article in articles for line in article])
    return assets


def _make_other_model(model: Path, target: Path) -> None:
    """Makes the logits of toxic words 0 and those of others larger, of which some always is far above."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, tie_word_embeddings=False)
    others = [*tokenizer.convert_tokens_to_ids([f"▁{word}" for word in NEUTRAL]), *tokenizer.all_special_ids]
    with torch.no_grad():
        loaded.lm_head.weight = torch.nn.Parameter(torch.zeros_like(loaded.get_input_embeddings().weight))
        loaded.lm_head.weight[others] = 20 * loaded.get_input_embeddings().weight[others]
    loaded.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
