"""A commit made ready for a database: checked, frozen, independent of its caller."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from roomkit.abc.errors import InvalidInputError, RoomKitError
from roomkit.abc.store import Commit, Move
from roomkit.models.base import EMPTY, FrozenDict, freeze
from roomkit.models.enums import EventStatus
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit.models.values import error_text
from roomkit_plugins.sql.cached import Change, Counters, Known, RoomGrowth

__all__ = ["PreparedCommit", "prepare", "prepare_move"]


def prepare[P: PreparedCommit](prepared: Callable[[Commit], P], given: Commit) -> P:
    """Return the commit as `prepared` makes it. Raises InvalidInputError for values that cannot be stored."""
    try:
        return prepared(given)
    except RoomKitError:
        raise
    except Exception as error:  # whatever a wrong value raises, nothing was written
        raise InvalidInputError(
            f"a commit to room {given.room_id!r} cannot be stored: {error_text(error)}; nothing was stored"
        ) from error


def prepare_move[P](prepared: Callable[[Move], P], given: Move) -> P:
    """Return the move as `prepared` makes it. Raises InvalidInputError for values that cannot be stored."""
    try:
        return prepared(given)
    except RoomKitError:
        raise
    except Exception as error:  # whatever a wrong value raises, nothing was written
        raise InvalidInputError(
            f"a move from room {given.source.room_id!r} cannot be stored: {error_text(error)}; nothing was "
            "stored"
        ) from error


class PreparedCommit:
    """A commit that its caller can no longer change; a store's own class adds the encoded rows.

    `events` are the events as they are stored, but for their index. `binding` and `participant` name one
    that must exist already.
    """

    def __init__(self, given: Commit, *, binding: str | None = None, participant: str | None = None) -> None:
        self.room_id = given.room_id
        self.at = given.at
        self.expected_version = given.expected_version
        self.fence = given.fence
        self.worker = given.worker_id
        self.metadata = freeze(dict(given.metadata)) if given.metadata else EMPTY
        self.room_changes = dict(given.room_changes) if given.room_changes else None
        self.amend = given.amend
        self.redact = tuple(given.redact)
        self.heard = tuple(given.heard)
        self.events = [_as_stored(entry.event, given.at) for entry in given.entries]
        self.bindings = tuple(given.bindings)
        self.unbind = tuple(given.unbind)
        self.participants = tuple(given.participants)
        self.remove_participants = tuple(given.remove_participants)
        self.timers_done = tuple(given.timers_done)
        self.binding = binding
        self.participant = participant
        self.known = Known()
        """The room as it is cached: what others added since is read with the commit."""

    @property
    def changes_room(self) -> bool:
        """Whether more of the room changes than its counters."""
        return bool(self.room_changes or self.metadata)

    @property
    def raises_version(self) -> bool:
        """Whether something changes that a plan depends on, or an event.

        While the version stands, a room's events are only added to.
        """
        return bool(
            self.changes_room
            or self.bindings
            or self.participants
            or self.unbind
            or self.remove_participants
            or self.wanted
        )

    @property
    def wanted(self) -> tuple[str, ...]:
        """The events that have to be known."""
        amended = () if self.amend is None else (self.amend.event_id,)
        return (*self.redact, *amended, *(each.event_id for each in self.heard))

    def changed_room(self, before: Room, unset: Collection[str] = ()) -> Room:
        """Return the room with the fields that the commit sets, and its metadata without `unset`."""
        changes = dict(self.room_changes or {})
        if self.metadata or unset:
            merged = {**before.metadata, **self.metadata}
            changes["metadata"] = FrozenDict(
                (key, value) for key, value in merged.items() if key not in unset
            )
        return before.replace(**{"updated_at": self.at, **changes})

    def done(
        self,
        counters: Counters,
        room: Room | None,
        stored: Sequence[RoomEvent],
        amended: Sequence[RoomEvent],
        growth: RoomGrowth | None = None,
    ) -> Change:
        """Return what the commit did to its room, which is `room` if more of it changed than its counters.

        `growth` is what others did to it before, if its version says that they did nothing else.
        """
        return Change(
            counters,
            room=room,
            stored=stored,
            amended=amended,
            bindings=self.bindings,
            unbound=self.unbind,
            participants=self.participants,
            removed=self.remove_participants,
            growth=growth if self._version_stood(counters) else None,
        )

    def _version_stood(self, now: Counters) -> bool:
        """Whether the version was before the commit as it is cached."""
        before = now.version - self.raises_version
        return (self.known.seq, self.known.version) == (now.seq, before)


def _as_stored(event: RoomEvent, at: datetime) -> RoomEvent:
    status = EventStatus.DELIVERED if event.status is EventStatus.PENDING else event.status
    return event.replace(created_at=at, status=status)
