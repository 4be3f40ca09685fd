"""The in-memory store's pages of a room's records."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from roomkit.abc.errors import StaleCursorError
from roomkit.models.participant import Participant
from roomkit.models.task import Observation, Task

__all__ = ["page_after"]


def page_after[R: (Participant, Task, Observation)](
    records: Iterable[R], kind: str, limit: int | None, after: str | None
) -> list[R]:
    """Return at most `limit` records, those after the one of id `after`. Raises StaleCursorError."""
    left = iter(records)
    if after is not None and all(each.id != after for each in left):  # consumes the records up to `after`
        raise StaleCursorError(
            f"cursor {kind} {after!r} no longer exists: restart from the first page with after=None"
        )
    return list(islice(left, None if limit is None else max(0, limit)))
