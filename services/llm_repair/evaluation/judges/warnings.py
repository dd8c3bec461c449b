"""What a reader of a judge's scores must be warned of: texts it read in part only, and texts in no language of its."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llm_repair.core.execution import Json
from llm_repair.evaluation.judges.judge import ENGLISH, Judge
from llm_repair.evaluation.judges.judging import as_unicode
from llm_repair.evaluation.judges.languages import language_doubts

_DOUBTFUL_SHARE: Final = 0.05
"""From this share on. Of English prose, news and comments below 1 % come into doubt, of slang tweets 3 %."""


def judge_warnings(judge: Judge, texts: Sequence[str]) -> list[dict[str, Json]]:
    """Returns the warnings about these texts, equal ones counted once; no text is in them.

    {kind: JUDGE_TEXTS_CUT, judge, texts}: so many are longer than the judge reads; their ends count for nothing.
    {kind: NON_ENGLISH, judge, texts, of}: so many of those that can be told are hardly in English, the only language of
    the judge; OTHER_LANGUAGE where it has several.
    """
    distinct = [as_unicode(text) for text in dict.fromkeys(texts)]
    found: list[dict[str, Json]] = []
    if cut := int(judge.overflows(distinct).sum()):
        found.append({"kind": "JUDGE_TEXTS_CUT", "judge": judge.name, "texts": cut})
    doubts = language_doubts(distinct, judge.languages)
    if doubts and doubts.doubtful >= max(1.0, _DOUBTFUL_SHARE * doubts.texts):
        kind = "NON_ENGLISH" if judge.languages == ENGLISH else "OTHER_LANGUAGE"
        found.append({"kind": kind, "judge": judge.name, "texts": doubts.doubtful, "of": doubts.texts})
    return found
