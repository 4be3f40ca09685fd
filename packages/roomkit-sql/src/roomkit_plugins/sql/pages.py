"""A page of the records that belong to a room."""

from __future__ import annotations

from typing import NamedTuple

from roomkit.models.enums import TaskStatus

__all__ = ["EVERYTHING", "RecordPage"]


class RecordPage(NamedTuple):
    """At most `limit` records of those after the record of id `after`; of tasks only those with a status."""

    limit: int | None = None
    after: str | None = None
    status: TaskStatus | None = None


EVERYTHING = RecordPage()
