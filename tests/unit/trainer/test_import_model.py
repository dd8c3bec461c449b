"""Importing a model within the roots and schemes that the context allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llm_repair.artifacts.references import ReferenceResolver
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import ReferenceNotAllowed, SourceChanged
from llm_repair.core.execution import Json, StepOutput
from llm_repair.core.references import ModelRef, ModelRole
from llm_repair.core.steps import ImportModelStep
from llm_repair.trainer import import_model


@dataclass
class FencedContext:
    workdir: Path
    allowed_roots: tuple[Path, ...]
    allowed_schemes: tuple[str, ...] = ("file",)
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
def source(tmp_path: Path) -> Path:
    """A folder with a small model, under the allowed root."""
    folder = tmp_path / "models" / "tiny"
    ids = {"bos_token_id": None, "eos_token_id": 0}
    config = LlamaConfig(
        vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, **ids
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"<end>": 0, "a": 1, "b": 2, "<unk>": 3}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>").save_pretrained(folder)
    return folder


def imported(
    tmp_path: Path, source: Path, *, root: Path, digest: str | None = None
) -> tuple[ArtifactStore, StepOutput]:
    store = ArtifactStore(f"file://{tmp_path}/store")
    reference = f"file:{source}"
    if digest is None:
        digest = ReferenceResolver((tmp_path,), ("file",), store).resolve(reference).digest
    workdir = tmp_path / "work"
    workdir.mkdir()
    step = ImportModelStep(ModelRef(reference), digest, ModelRole.CAUSAL_LM)
    return store, import_model.run(step, store, FencedContext(workdir, (root,)))


def test_model_under_an_allowed_root_becomes_a_folder_that_loads(tmp_path: Path, source: Path) -> None:
    store, output = imported(tmp_path, source, root=tmp_path / "models")

    model = AutoModelForCausalLM.from_pretrained(store.materialize(output.outputs["model"].digest))
    assert model.config.vocab_size == 4


def test_model_outside_the_allowed_roots_is_refused(tmp_path: Path, source: Path) -> None:
    (tmp_path / "elsewhere").mkdir()

    with pytest.raises(ReferenceNotAllowed):
        imported(tmp_path, source, root=tmp_path / "elsewhere")


def test_model_that_changed_since_the_job_was_created_is_refused(tmp_path: Path, source: Path) -> None:
    with pytest.raises(SourceChanged):
        imported(tmp_path, source, root=tmp_path / "models", digest="sha256:" + "0" * 64)
