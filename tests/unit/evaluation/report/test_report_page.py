"""report.html: it says what report.json says, hides what is offensive, and needs nothing from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest

VOID = {"meta", "br", "img", "hr", "input", "link", "source"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    parent: Element | None
    texts: list[str] = field(default_factory=list)

    @property
    def ancestors(self) -> list[Element]:
        return [] if self.parent is None else [self.parent, *self.parent.ancestors]


class Page(HTMLParser):
    """Keeps every element with its own text; HTML that is not nested properly fails."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag, attrs) -> None:
        element = Element(tag, dict(attrs), self._open[-1] if self._open else None)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs) -> None:
        self.elements.append(Element(tag, dict(attrs), self._open[-1] if self._open else None))

    def handle_endtag(self, tag) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data) -> None:
        if self._open:
            self._open[-1].texts.append(data)

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]


def text_of(html: str) -> str:
    body = html[html.index("<body>") :]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def first_screen(html: str) -> str:
    return html[html.index("<header") : html.index("</header>") + len("</header>")]


def test_every_number_on_the_first_screen_is_that_of_the_document(rendered, made_up) -> None:
    made = rendered(made_up())
    metrics = {metric["id"]: metric for metric in made.json["metrics"] if metric["gating"]}
    shown = Page(first_screen(made.html)).all("data")

    assert len(shown) == 4 * 3  # two toxicity numbers and two corpora; before, after, change
    for element in shown:
        metric, _, side = str(element.attributes["data-source"]).rpartition("/")
        exact = metrics[metric][side]["value"]
        assert float(str(element.attributes["value"])) == exact
        written = float(re.sub(r"[^\d.+-]", "", "".join(element.texts).replace("\u2212", "-")))
        is_share = metric == "toxicity.probability"
        if metric.startswith("perplexity"):
            expected, places = ((exact - 1) * 100, 1) if side == "change" else (exact, 2)
        else:
            expected, places = (exact * 100, 1) if is_share else (exact, 3)
        assert written == pytest.approx(expected, abs=0.5 * 10**-places + 1e-9)


def test_first_screen_adds_the_bill_of_the_steps_that_ran(rendered, made_up) -> None:
    """All but imports: 27.4+131.8+3.9+0.8+0.2+42.3+41.0+27.0+26.8+1.9+1.9+1.8 = 306.8 s = 5 min 07 s.

    Set-up: 21.0+6.0+1.1+0.9 = 29.0 s. Selection 3.9+0.8 = 4.7 s. Evaluation 27.4+27.0+1.9 = 56.3 s. Control arm
    0.2+41.0+26.8+1.9+1.8 = 71.7 s.
    """
    bill = text_of("<body>" + first_screen(rendered(made_up()).html)).replace("\u202f", " ")

    assert "5 min 07 s in all: pool 2 min 12 s, selection 4.7 s, repair 42 s, evaluation 56 s, control arm 72 s" in bill
    assert "took 29 s more" in bill


@pytest.mark.parametrize(
    ("variant", "verdict", "sentence"),
    [
        ({"prompts": 200}, "PASS", "All 4 criteria are met: mean toxicity fell by"),
        (
            {"perplexity_ratio": 1.2},
            "FAIL",
            "2 of 4 criteria are not met: perplexity on BoolQ, perplexity on WikiText-2",
        ),
        ({"effect": 1.0, "prompts": 12, "draws": 1, "corpora": ()}, "INCONCLUSIVE", "Nothing failed, but"),
    ],
)
def test_badge_and_sentence_state_the_verdict(rendered, made_up, variant, verdict, sentence) -> None:
    made = rendered(made_up(**variant))
    badges = [e for e in Page(made.html).all("span") if "badge" in str(e.attributes.get("class"))]

    assert made.json["verdict"] == verdict
    assert ["".join(badge.texts) for badge in badges] == [verdict]
    assert sentence in "".join(Page(made.html).all("h1")[0].texts)


def test_page_without_a_control_arm_says_that_nothing_is_known_about_the_selection(rendered, made_up) -> None:
    html = rendered(made_up(with_control=False)).html

    assert "No control arm was run. Whether the choice of samples mattered is not known." in html
    assert "Both arms" not in html


def test_control_arm_is_called_separated_only_where_its_interval_leaves_out_zero(rendered, made_up) -> None:
    made = rendered(made_up())
    difference = next(m for m in made.json["control"]["difference"] if m["id"] == "toxicity.mean")["change"]
    is_separated = not difference["low"] <= 0 <= difference["high"]

    assert ("<strong>Separated:" in made.html) == is_separated
    assert ("<strong>Not separated:" in made.html) == (not is_separated)


def test_equal_arms_are_not_separated(rendered, made_up) -> None:
    def same_arms(dossier) -> None:
        main, control = dossier["arms"]
        control["comparison"] = main["comparison"]
        dossier["control_comparison"] = dossier["arms"][0]["comparison"]

    html = rendered(made_up(effect=1.0, change=same_arms)).html

    assert "<strong>Not separated:" in html


def test_missing_metric_is_shown_with_its_reason_and_never_as_zero(rendered, made_up) -> None:
    made = rendered(made_up(missing_scores=True))
    metric = next(m for m in made.json["metrics"] if m["id"] == "toxicity.mean")
    card = text_of("<body>" + first_screen(made.html))

    assert metric["repaired"] is None
    assert made.json["verdict"] == "FAIL"
    assert "too many outputs without a judge score" in card
    assert "→ –" in card
    assert "0.000" not in card


def test_repair_cut_short_before_any_comparison_still_has_a_page(rendered, made_up) -> None:
    def cut_short(dossier) -> None:
        dossier["arms"] = []
        dossier["evaluations"] = {"base": dossier["evaluations"]["base"], "repaired": None, "control": None}
        dossier["control_comparison"] = None
        dossier["gate"] = {"verdict": "INCONCLUSIVE", "confidence": 0.95, "criteria": []}

    made = rendered(made_up(change=cut_short))

    assert made.json["metrics"] == []
    assert made.html.count("Not measured.") == 3
    assert "There were no criteria to check." in made.html
    assert "No outputs were recorded." in made.html


def test_reused_steps_are_named_and_hatched_at_their_former_cost(rendered, made_up) -> None:
    html = rendered(made_up(reused=("evaluate.base", "pool"))).html.replace("\u202f", " ")

    assert "Reused from earlier work, at no cost: <code>evaluate.base</code>, <code>pool</code>." in html
    assert "url(#hatch-s-pool)" in html
    assert "reused, 2 min 12 s saved" in html


def test_texts_can_be_read_only_inside_closed_details(rendered, made_up, slur) -> None:
    page = Page(rendered(made_up()).html)
    holders = [element for element in page.elements if slur in "".join(element.texts)]

    assert holders
    for holder in holders:
        details = [ancestor for ancestor in holder.ancestors if ancestor.tag == "details"]
        assert details
        assert all("open" not in ancestor.attributes for ancestor in details)
    assert not any(slur in str(value) for element in page.elements for value in element.attributes.values())


def test_print_keeps_the_texts_masked(rendered, made_up) -> None:
    html = rendered(made_up()).html
    printed = html[html.index("@media print") : html.index("</style>")]

    assert re.search(r"\.reveal \{ display: none; \}", printed)


def test_hostile_text_is_escaped(rendered, made_up) -> None:
    attack = "</dd><script>alert(1)</script><img src=x onerror=alert(1)>"

    def hostile_names(dossier) -> None:
        dossier["repair"]["name"] = f"projects/default/repairs/{attack}"
        dossier["steps"][0]["notes"] = [{"phrase": attack, "fields": {attack: attack}}]

    html = rendered(made_up(hostile=attack, change=hostile_names)).html

    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
    Page(html)


def test_page_asks_nothing_from_outside_and_runs_no_script(rendered, made_up) -> None:
    html = rendered(made_up()).html
    page = Page(html)

    assert not page.all("script")
    assert not page.all("link")
    assert not any({"src", "onclick", "onload"} & set(element.attributes) for element in page.elements)
    assert "url(" not in html.replace("url(#hatch", "")
    assert "default-src 'none'" in html


def test_every_plot_has_a_title_and_a_description_with_numbers(rendered, made_up) -> None:
    page = Page(rendered(made_up()).html)
    plots = page.all("svg")
    named = {
        str(element.attributes["id"]): "".join(element.texts)
        for element in (*page.all("title"), *page.all("desc"))
        if "id" in element.attributes
    }

    assert len(plots) == 9
    for plot in plots:
        title, description = str(plot.attributes["aria-labelledby"]).split()
        assert named[title]
        assert re.search(r"\d", named[description])


def test_ids_are_unique_and_every_label_exists(rendered, made_up) -> None:
    page = Page(rendered(made_up(reused=("evaluate.base", "pool"))).html)
    ids = [str(element.attributes["id"]) for element in page.elements if "id" in element.attributes]
    labels = [label for e in page.elements for label in str(e.attributes.get("aria-labelledby") or "").split()]

    assert len(ids) == len(set(ids))
    assert set(labels) <= set(ids)


def test_gating_judge_that_made_the_pairs_is_named_so(rendered, made_up) -> None:
    sentence = "The gating judge also made the training pairs; the second judge did not."

    def brought_pool(dossier) -> None:
        dossier["pool_judge"] = None

    assert sentence in rendered(made_up()).html
    assert sentence not in rendered(made_up(change=brought_pool)).html


def test_shared_prompts_are_admitted(rendered, made_up) -> None:
    def overlapping(dossier) -> None:
        dossier["overlap"]["shared"] = 3

    assert (
        "3 evaluation prompts also occur in the pool, which flatters the result."
        in rendered(made_up(change=overlapping)).html
    )


def test_page_of_two_hundred_prompts_stays_small(rendered, made_up) -> None:
    made = rendered(made_up(prompts=200))

    assert len(made.html.encode()) < 200_000


def headings(html: str) -> list[str]:
    page = Page(html)
    return ["".join(element.texts) for tag in ("h1", "h2", "h3") for element in page.all(tag)]


def test_model_measured_alone_has_no_part_of_a_repair(rendered, made_up) -> None:
    made = rendered(made_up(goal="MEASUREMENT", probes=True, groups=True))
    found = " ".join(headings(made.html))

    assert made.json["verdict"] is None
    assert "MEASURED" in first_screen(made.html)
    for part in ("Control", "samples and the training", "reconstructed", "cost", "changed", "trusted"):
        assert part not in found, part
    assert "Most toxic outputs" in found
    assert not re.search(r"\b(before|after|baseline)\b", text_of("<body>" + first_screen(made.html)), re.IGNORECASE)
    assert "occurs in the pool" not in made.html


def test_comparison_speaks_of_a_baseline_and_not_of_a_repair(rendered, made_up) -> None:
    html = rendered(made_up(goal="COMPARISON")).html

    assert "Evaluation smollm2-saps-25" in html
    assert "hf:org/base@main" in first_screen(html)
    assert "Baseline → model, then the change." in html
    assert "trained once" not in html
    assert "Control arm" not in html


def test_reconstructed_scores_are_called_so_and_say_what_they_lack(rendered, made_up) -> None:
    without = text_of(rendered(made_up()).html)
    with_full = text_of(rendered(made_up(with_full=True)).html)

    assert "OPS (reconstructed)" in without
    assert "The study behind this method did not publish its formulas." in without
    assert without.count("needs an arm repaired on the whole pool, which was not run") == 4
    assert "needs an arm repaired on the whole pool" not in with_full
    assert "RES without checkpoints (reconstructed)" in with_full


def test_changes_are_shown_by_group_and_by_label(rendered, made_up) -> None:
    page = Page(rendered(made_up(gating="detoxify", labels=True, groups=True)).html)
    titles = {"".join(element.texts) for element in page.all("title")}
    captions = {"".join(element.texts) for element in page.all("summary")}

    assert {"Change by kind of toxicity", "Change of mean toxicity by group"} <= titles
    assert "Mean toxicity by group, as a table (3)" in captions
    assert "Mean toxicity, hatesonar by group, as a table (3)" in captions
    assert "Every label of the gating judge (3)" in captions


def test_failing_check_and_seen_prompts_stand_on_the_first_screen(rendered, made_up) -> None:
    def overlapping(dossier) -> None:
        pair = {"prompt_id": "prompt-0003", "pool_id": "pool-17", "similarity": 1.0}
        dossier["overlap"]["equal"] = {"evaluation_rows": 3, "pool_rows": 3, "pairs": [pair]}

    seen = rendered(made_up(change=overlapping)).html
    twice = rendered(made_up(goal="COMPARISON", same_model=True)).html

    assert "3 evaluation prompts also occur in the pool" in first_screen(seen)
    assert "pool-17" in seen
    assert "Both models have the same weights, by digest" in first_screen(twice)


def test_early_stop_stands_on_the_first_screen(rendered, made_up) -> None:
    html = rendered(made_up(prompts=160, stopped_after=150)).html.replace("\u202f", " ")

    assert "stopped after 150 of 160 prompts" in first_screen(html)
    assert "interval of the sequence" in html
    assert "When the measurement stopped" in headings(html)


def test_worst_regressions_are_listed_by_id_with_counts_of_toxic_outputs(rendered, made_up) -> None:
    made = rendered(made_up(prompts=20, draws=2, second_judge=False))
    records = made.json["records"]["prompts"]
    worst = max(
        records, key=lambda r: r["judges"]["profanity"]["repaired_mean"] - r["judges"]["profanity"]["base_mean"]
    )
    table = made.html[made.html.index('aria-label="Worst regressions') :]

    first = re.search(r"<tbody>\s*<tr>(.*?)</tr>", table, re.DOTALL)[1]

    assert f"<code>{worst['prompt_id']}</code>" in first
    toxic = [sum(score >= 0.5 for score in worst[side]["scores"]["profanity"]) for side in ("base", "repaired")]
    assert [f"{count} of 2" for count in toxic] == re.findall(r"\d of 2", first)
