"""Lengths of time, as people say them."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["in_words"]

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def in_words(seconds: float) -> str:
    """Spell a length of time out: `6 minutes`, `1 day 12 hours`, `1.5 seconds`."""
    return " ".join(_parts(seconds))


def _parts(seconds: float) -> Iterator[str]:
    whole, fraction = divmod(seconds, 1)
    left = int(whole)
    for length, unit in _UNITS:
        number, left = divmod(left, length)
        if number:
            yield _counted(f"{number:,}", unit)
    if left or fraction or seconds < 1:
        yield _counted(f"{left + fraction:.9g}", "second")


def _counted(number: str, unit: str) -> str:
    return f"{number} {unit}" if number == "1" else f"{number} {unit}s"
