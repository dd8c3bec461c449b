"""Checks of single fields that report every violation of a message at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from llm_repair.core.errors import FieldViolation, InvalidFields

# Keys are made of canonical JSON, which has no larger integers.
_LARGEST_EXACT: Final = 2**53 - 1


class FieldChecks:
    """Collects violations of one message; used as a context manager that raises them all at its end.

    with FieldChecks() as check:
        check.within("fraction", self.fraction, low=0, high=1, low_open=True)
        check.that("name", bool(self.name), "must not be empty")
    """

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def __enter__(self) -> FieldChecks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None and self._violations:
            raise InvalidFields(self._violations)

    def that(self, field: str, holds: bool, otherwise: str) -> None:
        """Records a violation of `field` unless `holds`."""
        if not holds:
            self._violations.append(FieldViolation(field, otherwise))

    def within(
        self,
        field: str,
        value: float | None,
        *,
        low: float = -math.inf,
        high: float = math.inf,
        low_open: bool = False,
        high_open: bool = False,
    ) -> None:
        """Records a violation unless `value` is finite and in the range; `None` means unset and passes."""
        if value is None:
            return
        if isinstance(value, int):
            high = min(high, _LARGEST_EXACT)
        above = value > low if low_open else value >= low
        below = value < high if high_open else value <= high
        left, right = "(["[not low_open], ")]"[not high_open]
        self.that(
            field,
            math.isfinite(value) and above and below,
            f"must be in {left}{_shown(low)}, {_shown(high)}{right}, is {_shown(value)}",
        )

    def include(self, prefix: str, violations: Iterable[FieldViolation]) -> None:
        """Adds violations found inside the message in field `prefix`."""
        self._violations.extend(violation.under(prefix) for violation in violations)


def _shown(number: float) -> str:
    """Returns the number in short, in full where it would not be the same number: 1.0000001 is not 1."""
    short = f"{number:g}"
    return short if float(short) == number or math.isnan(number) else repr(number)
