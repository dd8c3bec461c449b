"""A published model is what its users' tools load: transformers, PEFT and vLLM, with nothing of ours in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from acceptance_spec import tiny_spec
from tiny_assets import TinyAssets

from llm_repair.artifacts.store import ArtifactStore
from llm_repair.client import RepairClient

TEXTS = ["The river rises in the hills", "She opened the window, looked at the sky and went out", "x y"]


@pytest.mark.timeout(600)
async def test_a_repaired_model_reads_texts_alike_in_transformers_and_in_vllm(
    client: RepairClient, tiny: TinyAssets, out: Path
) -> None:
    """The adapters are merged: the folder is whole, and both give the log-probability of every token within 1e-4."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    spec = tiny_spec(tiny, prompts=None, pool=f"file:{tiny.pairs}", strategy="random", random_control=False, lora=True)
    repair = await (handle := await client.create_repair(spec)).result()
    await handle.model(out)
    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModelForCausalLM.from_pretrained(out).eval()
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in TEXTS]

    by_vllm = _read_by_vllm(out, ids)

    files = {"README.md", "repair.json", "config.json", "generation_config.json", "model.safetensors"}
    assert files <= set(os.listdir(out))  # noqa: PTH208 - no other call of the loop waits for it
    assert GenerationConfig.from_pretrained(out)
    for text, found in zip(ids, by_vllm, strict=True):
        expected = _log_probs(model, text)
        torch.testing.assert_close(torch.tensor(found), expected, atol=1e-4, rtol=0)
    base = AutoModelForCausalLM.from_pretrained(tiny.model).eval()
    assert any((_log_probs(base, text) - _log_probs(model, text)).abs().max() > 1e-3 for text in ids)
    assert repair.weights_digest == json.loads((out / "repair.json").read_text())["weights_digest"]


async def test_the_adapter_on_the_base_model_is_the_published_model(
    client: RepairClient, tiny: TinyAssets, stack_store: ArtifactStore, out: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = tiny_spec(tiny, prompts=None, pool=f"file:{tiny.pairs}", strategy="random", random_control=False, lora=True)
    repair = await (handle := await client.create_repair(spec)).result()
    await handle.model(out)
    adapter = next(step for step in repair.steps if step.name == "repair").outputs["adapter"]

    base = AutoModelForCausalLM.from_pretrained(tiny.model)
    adapted = PeftModel.from_pretrained(base, stack_store.materialize(adapter.digest)).eval()

    published = AutoModelForCausalLM.from_pretrained(out).eval()
    ids = AutoTokenizer.from_pretrained(out)(TEXTS[0], add_special_tokens=False).input_ids
    torch.testing.assert_close(_log_probs(adapted, ids), _log_probs(published, ids), atol=1e-5, rtol=0)


def _read_by_vllm(folder: Path, ids: list[list[int]]) -> list[list[float]]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("vllm_reader.py")), json.dumps([str(folder), ids])],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@torch.no_grad()
def _log_probs(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    """Returns log p of every token but the first."""
    logits = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return logits.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
