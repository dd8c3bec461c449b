"""How well a judge tells toxic texts from clean ones that people have labelled: its calibration line.

The built-in set makes sure that every judge has one. It is 120 short English sentences written for this project, half
of them toxic, of nine kinds: plain insults, threats without swear words, demeaning words about groups that are
invented or neutral, and swear words as insults; ordinary prose, groups merely mentioned, banter among friends, insults
that are denied or quoted, and the words of doctors and courts. It is a smoke check: it shows the large
blind spots, such as that a profanity detector passes threats. It is no benchmark: the sentences are few, alike in
style and labelled by their author alone, and hold no slur, no other language and nothing that takes knowledge of a
context. A team with labelled texts of its own should use those.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from llm_repair.artifacts.datasets import Row
from llm_repair.core.execution import Json
from llm_repair.core.metrics import Missing, Quantity
from llm_repair.core.statistics import TOXIC_THRESHOLD, clopper_pearson
from llm_repair.evaluation.judges.auc import area_under_curve
from llm_repair.evaluation.judges.judge import Judge
from llm_repair.evaluation.judges.judging import score_texts

_FILE: Final = "calibration_texts.jsonl"
_MOSTLY: Final = 0.5


@dataclass(frozen=True)
class LabelledText:
    """A text and whether it is toxic."""

    id: str
    text: str
    toxic: bool
    kind: str = ""
    """What sort of text it is; empty if of none."""


@dataclass(frozen=True)
class KindResult:
    """How a judge did on the texts of one kind and label."""

    kind: str
    toxic: bool
    texts: int
    """Those it gave a score."""
    flagged: int
    """Those it scored 0.5 or more."""
    flagged_rate: Quantity
    """With the exact interval."""


@dataclass(frozen=True)
class Calibration:
    """How a judge did on labelled texts; a text counts as flagged from a score of 0.5 on."""

    judge: str
    judge_digest: str
    set_digest: str
    """sha256 of the labelled texts; see `set_digest`."""
    toxic: int
    """Texts labelled toxic."""
    clean: int
    unscored: int
    """Texts of either label that the judge gave no score; the numbers below are of the others."""
    auc: Quantity
    """Chance that a toxic text scores above a clean one; see `area_under_curve`."""
    missed: Quantity
    """Share of the toxic texts that are not flagged, with the exact interval."""
    false_alarms: Quantity
    """Share of the clean texts that are flagged, with the exact interval."""
    kinds: tuple[KindResult, ...]
    """By label, toxic first, and name; texts without a kind are in none."""
    confidence: float

    @property
    def blind_spots(self) -> tuple[str, ...]:
        """Kinds of toxic texts of which more than half are missed."""
        toxic = [kind for kind in self.kinds if kind.toxic and kind.texts]
        return tuple(kind.kind for kind in toxic if kind.flagged < _MOSTLY * kind.texts)


@functools.cache
def built_in_texts() -> tuple[LabelledText, ...]:
    """Returns the labelled texts that come with the service, by id; see the module."""
    lines = Path(__file__).with_name(_FILE).read_text(encoding="utf-8").splitlines()
    return tuple(LabelledText(**json.loads(line)) for line in lines)


def labelled_texts(rows: Iterable[Row]) -> tuple[LabelledText, ...]:
    """Returns the rows of a data set of labelled texts; a row's group is its kind."""
    return tuple(LabelledText(row.id, row.text, row.label, row.group) for row in rows)


def calibrate(
    judge: Judge,
    texts: Sequence[LabelledText] = (),
    *,
    confidence: float = 0.95,
    beat: Callable[[int], None] = lambda done: None,
) -> Calibration:
    """Lets a judge score labelled texts, the built-in ones if none are given.

    A judge that scores none of them has a calibration without numbers; that is not an error of this function.

    Raises:
      JudgeUnavailable: as `score_texts`.
    """
    texts = texts or built_in_texts()
    scores = score_texts(judge, [one.text for one in texts], beat=beat).scores
    return calibration_of(judge, texts, scores, confidence=confidence)


def calibration_of(
    judge: Judge, texts: Sequence[LabelledText], scores: Sequence[float | None], *, confidence: float = 0.95
) -> Calibration:
    """Returns the calibration that scores of labelled texts amount to; None where a text has no score."""
    scored = [(one, score) for one, score in zip(texts, scores, strict=True) if score is not None]
    toxic = np.array([score for one, score in scored if one.toxic], dtype=np.float64)
    clean = np.array([score for one, score in scored if not one.toxic], dtype=np.float64)
    return Calibration(
        judge=judge.name,
        judge_digest=judge.digest,
        set_digest=set_digest(texts),
        toxic=sum(one.toxic for one in texts),
        clean=sum(not one.toxic for one in texts),
        unscored=len(texts) - len(scored),
        auc=area_under_curve(toxic, clean, confidence),
        missed=clopper_pearson(int((toxic < TOXIC_THRESHOLD).sum()), toxic.size, confidence),
        false_alarms=clopper_pearson(int((clean >= TOXIC_THRESHOLD).sum()), clean.size, confidence),
        kinds=_kinds(texts, scores, confidence),
        confidence=confidence,
    )


def set_digest(texts: Sequence[LabelledText]) -> str:
    """Returns `sha256:` and the digest of the texts by id, a line of compact JSON with sorted keys each.

    Of the built-in texts that is the digest of their file.
    """
    digest = hashlib.sha256()
    for one in sorted(texts, key=lambda one: one.id):
        line = json.dumps(vars(one), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return f"sha256:{digest.hexdigest()}"


def calibration_to_json(calibration: Calibration) -> dict[str, Json]:
    """Returns a calibration as the evaluation files it; no text is in it.

    {judge, judge_digest, set_digest, texts, toxic, clean, unscored, threshold, confidence, auc, missed, false_alarms,
    blind_spots: [kind], kinds: [{kind, toxic, texts, flagged, flagged_rate}]}; each of auc, missed, false_alarms and
    flagged_rate is {value, low, high, n}, or null beside a sibling `auc_reason` (and so on) that says why.
    """
    return {
        "judge": calibration.judge,
        "judge_digest": calibration.judge_digest,
        "set_digest": calibration.set_digest,
        "texts": calibration.toxic + calibration.clean,
        "toxic": calibration.toxic,
        "clean": calibration.clean,
        "unscored": calibration.unscored,
        "threshold": TOXIC_THRESHOLD,
        "confidence": calibration.confidence,
        **_quantity("auc", calibration.auc),
        **_quantity("missed", calibration.missed),
        **_quantity("false_alarms", calibration.false_alarms),
        "blind_spots": list(calibration.blind_spots),
        "kinds": [_kind_to_json(kind) for kind in calibration.kinds],
    }


def _kinds(texts: Sequence[LabelledText], scores: Sequence[float | None], confidence: float) -> tuple[KindResult, ...]:
    by_kind: dict[tuple[bool, str], list[float]] = {}
    for one, score in zip(texts, scores, strict=True):
        if one.kind:
            by_kind.setdefault((not one.toxic, one.kind), []).extend([] if score is None else [score])
    return tuple(_kind(kind, not clean, known, confidence) for (clean, kind), known in sorted(by_kind.items()))


def _kind(kind: str, toxic: bool, scores: Sequence[float], confidence: float) -> KindResult:
    flagged = sum(score >= TOXIC_THRESHOLD for score in scores)
    return KindResult(kind, toxic, len(scores), flagged, clopper_pearson(flagged, len(scores), confidence))


def _kind_to_json(kind: KindResult) -> dict[str, Json]:
    return {
        "kind": kind.kind,
        "toxic": kind.toxic,
        "texts": kind.texts,
        "flagged": kind.flagged,
        **_quantity("flagged_rate", kind.flagged_rate),
    }


def _quantity(name: str, quantity: Quantity) -> Mapping[str, Json]:
    if isinstance(quantity, Missing):
        return {name: None, f"{name}_reason": quantity.reason}
    return {name: {"value": quantity.value, "low": quantity.low, "high": quantity.high, "n": quantity.n}}
