from __future__ import annotations

import json
import pickle
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from llm_repair.artifacts.model_checks import check_model, copy_checked
from llm_repair.artifacts.model_files import FileUse, use_of
from llm_repair.artifacts.safetensors_headers import tensor_shapes
from llm_repair.core.errors import ModelInvalid, UnsafeModel
from llm_repair.core.references import ModelRole

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "vocab_size": 16}


def model_folder(folder: Path, **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float16)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "tokenizer.json").write_text('{"model": {"vocab": {"auto_map": 1}}}')
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


class Canary:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (eval, ("__import__('pathlib').Path('canary').touch()",))


def test_standard_folder_is_accepted_and_counted(tmp_path: Path) -> None:
    checked = check_model(model_folder(tmp_path / "model"), ModelRole.CAUSAL_LM)

    assert sorted(checked.files) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert checked.parameters == 2 * 3 + 4
    assert dict(checked.config) == CONFIG


def test_read_me_and_other_formats_are_left_out(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    for name in ("README.md", ".gitattributes", "adapter_model.safetensors", "onnx/model.onnx"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")

    checked = check_model(folder, ModelRole.CAUSAL_LM)
    copy_checked(checked, tmp_path / "out")

    assert set(checked.left_out) == {"README.md", ".gitattributes", "adapter_model.safetensors", "onnx/model.onnx"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(checked.files)


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "modeling.py", "x.pkl", "x.PT", "x.ckpt", "sub/x.pth", "x.npy", "model.onnx.so", "a.zip"],
)
def test_code_and_pickles_are_refused_by_their_presence(tmp_path: Path, name: str) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(Canary()))

    with pytest.raises(UnsafeModel, match="can carry code"):
        check_model(folder, ModelRole.CAUSAL_LM)


def test_pickle_renamed_to_safetensors_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = model_folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Canary()) * 100)

    with pytest.raises(UnsafeModel):
        check_model(folder, ModelRole.CAUSAL_LM)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModel": "x.Y"}},
        {"trust_remote_code": True},
        {"_attn_implementation_internal": "kernels-community/x"},
        {"text_config": {"nested": [{"auto_map": {}}]}},
        {"custom_pipelines": {}},
    ],
)
def test_keys_that_can_name_code_are_refused(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(UnsafeModel, match="can name code"):
        check_model(model_folder(tmp_path / "model", **config), ModelRole.CAUSAL_LM)


def test_the_same_key_in_the_tokenizer_configuration_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["x.Y", null]}}')

    with pytest.raises(UnsafeModel):
        check_model(folder, ModelRole.CAUSAL_LM)


def test_keys_the_architecture_does_not_declare_never_reach_a_library(tmp_path: Path) -> None:
    extra = {"attn_implementation": "org/kernel", "_attn_implementation": "org/kernel", "later_feature": 1}
    checked = check_model(
        model_folder(tmp_path / "model", **extra, rope_theta=10000.0, torch_dtype="float32"), ModelRole.CAUSAL_LM
    )
    copy_checked(checked, tmp_path / "out")

    written = json.loads((tmp_path / "out/config.json").read_text())
    assert written == {**CONFIG, "rope_theta": 10000.0, "torch_dtype": "float32"}
    assert set(checked.dropped_keys) == set(extra)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "{", "[NaN]", "\x00", '"' + "[" * 10, "[" * 200_000])
def test_json_two_parsers_could_read_differently_is_refused(tmp_path: Path, text: str) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "config.json").write_text(text)

    with pytest.raises(UnsafeModel):
        check_model(folder, ModelRole.CAUSAL_LM)


@pytest.mark.parametrize("missing", ["tokenizer.json", "model.safetensors", "config.json"])
def test_incomplete_folder_is_invalid(tmp_path: Path, missing: str) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / missing).unlink()

    with pytest.raises(ModelInvalid):
        check_model(folder, ModelRole.CAUSAL_LM)


@pytest.mark.parametrize(
    "config", [{"model_type": "vit"}, {"model_type": "no-such"}, {"model_type": 3}, {"quantization_config": {"a": 1}}]
)
def test_architecture_that_cannot_be_repaired_is_invalid(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(ModelInvalid):
        check_model(model_folder(tmp_path / "model", **config), ModelRole.CAUSAL_LM)


def test_link_in_a_model_folder_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "vocab.txt").symlink_to("/etc/passwd")

    with pytest.raises(UnsafeModel, match="link"):
        check_model(folder, ModelRole.CAUSAL_LM)


@pytest.mark.parametrize(
    "modules",
    [[{"type": "os.path", "path": ""}], [{"type": "sentence_transformers.models.Pooling", "path": "../x"}], {}, [3]],
)
def test_modules_outside_sentence_transformers_are_refused(tmp_path: Path, modules: object) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(UnsafeModel):
        check_model(folder, ModelRole.ENCODER)


def test_missing_shard_is_named(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weight_map = {"a": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    with pytest.raises(ModelInvalid) as caught:
        check_model(folder, ModelRole.CAUSAL_LM)
    assert caught.value.metadata["files"] == "model-00002-of-00002.safetensors"


@pytest.mark.parametrize("name", ["toxic.ckpt", "model.onnx"])
def test_judge_files_without_a_pinned_sha256_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Canary()))

    assert use_of(name, ModelRole.JUDGE) is FileUse.KEEP
    with pytest.raises(UnsafeModel, match="pinned"):
        check_model(tmp_path, ModelRole.JUDGE)


def safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(start: int, stop: int, shape: list[object], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        safetensors({}, length=2**63),
        safetensors({}, length=100 * 2**20),
        safetensors(b"[]"),
        safetensors(b'{"a"'),
        safetensors(b"[" * 100_000),
        safetensors({"a": tensor(0, 4, [1])}),
        safetensors({"a": tensor(0, 4, [1])}, b"0" * 8),
        safetensors({"a": tensor(0, 4, [2])}, b"0" * 4),
        safetensors({"a": tensor(0, 4, [1], "PICKLE")}, b"0" * 4),
        safetensors({"a": tensor(0, 4, [1]), "b": tensor(2, 6, [1])}, b"0" * 6),
        safetensors({"a": tensor(4, 8, [1])}, b"0" * 8),
        safetensors({"a": tensor(0, 4, [-1])}, b"0" * 4),
        safetensors({"a": tensor(0, 4, [1.0])}, b"0" * 4),
        safetensors({"a": {"dtype": "F32"}}),
        safetensors({"a": 3}),
        safetensors(b'{"a":%b,"a":%b}' % ((json.dumps(tensor(0, 4, [1])).encode(),) * 2), b"0" * 4),
    ],
)
def test_header_that_contradicts_itself_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)

    with pytest.raises(UnsafeModel):
        tensor_shapes(tmp_path / "model.safetensors")


def test_oversize_headers_are_refused_fast(tmp_path: Path) -> None:
    many = {f"t{i}": tensor(0, 0, [0]) for i in range(100_001)}
    (tmp_path / "many.safetensors").write_bytes(safetensors(many))
    (tmp_path / "large.safetensors").write_bytes(safetensors(b"{" + b" " * (33 * 2**20) + b"}"))

    start = time.monotonic()
    for name in ("many.safetensors", "large.safetensors"):
        with pytest.raises(UnsafeModel):
            tensor_shapes(tmp_path / name)

    assert time.monotonic() - start < 2


def test_real_file_has_the_shapes_it_was_saved_with(tmp_path: Path) -> None:
    """Oracle: the library's own writer."""
    save_file({"x": np.zeros((3, 0), np.int8), "y": np.zeros((), np.bool_), "z": np.ones((2, 2))}, tmp_path / "f")

    assert tensor_shapes(tmp_path / "f") == {"x": (3, 0), "y": (), "z": (2, 2)}
