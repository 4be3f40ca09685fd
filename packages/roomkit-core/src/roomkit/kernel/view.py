"""The context the kernel shows to foreign code: a view of the store's record, resolved on demand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, override

from roomkit.models.context import RoomContext
from roomkit.models.delivery import Delivery
from roomkit.models.visibility import sees

if TYPE_CHECKING:
    from roomkit.abc.store import RoomRecord
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room

__all__ = ["RECENT_EVENTS", "RecordContext"]

RECENT_EVENTS = 50
"""How many of the newest entries a context shows."""


class RecordContext(RoomContext):
    """A `RoomContext` over a record; nothing is built until it is asked for.

    `hidden` are ids of events left out of `recent_events`: those that still wait in the reader's
    own lane, which it will be shown in their turn.
    """

    _shown: Room | None = None
    _bound: tuple[ChannelBinding, ...] | None = None
    _people: tuple[Participant, ...] | None = None
    _seen: tuple[RoomEvent, ...] | None = None
    _event: RoomEvent | None = None
    _target: str | None = None
    part = 0
    """Which piece of a split message is being delivered: each has an idempotency key of its own."""

    def __init__(
        self,
        record: RoomRecord,
        *,
        reader: ChannelBinding | None = None,
        event: RoomEvent | None = None,
        target: str | None = None,
        hidden: Collection[str] = (),
    ) -> None:
        self._record = record
        self.reader = reader
        self._hidden = hidden
        if event is not None:
            self._event = event
            self._target = target

    @property
    @override
    def room_id(self) -> str:
        return self._record.room_id

    @property
    def room(self) -> Room:
        """The room as it was when first asked for."""
        if self._shown is None:
            self._shown = self._record.room
        return self._shown

    @property
    def bindings(self) -> Sequence[ChannelBinding]:
        """Every channel of the room."""
        if self._bound is None:
            self._bound = tuple(self._record.bindings.values())
        return self._bound

    @property
    def participants(self) -> Sequence[Participant]:
        """Everybody known in the room."""
        if self._people is None:
            self._people = tuple(self._record.participants.values())
        return self._people

    @property
    def recent_events(self) -> Sequence[RoomEvent]:
        """The newest entries the reader may see, oldest first."""
        if self._seen is None:
            reader, hidden = self.reader, self._hidden
            self._seen = tuple(
                event if event.amendment is None else event.without_former_contents()
                for event in self._record.recent(RECENT_EVENTS)
                if event.id not in hidden and (reader is None or sees(reader, event))
            )
        return self._seen

    def fix(self) -> None:
        """Read the history now, so that what comes later is no part of it."""
        _ = self.recent_events

    @property
    def delivery(self) -> Delivery | None:  # type: ignore[override]  # computed here, stored in the base
        """The ledger row being worked on."""
        if self._event is None or self._target is None:
            return None
        delivery = Delivery.planned(self._event, self._target)
        return delivery.replace(id=f"{delivery.id}#{self.part}") if self.part else delivery
