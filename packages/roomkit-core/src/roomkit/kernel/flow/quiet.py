"""Commits without an event."""

from __future__ import annotations

from collections.abc import Sequence

from roomkit._dataclasses import dataclass
from roomkit.abc.store import Commit, Entry

__all__ = ["QuietCommit"]


@dataclass(slots=True, kw_only=True)
class QuietCommit(Commit):
    """A change of a room without an entry in its timeline; for its timers it does not count as activity."""

    entries: Sequence[Entry] = ()
    activity: bool = False
