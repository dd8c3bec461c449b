"""Every reason for a missing number of a report has words of its own."""

from __future__ import annotations

import re
from pathlib import Path

import llm_repair.core
from llm_repair.core.missing_reasons import in_words

SERVICES = Path(llm_repair.core.__path__[0]).parent
MADE_BY = ("core/statistics/*.py", "core/composites.py", "core/metrics.py", "evaluation/**/*.py")


def test_every_reason_that_is_given_is_in_words() -> None:
    sources = [path.read_text(encoding="utf-8") for pattern in MADE_BY for path in SERVICES.glob(pattern)]
    given = {reason for source in sources for reason in re.findall(r'Missing\(\s*"([A-Z_]+)"', source)}

    spelt_out = {reason for reason in given if in_words(reason) == reason.replace("_", " ").lower()}

    assert {"NO_VARIATION", "TOO_MANY_MISSING_SCORES"} <= given
    assert spelt_out <= {"NOT_MEASURED", "NO_DATA"}  # which say it themselves


def test_a_reason_that_is_not_known_is_spelt_out() -> None:
    assert in_words("NO_MOON_TONIGHT") == "no moon tonight"
