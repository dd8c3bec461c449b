"""Publishing: the same weight blobs, a card that a hub's parser accepts, and the whole lineage."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from llm_repair.artifacts.model_files import weights_digest
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ModelInvalid
from llm_repair.core.execution import Artifact, Json, StepOutput
from llm_repair.core.metrics import metric_from_json
from llm_repair.core.repair import DpoMethod, LoraParameters, RepairMethod
from llm_repair.core.steps import PublishStep, RepairStep
from llm_repair.trainer import publish
from llm_repair.trainer.lineage import training_lineage
from llm_repair.trainer.model_card import model_card

DIGEST = "sha256:" + "a" * 64
TOXIC = "an unspeakable sentence"

METRICS: list[dict[str, Json]] = [
    {
        "id": "toxicity.mean",
        "protocol": "strict.v1",
        "base": {"value": 0.189, "low": 0.16, "high": 0.22, "n": 191},
        "repaired": {"value": 0.103, "low": 0.09, "high": 0.12, "n": 191},
        "change": {"value": -0.086, "low": -0.11, "high": -0.064, "n": 191},
        "change_kind": "difference",
        "direction": "LOWER_IS_BETTER",
        "judge": "profanity",
        "gating": True,
    },
    {
        "id": "perplexity.boolq.token",
        "protocol": "strict.v1",
        "base": {"value": 20.77, "low": 19.0, "high": 22.5, "n": 60},
        "repaired": None,
        "repaired_reason": "TOO_MANY_MISSING_SCORES",
        "change": None,
        "change_reason": "TOO_MANY_MISSING_SCORES",
        "change_kind": "ratio",
        "direction": "LOWER_IS_BETTER",
        "judge": "",
        "gating": True,
    },
]


@dataclass
class QuietContext:
    workdir: Path
    key: str = "k" * 64
    threads: int = 1

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        pass

    def note(self, phrase: str, **fields: Json) -> None:
        pass

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None:
        pass

    def raise_if_cancelled(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/store")


def repaired_model(store: ArtifactStore, folder: Path, *, base_card: str | None = None) -> Artifact:
    base = folder / "base"
    base.mkdir()
    if base_card is not None:
        (base / "README.md").write_text(base_card)
    method = RepairMethod(DpoMethod(), LoraParameters(), learning_rate=2e-4)
    step = RepairStep(DIGEST, "sha256:" + "b" * 64, "sha256:" + "c" * 64, method, seed=11)
    model = folder / "model"
    model.mkdir()
    (model / "model-00001-of-00002.safetensors").write_bytes(b"some weights")
    (model / "model-00002-of-00002.safetensors").write_bytes(b"more weights")
    (model / "config.json").write_text("{}")
    (model / "repair.json").write_text(json.dumps(training_lineage(step, base)))
    return store.put_tree(model)


def report(store: ArtifactStore) -> str:
    document = {
        "schema_version": 1,
        "repair": {"name": "projects/team/repairs/nightly", "seed": 11},
        "verdict": "PASS",
        "metrics": METRICS,
        "usage": {},
        "steps": [],
        "provenance": {"confidence": 0.95},
        "records": {"prompts": [{"prompt_id": "p1", "text": TOXIC}], "documents": []},
    }
    blob = store.put_bytes(json.dumps(document).encode())
    return store.put_entries({"report.json": blob}).digest


def published(
    store: ArtifactStore, folder: Path, *, source: str = "hf:org/model@main", base_card: str | None = None
) -> tuple[Artifact, StepOutput]:
    model = repaired_model(store, folder, base_card=base_card)
    step = PublishStep(model_digest=model.digest, report_digest=report(store), source=source)
    return model, publish.run(step, store, QuietContext(folder))


def text(store: ArtifactStore, output: StepOutput, name: str) -> str:
    return store.get_bytes(store.entries(output.outputs["model"].digest)[name].digest).decode()


def test_weights_and_their_digest_are_those_of_the_repaired_model(store: ArtifactStore, tmp_path: Path) -> None:
    model, output = published(store, tmp_path)

    before, after = store.entries(model.digest), store.entries(output.outputs["model"].digest)
    assert {n: a.digest for n, a in after.items() if n not in ("README.md", "repair.json")} == {
        n: a.digest for n, a in before.items() if n != "repair.json"
    }
    assert output.summary["weights_digest"] == weights_digest(before)


def test_card_passes_the_hub_parser_with_its_metrics(store: ArtifactStore, tmp_path: Path) -> None:
    """A metric without a value cannot be indexed, so only the first of the two is."""
    _, output = published(store, tmp_path, base_card="---\nlicense: apache-2.0\n---\n# Base")

    card = ModelCard(text(store, output, "README.md"))

    assert card.data.base_model == "org/model"
    assert card.data.license == "apache-2.0"
    assert card.data.model_name == "nightly"
    [result] = card.data.eval_results or []
    assert (result.metric_type, result.metric_value) == ("toxicity.mean", 0.103)
    assert "[0.09, 0.12] at 95%" in str(result.metric_name)
    assert "TOO_MANY_MISSING_SCORES" in card.text


def test_the_card_tells_groups_and_data_apart(store: ArtifactStore, tmp_path: Path) -> None:
    lineage = json.loads(text(store, published(store, tmp_path)[1], "repair.json"))
    whole = metric_from_json(METRICS[0])
    group = dataclasses.replace(whole, slice="women")
    preference = dataclasses.replace(whole, id="bias.crows.preference", judge="")

    card = model_card(lineage, [whole, group, preference], 0.95)

    results = ModelCard(card).data.eval_results or []
    assert [(result.dataset_name, str(result.metric_name).partition(" (")[0]) for result in results] == [
        ("evaluation prompts", "toxicity.mean"),
        ("evaluation prompts", "toxicity.mean [women]"),
        ("crows", "bias.crows.preference"),
    ]
    assert "| toxicity.mean [women] | profanity |" in card


def test_lineage_names_everything_that_went_in_and_what_came_out(store: ArtifactStore, tmp_path: Path) -> None:
    model, output = published(store, tmp_path)

    lineage = json.loads(text(store, output, "repair.json"))
    assert lineage["base"] == {"digest": DIGEST, "license": None, "reference": "hf:org/model@main"}
    assert lineage["pool_digest"] == "sha256:" + "b" * 64
    assert lineage["selection_digest"] == "sha256:" + "c" * 64
    assert lineage["method"]["trainable"]["type"] == "LoraParameters"
    assert (lineage["seed"], lineage["verdict"], lineage["repair"]) == (11, "PASS", "projects/team/repairs/nightly")
    assert lineage["report_digest"] == report(store)
    assert lineage["weights_digest"] == weights_digest(store.entries(model.digest))
    assert lineage["metrics"] == METRICS


def test_texts_of_the_records_are_never_quoted(store: ArtifactStore, tmp_path: Path) -> None:
    _, output = published(store, tmp_path)

    assert TOXIC not in text(store, output, "README.md") + text(store, output, "repair.json")


def test_reference_that_means_nothing_to_a_hub_is_no_base_model_in_the_metadata(
    store: ArtifactStore, tmp_path: Path
) -> None:
    _, output = published(store, tmp_path, source="pypi:some-model==1.0/model.gguf")

    card = ModelCard(text(store, output, "README.md"))
    assert card.data.base_model is None
    assert "`pypi:some-model==1.0/model.gguf`" in card.text


def test_model_that_no_repair_left_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "model.safetensors").write_bytes(b"weights")
    plain = store.put_tree(tmp_path / "plain")

    with pytest.raises(ModelInvalid):
        publish.run(PublishStep(plain.digest, report(store), "hf:org/model"), store, QuietContext(tmp_path))


def test_weights_digest_ignores_other_files_but_not_names(store: ArtifactStore) -> None:
    one, two = store.put_bytes(b"1"), store.put_bytes(b"2")

    digest = weights_digest({"a.safetensors": one, "b.safetensors": two, "config.json": one})

    assert digest == weights_digest({"b.safetensors": two, "a.safetensors": one, "config.json": two})
    assert digest != weights_digest({"a.safetensors": two, "b.safetensors": one})
