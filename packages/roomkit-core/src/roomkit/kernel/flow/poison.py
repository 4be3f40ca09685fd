"""Poison messages: work that keeps killing the workers that claim it."""

from __future__ import annotations

from enum import Enum

__all__ = ["Handling", "handling_of"]

_MAX_STARTS = 3


class Handling(Enum):
    """What to do with claimed work."""

    RUN = "run"
    RECORD_START = "record_start"
    """Store that it is about to be started, then run it."""
    QUARANTINE = "quarantine"
    """Do not run it again: it would take down the next worker too."""


def handling_of(claims: int, starts: int, max_claims: int) -> Handling:
    """Return what to do with work that was claimed `claims` times, `starts` of them with a recorded start.

    Many claims alone prove nothing: it may only have waited beside the poison message. So from more than
    `max_claims` on each start is stored first, and work with three such starts and no outcome is the one.

    A start is stored before the work is run. Whether foreign code was reached in the milliseconds after it
    cannot be known: code that kills its worker at its first instruction leaves the same trace as an operator
    who kills it there. The start counts in both cases: workers that die one after the other are worse than a
    delivery that an operator has to retry, which fails as `worker_lost` and keeps its event and key.
    """
    if claims <= max_claims:
        return Handling.RUN
    return Handling.QUARANTINE if starts >= _MAX_STARTS else Handling.RECORD_START
