"""Lengths of time as people write them."""

from __future__ import annotations

import math
import re
from datetime import timedelta

_DAY = 86_400
LONGEST = 1000 * 365 * _DAY
"""In seconds: what the calendar can add to any present time."""
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY, "mo": 30 * _DAY, "y": 365 * _DAY}
_LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-zA-Z]+)")


def length_in_seconds(value: str | float | timedelta) -> float:
    """Return a length of time in seconds; text is a number and its unit, one of s, min, h, d, w, mo, y.

    A month is 30 days and a year 365. Raises ValueError, also for the unit `m`: minutes or months.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str):
        seconds = _seconds_in(value)
    else:
        seconds = math.nan if isinstance(value, bool) or abs(value) > LONGEST else float(value)
    if not 0 < seconds <= LONGEST:
        shown = f"a number of {value.bit_length()} bits" if isinstance(value, int) else repr(value)
        raise ValueError(
            f"{shown} is not a length of time: give seconds, a timedelta, or text like '180d', '36h', "
            "'90min' or '6mo'; at most 1000 years"
        )
    return seconds


def _seconds_in(text: str) -> float:
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        return math.nan
    number, unit = found.groups()
    if unit in ("m", "M"):
        raise ValueError(
            f"{text!r} may be minutes or months: say '{number}min' for minutes, '{number}mo' for months"
        )
    return float(number) * _UNITS.get(unit, math.nan)
