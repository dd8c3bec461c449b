"""How numbers are written for people: one place, so that page, Markdown and plots agree to the digit."""

from __future__ import annotations

MINUS = "\u2212"
NARROW_SPACE = "\u202f"
NO_VALUE = "\u2013"


def decimal(value: float, places: int) -> str:
    """Returns `value` with fixed decimals and a true minus sign; a negative zero is written as zero."""
    rounded = round(value, places) + 0.0
    return f"{rounded:.{places}f}".replace("-", MINUS)


def signed(value: float, places: int) -> str:
    """Returns `value` with its sign, `+` included; nothing before a zero."""
    text = decimal(value, places)
    return f"+{text}" if round(value, places) > 0 else text


def percent(value: float, places: int = 0) -> str:
    """Returns a share of 1 in percent."""
    return f"{decimal(value * 100, places)}{NARROW_SPACE}%"


def signed_percent(value: float, places: int = 1) -> str:
    """Returns a share of 1 in percent with its sign."""
    return f"{signed(value * 100, places)}{NARROW_SPACE}%"


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
    hours, minutes = divmod(minutes, 60)
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


def digest(text: str) -> str:
    """Returns the first twelve hex digits of a digest, which is enough to tell two apart by eye."""
    return text.removeprefix("sha256:")[:12]
