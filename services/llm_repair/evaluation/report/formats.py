"""How numbers and foreign texts are written for people: one place, so that page, Markdown and plots agree."""

from __future__ import annotations

import unicodedata

MINUS = "\u2212"
NARROW_SPACE = "\u202f"
NO_VALUE = "\u2013"
_JOINERS = "\u200c\u200d"
"""Invisible, but part of how Persian, Indic scripts and emoji are written."""
_UNSEEN = frozenset({"Cc", "Cf", "Cs"})
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def decimal(value: float, places: int) -> str:
    """Returns `value` with fixed decimals and a true minus sign; a negative zero is written as zero."""
    rounded = round(value, places) + 0.0
    return f"{rounded:,.{places}f}".replace(",", NARROW_SPACE).replace("-", MINUS)


def signed(value: float, places: int) -> str:
    """Returns `value` with its sign, `+` included; nothing before a zero."""
    text = decimal(value, places)
    return f"+{text}" if round(value, places) > 0 else text


def number(value: float) -> str:
    """Returns a number that may be of any size with no more digits than say something: 21.12, 154.3, 1 235, 3.1×10⁹."""
    if abs(value) >= 1e7 or 0 < abs(value) < 0.01:
        return scientific(value)
    places = 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    return decimal(value, places)


def scientific(value: float) -> str:
    """Returns two digits and a power of ten."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.replace('-', MINUS)}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def percent(value: float, places: int = 0) -> str:
    """Returns a share of 1 in percent."""
    return f"{decimal(value * 100, places)}{NARROW_SPACE}%"


def signed_percent(value: float, places: int = 1) -> str:
    """Returns a share of 1 in percent with its sign."""
    return f"{signed(value * 100, places)}{NARROW_SPACE}%"


def probability(value: float) -> str:
    """Returns a p-value; the smallest ones as a bound."""
    return "below 0.001" if value < 0.001 else decimal(value, 3)


def duration(seconds: float) -> str:
    """Returns seconds as a person says them: `8.4 s`, `4 min 32 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f}{NARROW_SPACE}s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole}{NARROW_SPACE}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes}{NARROW_SPACE}min {rest:02d}{NARROW_SPACE}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{NARROW_SPACE}h {minutes:02d}{NARROW_SPACE}min"


def size(count: float) -> str:
    """Returns bytes in decimal units, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f}{NARROW_SPACE}{unit}" if unit == "B" else f"{count:.1f}{NARROW_SPACE}{unit}"
        count /= 1000
    return f"{count:.1f}{NARROW_SPACE}TB"


def whole(count: float) -> str:
    """Returns a whole number with narrow spaces between thousands."""
    return f"{round(count):,}".replace(",", NARROW_SPACE)


def count_of(count: float, one: str, many: str = "") -> str:
    """Returns a count with its noun: `1 prompt`, `1 200 prompts`."""
    return f"{whole(count)} {one if round(count) == 1 else many or one + 's'}"


def listed(items: list[str]) -> str:
    """Returns items as a sentence lists them: `a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(items[:-1]), *items[-1:]) if part)


def digest(text: str) -> str:
    """Returns the first twelve hex digits of a digest, which is enough to tell two apart by eye."""
    return text.removeprefix("sha256:")[:12]


def cut(text: str, most: int) -> str:
    """Returns a text of at most `most` characters, the last of which tells that there was more."""
    return text if len(text) <= most else text[: most - 1] + "…"


def printable(text: str) -> str:
    """Replaces what cannot be seen but changes what is: control characters, overrides of the reading direction, halves
    of characters. Line breaks, tabs and joiners stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character in "\n\t" or character in _JOINERS or unicodedata.category(character) not in _UNSEEN:
        return character
    return f"⟨U+{ord(character):04X}⟩"
