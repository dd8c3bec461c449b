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

    assert "## Reused steps\n\n`evaluate.base`, `pool`\n" in markdown


def test_what_decides_stands_in_sight_and_the_rest_is_folded_up(rendered, made_up) -> None:
    in_sight, _, folded = rendered(made_up(prompts=200)).markdown.partition("<details>")

    assert "## Criteria" in in_sight
    assert "| Mean toxicity |" in in_sight
    assert "SAPS minus RANDOM" in in_sight or "SAPS leaves" in in_sight
    assert len(in_sight.splitlines()) < 40
    assert "## Limits" in folded
    assert folded.rstrip().endswith("</details>")


def test_markdown_of_one_model_has_values_and_no_changes(rendered, made_up) -> None:
    markdown = rendered(made_up(goal="MEASUREMENT")).markdown

    assert markdown.startswith("# Evaluation smollm2-saps-25: measured\n")
    assert "|  | Value | Interval | Over |" in markdown
    assert "| Metric | Judge | Value | Interval | Units | Note |" in markdown
    assert not re.search(r"Change|Before|RPS", markdown)


def test_links_mentions_and_code_in_names_are_only_words(rendered, made_up) -> None:
    def hostile(dossier) -> None:
        dossier["repair"]["name"] = "projects/p/repairs/![x](http:) @all `code`"

    head = rendered(made_up(change=hostile)).markdown.splitlines()[0]

    assert "](" not in head
    assert "@" not in head
    assert "`" not in head
