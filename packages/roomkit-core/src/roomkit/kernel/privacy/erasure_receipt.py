"""Keeping book of an erasure, and the receipt that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from roomkit.models.base import new_id
from roomkit.models.rights import Erased, ErasureReceipt, Retained

if TYPE_CHECKING:
    from roomkit.abc.store import Commit
    from roomkit.models.rights import ExportKind

__all__ = ["BEYOND_A_PERSON", "BEYOND_A_ROOM", "ReceiptBook"]

type _Action = Literal["redacted", "removed", "skipped", "cleared"]

_OUTSIDE = Retained(
    kind="copy",
    reason="outside",
    why="sent messages are with the vendors and recipients, and logs and backups are the operator's: "
    "none of them can be reached from here",
)
BEYOND_A_ROOM = (
    Retained(
        kind="identity",
        reason="not_of_the_room",
        why="identities and their addresses belong to no room: erase_person removes them",
    ),
    _OUTSIDE,
)
"""What the erasure of a room leaves."""

BEYOND_A_PERSON = (
    Retained(
        kind="event",
        reason="place_in_the_timeline",
        why="of a redacted event its place, time, kind, channel and idempotency key stay: the order of the "
        "room and the recognition of redeliveries hang on them",
    ),
    Retained(
        kind="event",
        reason="words_of_others",
        why="what other people wrote is theirs, also where it mentions the person",
    ),
    Retained(
        kind="delivery",
        reason="ledger",
        why="the ledger's rows stay, with vendors' message ids; of failed deliveries of redacted "
        "events, the code alone",
    ),
    Retained(
        kind="room",
        reason="metadata",
        why="metadata of rooms is the program's own, and is not searched: update_room_metadata changes it",
    ),
    _OUTSIDE,
)
"""What the erasure of a person leaves."""


class ReceiptBook:
    """Gathers what an erasure did."""

    def __init__(
        self,
        of: Literal["room", "person"],
        started_at: datetime,
        watch: Callable[[str], object] | None = None,
    ) -> None:
        self.id = new_id()
        self.watch = watch
        self.retained: tuple[Retained, ...] = ()
        self._of = of
        self._started_at = started_at
        self._erased: dict[tuple[ExportKind, _Action, str | None], _Entry] = {}  # bound: kinds, times rooms

    @property
    def is_empty(self) -> bool:
        """Whether nothing was erased."""
        return not self._erased

    def erase(
        self, kind: ExportKind, action: _Action, room_id: str | None, count: int, ids: Sequence[str] = ()
    ) -> None:
        """Note that `count` records were touched."""
        if count:
            entry = self._erased.setdefault((kind, action, room_id), _Entry())
            entry.count += count
            entry.ids += ids

    def note(self, commit: Commit) -> None:
        """Note what a commit did."""
        room_id, skipped = commit.room_id, [row.id for row in commit.completed]
        self.erase("event", "redacted", room_id, len(commit.redact), commit.redact)
        self.erase("participant", "removed", room_id, len(commit.remove_participants))
        self.erase("participant", "cleared", room_id, len(commit.participants))
        self.erase("binding", "removed", room_id, len(commit.unbind))
        self.erase("binding", "cleared", room_id, len(commit.bindings))
        self.erase("delivery", "skipped", room_id, len(skipped), skipped)
        self.erase("task", "redacted", room_id, len(commit.tasks))
        self.erase("observation", "redacted", room_id, len(commit.observations))

    def under_way(self, delivery_ids: Sequence[str], room_id: str) -> None:
        """Note deliveries that cannot be called back: a worker had them at that very moment."""
        if delivery_ids:
            why = "a worker had it in hand just then: it may have been sent, or still be"
            self.retained += (
                Retained(
                    kind="delivery",
                    reason="under_way",
                    why=why,
                    room_id=room_id,
                    count=len(delivery_ids),
                    ids=tuple(delivery_ids),
                ),
            )

    def suppressed(self, count: int) -> None:
        """Note revoked consents, which stay so that nothing is sent to the address again."""
        if count:
            why = "revoked consents are kept under a hash of the address, without a name: see `suppression`"
            self.retained += (Retained(kind="value", reason="suppression", why=why, count=count),)

    def amended_by_them(self, count: int, room_id: str) -> None:
        """Note events of others that the person had edited or deleted."""
        if count:
            why = "events of others keep the id of who edited or deleted them"
            self.retained += (
                Retained(kind="event", reason="amended_by", why=why, room_id=room_id, count=count),
            )

    def closed(self, at: datetime) -> ErasureReceipt:
        """Return the receipt."""
        return ErasureReceipt(
            id=self.id,
            of=self._of,
            started_at=self._started_at,
            finished_at=at,
            erased=tuple(
                Erased(kind=kind, action=action, room_id=room_id, count=entry.count, ids=tuple(entry.ids))
                for (kind, action, room_id), entry in self._erased.items()
            ),
            retained=self.retained,
        )


class _Entry:
    __slots__ = ("count", "ids")

    def __init__(self) -> None:
        self.count = 0
        self.ids: list[str] = []  # bound: the erased records
