"""report.html as a browser shows it: to eyes, to a keyboard, to a screen reader, to a printer."""

from __future__ import annotations

import itertools

import chromium
import pytest

from llm_repair.evaluation.report.examples import Texts
from llm_repair.evaluation.report.page import render_page

REPORTS = {
    "pass": {"prompts": 60, "gating": "detoxify", "labels": True, "groups": True, "with_full": True},
    "fail": {"perplexity_ratio": 1.2, "probes": True, "with_blocks": True, "steps": 300},
    "inconclusive": {"effect": 1.0, "prompts": 12, "draws": 1, "corpora": ()},
    "comparison": {"goal": "COMPARISON"},
    "bare": {"with_control": False, "with_map": False, "second_judge": False, "corpora": (), "prompts": 2, "draws": 1},
}
ATTACK = "</dd><script>hacked = 1</script><img src=x onerror='hacked = 1'>\u202etxet\u2066\x00"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with chromium.tab(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(rendered, made_up_class, tmp_path_factory):
    """Path of a page by the variant of the repair."""
    folder = tmp_path_factory.mktemp("pages")
    numbers = itertools.count()

    def path(**variant):
        page = folder / f"{next(numbers)}.html"
        page.write_text(rendered(made_up_class(**variant)).html, encoding="utf-8")
        return page

    return path


@pytest.fixture(params=REPORTS.values(), ids=REPORTS, scope="module")
def page(request, pages):
    return pages(**request.param)


CONTRASTS = """
    const parts = colour => colour.match(/[\\d.]+/g).map(Number);
    const linear = part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = node => {
        for (let at = node; at; at = at.parentElement) {
            const found = parts(getComputedStyle(at).backgroundColor);
            if (found.length < 4 || found[3] > 0) return found;
        }
        return [255, 255, 255];
    };
    const seen = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const word = walker.currentNode.data.trim(), node = walker.currentNode.parentElement;
        if (!word || !node.checkVisibility() || node.closest('[aria-hidden], title, desc')) continue;
        const style = getComputedStyle(node);
        const colour = parts(node instanceof SVGElement ? style.fill : style.color);
        const [high, low] = [luminance(colour), luminance(behind(node))].sort((a, b) => b - a);
        const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        seen.push([(high + 0.05) / (low + 0.05), large ? 3 : 4.5, word.slice(0, 40)]);
    }
    return seen;
"""


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_every_word_has_the_contrast_that_wcag_asks_for(tab, page, scheme) -> None:
    """WCAG 2.2, 1.4.3: 4.5, and 3 for large letters; measured at each piece of text that is shown."""
    tab.open(page, scheme="light" if scheme == "print" else scheme, media="print" if scheme == "print" else "")

    found = tab.run(CONTRASTS)

    assert len(found) > 100
    assert [word for contrast, least, word in found if contrast < least] == []


@pytest.mark.parametrize("width", [320, 390, 760, 1120])
def test_nothing_is_wider_than_the_window(tab, page, width) -> None:
    tab.open(page, width=width)

    assert tab.run("return document.documentElement.scrollWidth") <= width


def test_letters_in_drawings_are_neither_cut_nor_upon_each_other(tab, page) -> None:
    tab.open(page)

    crowded = tab.run("""
        const found = [];
        for (const drawing of document.querySelectorAll('svg')) {
            const edge = drawing.getBoundingClientRect();
            const all = [...drawing.querySelectorAll('text')];
            const words = all.map(word => [word.textContent, word.getBoundingClientRect()]);
            for (const [word, box] of words)
                if (box.left < edge.left - 1 || box.right > edge.right + 1
                    || box.top < edge.top - 1 || box.bottom > edge.bottom + 1) found.push('cut: ' + word);
            words.forEach(([word, box], at) => words.slice(at + 1).forEach(([other, next]) => {
                const across = Math.min(box.right, next.right) - Math.max(box.left, next.left);
                const down = Math.min(box.bottom, next.bottom) - Math.max(box.top, next.top);
                if (across > 1 && down > 4) found.push(word + ' upon ' + other);
            }));
        }
        return found;
    """)

    assert crowded == []


def test_headings_descend_by_one_level_and_every_part_has_a_name(tab, page) -> None:
    tab.open(page)

    nodes = tab.accessibility_tree()
    levels = [node["level"] for node in nodes if node["role"] == "heading"]
    named = [node for node in nodes if node["role"] in ("image", "region", "navigation", "link", "DisclosureTriangle")]

    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(next_one <= level + 1 for level, next_one in itertools.pairwise(levels))
    assert {"main", "navigation", "image"} <= {node["role"] for node in nodes}
    assert [node["role"] for node in named if not node["name"].strip()] == []


def test_every_table_has_heads_for_its_columns_and_rows(tab, page) -> None:
    tab.open(page)

    tables = tab.run("""
        return [...document.querySelectorAll('table')].map(table => [
            [...table.tHead.rows[0].cells].every(cell => cell.scope === 'col'),
            [...table.tBodies[0].rows].every(row => row.cells[0].scope === 'row'),
            [...table.rows].every(row => [...row.cells].reduce((sum, cell) => sum + cell.colSpan, 0)
                                          === table.tHead.rows[0].cells.length),
        ]);
    """)

    assert tables
    assert all(all(table) for table in tables)


def test_controls_are_told_apart_by_their_names(tab, page) -> None:
    tab.open(page)

    names = [node["name"] for node in tab.accessibility_tree() if node["role"] == "DisclosureTriangle"]

    assert len(names) == len(set(names))


def test_keyboard_reaches_every_control_in_the_order_of_the_page_and_shows_where_it_is(tab, page) -> None:
    tab.open(page)
    wanted = tab.run("return document.querySelectorAll('a, summary, pre[tabindex], .scroll[tabindex]').length")
    hidden = tab.run(
        "return document.querySelectorAll('details:not([open]) :is(a, pre[tabindex], .scroll[tabindex])').length"
    )

    reached = []
    for _ in range(wanted - hidden):
        tab.press("Tab")
        reached.append(
            tab.run("""
                const at = document.activeElement, style = getComputedStyle(at);
                const all = [...document.querySelectorAll('*')];
                return [all.indexOf(at), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0];
            """)
        )

    places = [place for place, _ in reached]
    assert places == sorted(set(places))
    assert all(is_outlined for _, is_outlined in reached)


def test_texts_are_masked_until_a_key_opens_them(tab, pages, slur) -> None:
    tab.open(pages())
    assert slur not in tab.run("return document.body.innerText")

    tab.run("document.querySelector('.reveal summary').focus()")
    tab.press("Enter")

    shown = tab.run("return document.querySelector('.reveal').innerText")
    assert slur in shown
    assert tab.run("return getComputedStyle(document.querySelector('.example .masked')).display") == "none"


def test_print_keeps_texts_masked_and_opens_everything_else(tab, pages, slur) -> None:
    tab.open(pages())
    tab.run("document.querySelectorAll('.reveal').forEach(details => details.open = true)")
    tab.do("Emulation.setEmulatedMedia", media="print")

    printed = tab.run("return document.body.innerText")
    hidden = tab.run("""
        return [...document.querySelectorAll('details.more table')].filter(table => !table.checkVisibility()
            || table.getBoundingClientRect().height === 0).length
    """)

    assert slur not in printed
    assert "█" in printed
    assert hidden == 0
    assert tab.pdf().startswith(b"%PDF")


def test_page_asks_for_nothing_and_complains_of_nothing(tab, page) -> None:
    tab.open(page)

    asked = [
        event["params"]["request"]["url"] for event in tab.events if event["method"] == "Network.requestWillBeSent"
    ]
    complaints = [event for event in tab.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]

    assert asked == [page.as_uri()]
    assert complaints == []


def test_hostile_texts_and_names_change_nothing_but_words(tab, pages) -> None:
    outline = "return [...document.querySelectorAll('*')].map(e => e.tagName).join()"

    def hostile(dossier) -> None:
        dossier["repair"]["name"] = f"projects/default/repairs/{ATTACK}"
        dossier["steps"][0]["notes"] = [{"phrase": ATTACK, "fields": {ATTACK: ATTACK}}]
        dossier["gate"]["criteria"][0]["reason"] = ATTACK

    tab.open(pages(hostile=ATTACK + "W" * 1_000_000, change=hostile), width=390)
    tab.run("document.querySelectorAll('details').forEach(details => details.open = true)")
    words = tab.run("return document.documentElement.textContent")

    assert tab.run("return typeof hacked") == "undefined"
    assert not any(sign in words for sign in "\u202e\u2066\x00")
    assert "⟨U+202E⟩" in words
    assert "998\u202f9" in words  # so many of a million characters are left out
    assert tab.run("return document.documentElement.scrollWidth") <= 390
    broken = tab.run(outline)
    tab.open(pages(hostile="x"), width=390)
    assert tab.run(outline) == broken


def test_page_of_1200_prompts_with_25_draws_is_small_and_comes_at_once(tab, rendered, made_up, tmp_path) -> None:
    """Under 3 MB; the time is that of the browser from the request to the end of loading."""
    document = rendered(made_up(groups=True)).json
    few = document["records"]["prompts"]
    document["records"]["prompts"] = [
        {**record, **{side: {"scores": {"profanity": [place / 1200] * 25}} for side in ("base", "repaired")}}
        for place, record in enumerate(few[place % len(few)] | {"prompt_id": f"p{place}"} for place in range(1200))
    ]
    html = render_page(document, Texts())
    path = tmp_path / "large.html"
    path.write_text(html, encoding="utf-8")

    tab.open(path)

    assert len(html.encode()) < 3_000_000
    assert tab.run("return performance.timing.loadEventEnd - performance.timing.navigationStart") < 5_000
