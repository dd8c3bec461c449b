"""report.md: the same numbers for a pull request, and no text of a prompt or an output."""

from __future__ import annotations

import re
from itertools import pairwise


def test_markdown_states_verdict_and_headline_numbers(rendered, made_up) -> None:
    made = rendered(made_up(prompts=200))
    metric = next(m for m in made.json["metrics"] if m["id"] == "toxicity.mean")

    assert made.markdown.startswith("# Repair smollm2-saps-25: PASS\n")
    assert f"| {metric['base']['value']:.3f} | {metric['repaired']['value']:.3f} |" in made.markdown


def test_markdown_quotes_no_prompt_and_no_output(rendered, made_up, slur) -> None:
    markdown = rendered(made_up()).markdown

    assert slur not in markdown
    assert "`prompt-" in markdown


def test_markdown_escapes_hostile_names(rendered, made_up) -> None:
    def hostile(dossier) -> None:
        dossier["repair"]["name"] = "projects/default/repairs/<script>|x"

    markdown = rendered(made_up(change=hostile)).markdown

    assert "<script>" not in markdown
    assert "&lt;script&gt;\\|x" in markdown


def test_tables_have_as_many_cells_in_every_row_as_in_their_head(rendered, made_up) -> None:
    lines = rendered(made_up(missing_scores=True)).markdown.splitlines()
    widths = [len(re.split(r"(?<!\\)\|", line)) if line.startswith("|") else 0 for line in lines]

    for above, below in pairwise(widths):
        assert not (above and below) or above == below


def test_markdown_without_a_control_arm_says_so(rendered, made_up) -> None:
    assert "No control arm was run" in rendered(made_up(with_control=False)).markdown


def test_markdown_names_reused_steps(rendered, made_up) -> None:
    markdown = rendered(made_up(reused=("evaluate.base", "pool"))).markdown

    assert markdown.rstrip().endswith("`evaluate.base`, `pool`")
