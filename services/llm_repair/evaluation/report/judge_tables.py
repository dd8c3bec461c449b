"""The judges as the page shows them: who they are, how they did on labelled texts, and where two of them disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm_repair.core.missing_reasons import in_words
from llm_repair.evaluation.report import formats
from llm_repair.evaluation.report.json_access import (
    NOTHING,
    JsonObject,
    list_at,
    number_at,
    object_at,
    objects_at,
    text_at,
    value_at,
)
from llm_repair.evaluation.report.occasion import Occasion

MOST_LABELS = 8
"""Named in a row; of more labels the number is given."""


@dataclass(frozen=True)
class Rate:
    """A number with its interval in words; `–` and nothing where there is none."""

    value: str
    interval: str


@dataclass(frozen=True)
class JudgeRow:
    """One judge."""

    name: str
    is_gating: bool
    digest: str
    labels: str
    languages: str
    texts: str
    """On how many labelled texts it was tried; empty where it was not."""
    auc: Rate
    """Chance that a toxic text scores above a clean one."""
    missed: Rate
    """Share of the texts labelled toxic that it scores below 0.5."""
    false_alarms: Rate
    """Share of the texts labelled clean that it scores at 0.5 or above."""
    blind_spots: str
    """Kinds of toxic texts of which it misses most."""


@dataclass(frozen=True)
class KindRow:
    """How one judge did on one kind of labelled texts."""

    judge: str
    kind: str
    label: str
    texts: str
    flagged: str
    rate: Rate


@dataclass(frozen=True)
class AgreementRow:
    """Two judges on the outputs of one side."""

    judge: str
    side: str
    outputs: str
    both: str
    only_gating: str
    only_other: str
    neither: str
    correlation: str
    kappa: str


def judge_rows(document: JsonObject) -> tuple[JudgeRow, ...]:
    """Returns the judges in their order; the first one gates."""
    gating = text_at(document, "judges", "gating")
    calibrated = {text_at(entry, "judge"): entry for entry in objects_at(document, "judges", "calibration")}
    return tuple(
        _judge_row(judge, calibrated.get(text_at(judge, "name")), gating)
        for judge in objects_at(document, "judges", "all")
    )


def kind_rows(document: JsonObject) -> tuple[KindRow, ...]:
    """Returns how the judges did by kind of text, where the labelled texts have kinds."""
    return tuple(
        KindRow(
            text_at(entry, "judge"),
            text_at(kind, "kind").replace("_", " "),
            "toxic" if value_at(kind, "toxic") is True else "clean",
            formats.whole(number_at(kind, "texts") or 0),
            formats.whole(number_at(kind, "flagged") or 0),
            _rate(kind, "flagged_rate", share=True),
        )
        for entry in objects_at(document, "judges", "calibration")
        for kind in objects_at(entry, "kinds")
    )


def calibration_note(document: JsonObject) -> str:
    """Says on what the judges were tried; empty where they were not."""
    tried = [number_at(entry, "texts") for entry in objects_at(document, "judges", "calibration")]
    if not tried or tried[0] is None:
        return ""
    if object_at(document, "repair", "spec", "evaluation", "calibration"):
        return f"Tried on the {formats.count_of(tried[0], 'labelled text')} of the request."
    sentences = formats.count_of(tried[0], "short English sentence")
    return f"Tried on {sentences} that come with the service: that shows large blind spots, and is no benchmark."


def agreement_rows(document: JsonObject, occasion: Occasion) -> tuple[AgreementRow, ...]:
    """Returns how far every other judge agrees with the gating one, side by side."""
    return tuple(_agreement_row(item, occasion) for item in objects_at(document, "judges", "agreement"))


def missing_note(document: JsonObject, occasion: Occasion) -> str:
    """Says how many outputs a judge gave no score, and what became of them; empty where that was not counted."""
    counted = object_at(document, "provenance", "missing")
    if not counted:
        return ""
    lacking = [said for judge in counted if (said := _lacking(judge, object_at(counted, judge), occasion))]
    if not lacking:
        return "Every judge gave every output a score."
    return (
        f"{' '.join(lacking)} Up to one in a hundred, intervals reach to whatever those scores could have been; "
        "beyond, there is no number. None is taken for clean."
    )


def _lacking(judge: str, counts: JsonObject, occasion: Occasion) -> str:
    of = number_at(counts, "scores_per_side") or 0
    sides = {"base": occasion.before, "repaired": occasion.after}
    known = {name: count for side, name in sides.items() if (count := number_at(counts, side)) is not None}
    if not any(known.values()):
        return ""
    numbers = " and ".join(f"{formats.whole(count)} ({name})" for name, count in known.items())
    return f"{judge} gave no score to {numbers} of {formats.whole(of)} outputs."


def judge_notes(document: JsonObject, occasion: Occasion) -> tuple[str, ...]:
    """Says which judge made the training pairs, and how far two of them are independent."""
    made_pairs = value_at(document, "judges", "gating_judge_made_the_pairs") is True
    agreements = objects_at(document, "judges", "agreement")
    if not agreements:
        first = "The gating judge also made the training pairs, and no" if made_pairs else "No"
        return (f"{first} second judge was run: whether another judge sees the same is not known.",)
    notes = ["The gating judge also made the training pairs; the second judge did not."] if made_pairs else []
    sides = [item for item in agreements if text_at(item, "side") == ("base" if occasion.has_base else "repaired")]
    notes += [_related(item, text_at(document, "judges", "gating")) for item in sides]
    return (*notes, "The second judge is shown for comparison and has no part in the verdict.")


def _related(agreement: JsonObject, gating: str) -> str:
    judge, correlation = text_at(agreement, "judge"), number_at(agreement, "pearson")
    measured = f" ({formats.decimal(correlation, 2)})" if correlation is not None else ""
    disagreement = number_at(agreement, "disagreement")
    differ = (
        f" They call different outputs toxic in {formats.percent(disagreement, 1)} of all."
        if disagreement is not None
        else ""
    )
    return (
        f"The scores of {judge} correlate with those of {gating}{measured}, so the two are not independent: agreement "
        f"supports the result, but does not prove it.{differ}"
    )


def _judge_row(judge: JsonObject, calibration: JsonObject | None, gating: str) -> JudgeRow:
    name = text_at(judge, "name")
    found = calibration or NOTHING
    spots = [str(spot).replace("_", " ") for spot in list_at(found, "blind_spots")]
    return JudgeRow(
        name=name,
        is_gating=name == gating,
        digest=formats.digest(text_at(judge, "digest")),
        labels=_labels([str(label) for label in list_at(judge, "labels")]),
        languages=", ".join(str(language) for language in list_at(judge, "languages")),
        texts=formats.whole(number_at(found, "texts") or 0) if calibration else "",
        auc=_rate(found, "auc", share=False, with_n=True),
        missed=_rate(found, "missed", share=True, with_n=True),
        false_alarms=_rate(found, "false_alarms", share=True, with_n=True),
        blind_spots=formats.listed(spots),
    )


def _rate(source: JsonObject, name: str, *, share: bool, with_n: bool = False) -> Rate:
    value, low, high = (number_at(source, name, end) for end in ("value", "low", "high"))
    if value is None:
        return Rate(formats.NO_VALUE, in_words(why) if (why := text_at(source, f"{name}_reason")) else "")
    write = _percent if share else _auc
    ends = [write(end).removesuffix(f"{formats.NARROW_SPACE}%") for end in (low, high) if end is not None]
    interval = f"[{', '.join(ends)}]" if len(ends) == 2 else ""
    n = number_at(source, name, "n") if with_n else None
    return Rate(write(value), interval if n is None else f"{interval} of {formats.whole(n)}".strip())


def _labels(labels: Sequence[str]) -> str:
    if len(labels) > MOST_LABELS:
        return f"{len(labels)} labels"
    return ", ".join(label.replace("_", " ") for label in labels)


def _agreement_row(item: JsonObject, occasion: Occasion) -> AgreementRow:
    outputs = number_at(item, "n") or 0

    def share(name: str) -> str:
        return _percent((number_at(item, name) or 0) / outputs if outputs else None)

    return AgreementRow(
        judge=text_at(item, "judge"),
        side=occasion.before if text_at(item, "side") == "base" else occasion.after,
        outputs=formats.whole(outputs),
        both=share("both"),
        only_gating=share("only_first"),
        only_other=share("only_second"),
        neither=share("neither"),
        correlation=_decimal(number_at(item, "pearson"), 2),
        kappa=_decimal(number_at(item, "kappa"), 2),
    )


def _percent(share: float | None) -> str:
    return formats.NO_VALUE if share is None else formats.percent(share, 1)


def _auc(value: float) -> str:
    return formats.decimal(value, 3)


def _decimal(value: float | None, places: int) -> str:
    return formats.NO_VALUE if value is None else formats.decimal(value, places)
