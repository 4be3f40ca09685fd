"""The context the kernel shows to foreign code: a view of the store's record, resolved on demand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, override

from roomkit.abc.errors import RoomNotFoundError
from roomkit.abc.store import RECENT_SCAN
from roomkit.models.context import RoomContext
from roomkit.models.delivery import Delivery
from roomkit.models.enums import EventType
from roomkit.models.visibility import seen_of

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room

__all__ = ["HISTORY_SCAN", "RECENT_EVENTS", "SHOWN_EVENTS", "RecordContext", "RoomlessContext"]

SHOWN_EVENTS = 50
"""How many of the newest entries a context shows."""

RECENT_EVENTS = SHOWN_EVENTS + 1
"""How many of the newest entries are loaded: as many before the one that is answered, and itself."""

_by_time = attrgetter("created_at", "index")

HISTORY_SCAN = 10_000
"""How many entries of any kind a history looks back at, so that its cost does not grow with the room."""


class RecordContext(RoomContext):
    """A `RoomContext` over a record; nothing is built until it is asked for.

    `hidden` are ids of events left out of `recent_events`: those that still wait in the reader's
    own lane, which it will be shown in their turn. With `store`, `history` reaches beyond what the
    record holds.
    """

    _shown: Room | None = None
    _bound: tuple[ChannelBinding, ...] | None = None
    _people: tuple[Participant, ...] | None = None
    _seen: tuple[RoomEvent, ...] | None = None
    _before: int | None = None
    """The index below which there may be more that the reader may see."""
    _is_by_time = False
    """Whether the room has events that were moved between its own, so that all are read in order of time."""
    reader: ChannelBinding | None = None
    _store: ConversationStore | None = None
    _hidden: Collection[str] = ()
    _event: RoomEvent | None = None
    _target: str | None = None
    part = 0
    """Which piece of a split message is being delivered: each has an idempotency key of its own."""
    provider: str | None = None
    """By which of its channel's several providers."""
    joining: Participant | None = None
    """The sender of the message that gates judge, as they are once it is committed."""

    def __init__(
        self,
        record: RoomRecord,
        reader: ChannelBinding | None = None,
        event: RoomEvent | None = None,
        target: str | None = None,
        *,
        hidden: Collection[str] = (),
        store: ConversationStore | None = None,
    ) -> None:
        self._record = record
        if reader is not None:
            self.reader = reader
        if store is not None:
            self._store = store
        if hidden:
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
            people = self._record.participants
            if self.joining is not None:
                people = {**people, self.joining.id: self.joining}
            self._people = tuple(people.values())
        return self._people

    @property
    def recent_events(self) -> Sequence[RoomEvent]:
        """The newest entries the reader may see, oldest first."""
        if self._seen is None:
            recent = self._record.recent(RECENT_EVENTS)
            if self._record.is_interleaved:
                recent = sorted(recent, key=_by_time)
            self._seen = tuple(self._shown_of(recent))
        return self._seen[-SHOWN_EVENTS:]

    def fix(self) -> bool:
        """Read the history now, so that later events are not part of it.

        True when entries that the reader may not see took the places of others: `fill` fetches those.
        """
        recent = self._record.recent(RECENT_EVENTS)
        if self._record.is_interleaved and any(event.origin is not None for event in recent):
            return self._fix_by_time(recent)
        self._seen = tuple(self._shown_of(recent))
        scanned = len(recent) == RECENT_EVENTS or (
            self._event is not None and self._event.index >= RECENT_EVENTS * RECENT_SCAN
        )
        if scanned:
            self._before = recent[0].index if recent else self._record.room.latest_index + 1
        return scanned and len(self._seen) < RECENT_EVENTS

    def _fix_by_time(self, recent: Sequence[RoomEvent]) -> bool:
        """As `fix`, where events of other rooms were moved in between: all are in order of time.

        The newest by index need not be the newest by time, so that what the room has besides is fetched.
        """
        latest = self._record.room.latest_index
        self._seen = tuple(self._shown_of(sorted(recent, key=_by_time)))
        if len(recent) < RECENT_EVENTS and latest < RECENT_EVENTS * RECENT_SCAN:
            return False
        self._before = latest + 1
        self._is_by_time = True
        return True

    async def fill(self) -> None:
        """Fetch the older entries that belong to `recent_events`."""
        self._seen = seen = tuple(await self.history(RECENT_EVENTS))
        if not self._is_by_time:
            self._before = seen[0].index if len(seen) == RECENT_EVENTS else None

    @override
    async def history(self, limit: int) -> Sequence[RoomEvent]:
        """Return up to `limit` of the newest entries the reader may see, oldest first."""
        if self._seen is None:
            self.fix()
        seen = self._seen or ()
        if self._is_by_time and self._before is not None and self._store is not None:
            return await self._newest_by_time(self._store, self._before, limit)
        if limit > len(seen) and self._before is not None and self._store is not None:
            older = await self._older(self._store, self._before, limit - len(seen))
            return (*older, *seen)
        return seen[-limit:] if limit > 0 else ()

    async def _older(self, store: ConversationStore, before: int, missing: int) -> list[RoomEvent]:
        """Return up to `missing` entries below the index `before`, oldest first."""
        found: list[RoomEvent] = []  # bound: `missing`
        last = before - HISTORY_SCAN
        while len(found) < missing:
            wanted = missing - len(found)
            page = await store.list_events(
                self.room_id,
                limit=wanted,
                before_index=before,
                after_index=last if last >= 0 else None,
                types=(EventType.MESSAGE,),
                reader=self.reader,
                newest_first=True,
            )
            found += self._shown_of([event for event in page if event.is_history])
            if len(page) < wanted:
                break
            before = page[-1].index
        found.reverse()
        return found

    async def _newest_by_time(self, store: ConversationStore, before: int, limit: int) -> list[RoomEvent]:
        """Return up to `limit` of the newest entries by time below the index `before`, oldest first."""
        found: list[RoomEvent] = []  # bound: `limit`
        for offset in range(0, HISTORY_SCAN, RECENT_EVENTS):
            if len(found) >= limit:
                break
            page = await store.list_events(
                self.room_id,
                offset=offset,
                limit=RECENT_EVENTS,
                before_index=before,
                types=(EventType.MESSAGE,),
                reader=self.reader,
                newest_first=True,
                by_time=True,
            )
            found += self._shown_of([event for event in page if event.is_history])
            if len(page) < RECENT_EVENTS:
                break
        return found[: max(limit, 0)][::-1]

    @override
    async def search(self, words: str, limit: int = 10) -> Sequence[RoomEvent]:
        """Return up to `limit` of the entries the reader may see that have any of `words`, best first."""
        if self._store is None:
            return await super().search(words, limit)
        found = await self._store.search_events(
            self.room_id,
            words,
            self.reader,
            limit + len(self._hidden) if limit > 0 else 0,
            any_word=True,
            before_index=None if self._event is None else self._event.index + 1,
            types=(EventType.MESSAGE,),
        )
        return self._shown_of([event for event in found if event.is_history])[: max(limit, 0)]

    def _shown_of(self, events: Sequence[RoomEvent]) -> Sequence[RoomEvent]:
        """Return those of `events` that the reader may see and that do not wait in its lane."""
        if self._hidden:
            events = [event for event in events if event.id not in self._hidden]
        if self.reader is not None:
            seen = seen_of(self.reader, events)
            if seen is events:  # none of them was changed
                return events
            events = seen
        return [event if event.amendment is None else event.without_former_contents() for event in events]

    @property
    def delivery(self) -> Delivery | None:  # type: ignore[override]  # computed here, stored in the base
        """The ledger row being worked on."""
        if self._event is None or self._target is None:
            return None
        delivery = Delivery.planned(self._event, self._target)
        if not self.part and self.provider is None:
            return delivery
        own_id = f"{delivery.id}:{self.part}" if self.part else delivery.id
        return delivery.replace(id=own_id, provider=self.provider)


class RoomlessContext(RoomContext):
    """The context of what concerns no room: it has no bindings, people or events, and `room_id` is ""."""

    def __init__(self) -> None:
        super().__init__(_no_room)

    @property
    @override
    def room_id(self) -> str:
        return ""


def _no_room() -> Room:
    raise RoomNotFoundError("this concerns no room: look at the payload, and at context.room_id before .room")
