"""Calibration lines: by hand on a few texts, and of the real default judge on the texts that come with the service."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from llm_repair.artifacts.datasets import Row
from llm_repair.core.metrics import Estimate, Missing
from llm_repair.evaluation.judges import calibration as calibration_module
from llm_repair.evaluation.judges.calibration import (
    Calibration,
    LabelledText,
    built_in_texts,
    calibrate,
    calibration_of,
    calibration_to_json,
    labelled_texts,
    set_digest,
)
from llm_repair.evaluation.judges.judge import Probabilities
from llm_repair.evaluation.judges.profanity import ProfanityScorer


class TableJudge:
    """Scores texts by a table."""

    name, digest = "table", "sha256:" + "7" * 64
    labels = toxic_labels = ("toxic",)
    languages = ("en",)

    def __init__(self, scores: Mapping[str, float]) -> None:
        self._scores = scores

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        return np.array([[self._scores[text]] for text in texts])

    def toxicity(self, probabilities: Probabilities) -> Probabilities:
        return probabilities[:, 0]

    def overflows(self, texts: Sequence[str]) -> np.ndarray:
        return np.zeros(len(texts), dtype=np.bool_)


TEXTS = [
    LabelledText("a", "a", True, "loud"),
    LabelledText("b", "b", True, "quiet"),
    LabelledText("c", "c", True, "quiet"),
    LabelledText("d", "d", False, "quiet"),
    LabelledText("e", "e", False),
]
SCORES = {"a": 0.9, "b": 0.5, "c": 0.2, "d": 0.2, "e": 0.8}


def exact(successes: int, n: int) -> Estimate:
    low = beta.ppf(0.025, successes, n - successes + 1) if successes else 0.0
    high = beta.ppf(0.975, successes + 1, n - successes) if successes < n else 1.0
    return Estimate(successes / n, pytest.approx(low), pytest.approx(high), n)


def test_a_judge_is_measured_by_area_misses_and_false_alarms() -> None:
    """Toxic 0.9, 0.5, 0.2 against clean 0.2, 0.8: a beats both, b beats d, c ties with d: 2 + 1 + 1/2 of 6 pairs."""
    found = calibrate(TableJudge(SCORES), TEXTS)

    assert (found.judge, found.judge_digest) == ("table", TableJudge.digest)
    assert (found.toxic, found.clean, found.unscored) == (3, 2, 0)
    assert isinstance(found.auc, Estimate)
    assert found.auc.value == 3.5 / 6
    assert found.missed == exact(1, 3)
    assert found.false_alarms == exact(1, 2)


def test_kinds_are_counted_by_label_and_texts_of_none_are_in_none() -> None:
    kinds = calibrate(TableJudge(SCORES), TEXTS).kinds

    assert [(one.kind, one.toxic, one.texts, one.flagged) for one in kinds] == [
        ("loud", True, 1, 1),
        ("quiet", True, 2, 1),
        ("quiet", False, 1, 0),
    ]
    assert kinds[1].flagged_rate == exact(1, 2)


def test_a_kind_is_a_blind_spot_when_more_than_half_of_it_is_missed() -> None:
    half = calibrate(TableJudge(SCORES), TEXTS)
    most = calibrate(TableJudge({**SCORES, "b": 0.49}), TEXTS)

    assert half.blind_spots == ()
    assert most.blind_spots == ("quiet",)


def test_texts_without_a_score_are_counted_and_taken_for_nothing() -> None:
    found = calibrate(TableJudge({**SCORES, "c": float("nan")}), TEXTS)

    assert (found.toxic, found.clean, found.unscored) == (3, 2, 1)
    assert found.missed == exact(0, 2)
    assert [one.texts for one in found.kinds] == [1, 1, 1]


def test_a_judge_without_any_score_has_a_line_without_numbers() -> None:
    found = calibrate(TableJudge(dict.fromkeys(SCORES, float("nan"))), TEXTS)

    assert found.auc == found.missed == found.false_alarms == Missing("NO_DATA")
    assert found.blind_spots == ()


def test_texts_of_one_label_have_no_area_and_no_rate_of_the_other() -> None:
    found = calibration_of(TableJudge({}), TEXTS[:3], [0.9, 0.5, 0.2])

    assert found.auc == Missing("ONE_CLASS_ONLY")
    assert found.false_alarms == Missing("NO_DATA")


def test_the_line_is_written_with_reasons_for_what_is_missing_and_without_texts() -> None:
    document = calibration_to_json(calibration_of(TableJudge({}), TEXTS[:2], [0.9, None]))

    interval = {"value": 0.0, "low": 0.0, "high": pytest.approx(0.975), "n": 1}
    rate = {"value": 1.0, "low": pytest.approx(0.025), "high": 1.0, "n": 1}
    assert document == {
        "judge": "table",
        "judge_digest": TableJudge.digest,
        "set_digest": set_digest(TEXTS[:2]),
        "texts": 2,
        "toxic": 2,
        "clean": 0,
        "unscored": 1,
        "threshold": 0.5,
        "confidence": 0.95,
        "auc": None,
        "auc_reason": "ONE_CLASS_ONLY",
        "missed": interval,
        "false_alarms": None,
        "false_alarms_reason": "NO_DATA",
        "blind_spots": [],
        "kinds": [
            {"kind": "loud", "toxic": True, "texts": 1, "flagged": 1, "flagged_rate": rate},
            {
                "kind": "quiet",
                "toxic": True,
                "texts": 0,
                "flagged": 0,
                "flagged_rate": None,
                "flagged_rate_reason": "NO_DATA",
            },
        ],
    }
    json.dumps(document, allow_nan=False)


def test_rows_of_a_data_set_are_labelled_texts_whose_group_is_their_kind() -> None:
    rows = [
        Row("x", text="one", extra={"label": True, "group": "spoken"}),
        Row("y", text="two", extra={"label": False}),
    ]

    assert labelled_texts(rows) == (LabelledText("x", "one", True, "spoken"), LabelledText("y", "two", False))


def test_the_digest_is_of_the_set_and_of_nothing_but_it() -> None:
    assert set_digest(TEXTS) == set_digest(TEXTS[::-1])
    assert set_digest(TEXTS) != set_digest(TEXTS[:4])
    assert set_digest(TEXTS) != set_digest([*TEXTS[:4], LabelledText("e", "e", True)])


def test_the_built_in_set_is_the_file_that_comes_with_the_service() -> None:
    file = Path(calibration_module.__file__).with_name("calibration_texts.jsonl")

    assert set_digest(built_in_texts()) == "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_built_in_set_is_balanced_by_label_and_kind_and_has_no_text_twice() -> None:
    texts = built_in_texts()

    assert Counter(one.toxic for one in texts) == {True: 60, False: 60}
    assert Counter(one.kind for one in texts if one.toxic) == dict.fromkeys(
        ("insult", "threat", "demeaning", "swearing"), 15
    )
    clean = ("ordinary", "identity", "banter", "quoted", "professional")
    assert Counter(one.kind for one in texts if not one.toxic) == dict.fromkeys(clean, 12)
    assert len({one.text.lower() for one in texts}) == len({one.id for one in texts}) == 120
    assert [one.id for one in texts] == sorted(one.id for one in texts)


@pytest.fixture(scope="module")
def of_profanity() -> Calibration:
    return calibrate(ProfanityScorer())


def test_the_default_judge_finds_swearing_and_misses_threats_and_contempt(of_profanity: Calibration) -> None:
    flagged = {one.kind: one.flagged / one.texts for one in of_profanity.kinds if one.toxic}

    assert flagged["swearing"] > 0.9
    assert max(flagged["threat"], flagged["demeaning"]) < 0.2
    assert {"threat", "demeaning"} <= set(of_profanity.blind_spots)


def test_the_default_judge_is_better_than_chance_on_the_built_in_set(of_profanity: Calibration) -> None:
    assert isinstance(of_profanity.auc, Estimate)
    assert 0.5 < of_profanity.auc.low < of_profanity.auc.value < 0.9
