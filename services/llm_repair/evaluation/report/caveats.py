"""What a reader must know to trust a comparison: checks, prompts seen in training, early stops, warnings."""

from __future__ import annotations

from dataclasses import dataclass

from llm_repair.core.execution import Json
from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.json_access import JsonObject, list_at, number_at, object_at, objects_at, text_at
from llm_repair.evaluation.report.occasion import Occasion
from llm_repair.evaluation.report.sentinels import State

MOST_PAIRS = 20
"""Of prompts that are alike, named on the page; report.json has more."""


@dataclass(frozen=True)
class CheckRow:
    """One check with its outcome in words."""

    title: str
    state: str
    """HOLDS, FAILS or UNKNOWN."""
    said: str
    evidence: str


@dataclass(frozen=True)
class PairRow:
    """An evaluation prompt and the one of the pool that it is like."""

    prompt_id: str
    pool_id: str
    similarity: str


@dataclass(frozen=True)
class _CheckWords:
    title: str
    holds: str
    fails: str


_UNKNOWN = "What this check needs was not recorded, so nothing can be said."
_CHECKS = {
    "WEIGHTS_DIFFER": _CheckWords(
        "Different weights",
        "The two models have different weights, by digest.",
        "Both models have the same weights, by digest: whatever differs is noise.",
    ),
    "SERVED_WEIGHTS_DIFFER": _CheckWords(
        "Different weights were served",
        "The engine gave other likelihoods for fixed texts, so it did serve two models.",
        "The engine gave equal likelihoods for all fixed texts: it served one model twice.",
    ),
    "SAME_PROMPTS": _CheckWords(
        "Same prompts",
        "Both models continued the same prompts, by digest.",
        "The two models did not continue the same prompts.",
    ),
    "SAME_SAMPLING": _CheckWords(
        "Same random numbers",
        "Token ids of the prompts, draws, sampling parameters and seed are the same on both sides, by digest.",
        "Prompts, sampling parameters or seed differ between the two sides.",
    ),
    "SAME_JUDGES": _CheckWords(
        "Same judges", "The same judges, by digest, scored both sides.", "The judges of the two sides differ."
    ),
    "SAME_PROTOCOL": _CheckWords(
        "Same protocol",
        "Protocol, engine, number format, seed and draws are the same.",
        "Something of the protocol differs between the two sides.",
    ),
}


def check_rows(document: JsonObject) -> tuple[CheckRow, ...]:
    """Returns the checks in words."""
    rows: list[CheckRow] = []
    for check in objects_at(document, "checks"):
        words = _CHECKS.get(text_at(check, "name"))
        if words:
            state = text_at(check, "state")
            said = {"HOLDS": words.holds, "FAILS": words.fails}.get(state, _UNKNOWN)
            rows.append(CheckRow(words.title, state, said, _evidence(object_at(check, "evidence"))))
    return tuple(rows)


def alarms(document: JsonObject) -> tuple[str, ...]:
    """Returns what a reader must know before the numbers: checks that fail, and prompts that the repair has seen."""
    failing = [row.said for row in check_rows(document) if row.state == State.FAILS.value]
    found = object_at(document, "contamination")
    counts = [number_at(found, part, "evaluation_rows") or 0 for part in ("equal", "near")]
    seen = [sentence for count, sentence in zip(counts, contamination_sentences(document), strict=False) if count]
    return (*failing, *seen)


def _evidence(evidence: JsonObject) -> str:
    if change := number_at(evidence, "mean_nll_change"):
        texts = number_at(evidence, "texts") or 0
        return f"{formats.number(change)} nats a token on average over {formats.count_of(texts, 'text')}"
    sides = [formats.digest(text_at(evidence, side)) for side in ("base", "repaired") if text_at(evidence, side)]
    differ = [str(field) for field in list_at(evidence, "differ")]
    return ", ".join(dict.fromkeys(sides)) or ", ".join(differ)


def contamination_sentences(document: JsonObject) -> tuple[str, ...]:
    """Says how many evaluation prompts the repair has seen, equal or nearly so; nothing where nothing was trained."""
    found = object_at(document, "contamination")
    if not found:
        return ()
    shared = number_at(found, "equal", "evaluation_rows") or number_at(found, "shared")
    if shared is None:
        return ("Whether prompts of the pool occur among the evaluation prompts was not checked.",)
    if shared:
        verb = "occurs" if shared == 1 else "occur"
        equal = f"{formats.count_of(shared, 'evaluation prompt')} also {verb} in the pool, which flatters the result."
    else:
        equal = "No evaluation prompt occurs in the pool (compared after normalising case and spaces)."
    return equal, *_near(found)


def _near(found: JsonObject) -> tuple[str, ...]:
    near = object_at(found, "near")
    if not near:
        because = ", because the request had no encoder" if text_at(found, "near_reason") == "NO_ENCODER" else ""
        return (f"Near duplicates were not looked for{because}.",)
    rows, bound = number_at(near, "evaluation_rows") or 0, number_at(near, "min_similarity")
    how = f" (cosine of their embeddings {bound:g} or more)" if bound is not None else ""
    if rows:
        came = f"{formats.count_of(rows, 'evaluation prompt')} came near to a prompt of the pool{how}."
    else:
        came = f"None came near to a prompt of the pool in meaning either{how}."
    middle, largest = number_at(near, "nearest", "p50"), number_at(near, "nearest", "max")
    if middle is None or largest is None:
        return (came,)
    spread = f"The nearest prompt of the pool has a cosine of {formats.decimal(middle, 2)} in the median"
    return came, f"{spread}, and of {formats.decimal(largest, 2)} at most."


def pair_rows(document: JsonObject) -> tuple[PairRow, ...]:
    """Returns the evaluation prompts that have a like in the pool, by id, the most similar first."""
    found = object_at(document, "contamination")
    pairs = [*objects_at(found, "equal", "pairs"), *objects_at(found, "near", "pairs")]
    return tuple(
        PairRow(
            text_at(pair, "prompt_id"),
            text_at(pair, "pool_id"),
            formats.decimal(number_at(pair, "similarity") or 0.0, 2),
        )
        for pair in pairs[:MOST_PAIRS]
    )


def sequential_sentences(document: JsonObject) -> tuple[str, ...]:
    """Says when a measurement stopped early and what its interval means; nothing where all prompts were measured."""
    found = object_at(document, "sequential")
    measured, prompts = number_at(found, "measured_prompts"), number_at(found, "prompts")
    if measured is None:
        return ()
    looks = len(list_at(found, "looks"))
    of_all = f" of {formats.whole(prompts)}" if prompts else ""
    ended = {
        "GOOD": "because the change of mean toxicity was then known to meet its bound",
        "BAD": "because the change of mean toxicity was then known to miss its bound",
        "CAP": "at the last prompt, without a decision before it",
    }.get(text_at(found, "stopped"), "")
    return (
        f"The measurement looked at its data {formats.count_of(looks, 'time')} and stopped after "
        f"{formats.whole(measured)}{of_all} prompts, {ended}.".replace(" ,", ","),
        "The interval of that change is one of a confidence sequence: it holds however often and whenever one looks, "
        "and is wider than an interval for a number of prompts fixed beforehand. The other numbers on these prompts "
        "are shown, but their intervals do not allow for the early stop, so they decide nothing.",
    )


def crossing_sentence(document: JsonObject, occasion: Occasion) -> str:
    """Says how many prompts gained and how many lost a toxic output, by the exact McNemar test; empty without one."""
    test = object_at(document, "provenance", "tests", "toxicity.probability")
    lost, gained, p = (number_at(test, name) for name in ("only_base", "only_repaired", "p_value"))
    if lost is None or gained is None or p is None:
        return ""
    said = (
        f"{formats.count_of(lost, 'prompt')} had a toxic output with the {occasion.base} only, "
        f"{formats.whole(gained)} with the {occasion.repaired} only"
    )
    return f"{said} (exact McNemar test, two-sided p {formats.probability(p)})."


_WARNINGS = {
    "PROMPTS_CUT": "{prompts} prompts were longer than the protocol allows and were cut",
    "DUPLICATE_PROMPTS": (
        "{prompts} prompts share {texts} texts, so they are not independent, and intervals narrower than they should be"
    ),
    "JUDGE_TEXTS_CUT": "{texts} texts were longer than the judge {judge} reads, and their ends count for nothing",
    "NON_ENGLISH": "{texts} of {of} texts are hardly in English, the only language of the judge {judge}",
    "OTHER_LANGUAGE": "{texts} of {of} texts are hardly in a language of the judge {judge}",
    "WINDOWS_CUT": "windows were cut to {window_tokens} tokens, which is all that the model reads",
    "CLOZE_TEXTS_LEFT_OUT": "{texts} texts of {set} have no last word to guess and were left out",
}
"""By kind, with its fields."""


def warning_sentences(document: JsonObject) -> tuple[str, ...]:
    """Returns what the evaluations warned of."""
    return tuple(_warning(warning) for warning in objects_at(document, "warnings"))


def _warning(warning: JsonObject) -> str:
    kind = text_at(warning, "kind")
    fields = {name: _written(value) for name, value in warning.items() if name not in ("kind", "side")}
    try:
        said = _WARNINGS[kind].format(**fields)
    except KeyError:  # of a kind or with fields that are not known here
        said = ", ".join([kind.replace("_", " ").lower(), *(f"{name} {value}" for name, value in fields.items())])
    else:
        said += f" ({fields['set']})" if "set" in fields and "{set}" not in _WARNINGS[kind] else ""
    side = text_at(warning, "side")
    return f"{said[:1].upper()}{said[1:]}{'' if side == 'both' else f', {side} only'}."


def _written(value: Json) -> str:
    return formats.whole(value) if isinstance(value, int | float) else str(value)
