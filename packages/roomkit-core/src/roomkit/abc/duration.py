"""Lengths of time from outside: settings, commands, arguments."""

from __future__ import annotations

from datetime import timedelta

from roomkit.abc.errors import InvalidInputError
from roomkit.models.duration import length_in_seconds

__all__ = ["seconds_of"]


def seconds_of(value: str | float | timedelta) -> float:
    """Return a length of time in seconds: seconds, a timedelta, or text as "180d", "36h", "90min", "6mo".

    A month is 30 days and a year 365. Raises InvalidInputError for anything else, for a length that is not
    positive or is longer than 1000 years, and for the unit `m`, which may be minutes or months.
    """
    try:
        return length_in_seconds(value)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(str(error)) from error
