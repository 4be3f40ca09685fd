"""What one room shows to the connections of this worker: every event once, in order of index."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import Context
from typing import TYPE_CHECKING

from roomkit.abc.log import get_logger
from roomkit.abc.services import Excerpt
from roomkit.models.enums import EventStatus, EventType
from roomkit.models.visibility import admits
from roomkit_plugins.websocket.namesakes import names_of_sender

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant

__all__ = ["RoomFeed", "may_show"]

_log = get_logger("roomkit.websocket")

_PAGE = 100
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 15.0
_REMEMBERED = 64

type Read = Callable[[int | None, int], Awaitable[Excerpt | None]]
"""`async (after_index, limit)`: what the store has of the room."""

type Judge = Callable[[Excerpt | None], None]
"""Drops the connections without a right to the room, as it was just read; None: it is gone."""

type Show = Callable[[RoomEvent, Collection[str]], int]
"""`(event, sender_names)`: hands an event to the connections; returns how many took it."""


class RoomFeed:
    """The events of a room from three sides: delivered here, heard from other workers, read from the store.

    `cursor` is the index of the newest event that was shown, or found to have no reader here. An event that
    is not beyond it is a duplicate. The next one is shown at once. A later one, and one that the binding as
    last read does not admit, is left to the store: events are read from the cursor on, with the binding as it
    is then. Reading is retried until it succeeds.
    """

    def __init__(self, room_id: str, read: Read, show: Show, judge: Judge) -> None:
        self.room_id = room_id
        self.cursor = -1
        self.binding: ChannelBinding | None = None
        self.participants: Mapping[str, Participant] = {}
        self.shown: deque[str] = deque(maxlen=_REMEMBERED)
        """Ids of the newest generated events that were shown: late words of those are too late."""
        self.quiet = False
        """Whether nothing came since this was set."""
        self._read = read
        self._show = show
        self._judge = judge
        self._room_created_at: datetime | None = None
        self._begun = False
        self._stale = False
        """Whether a read under way may be older than a change of rights."""
        self._first: int | None = None
        self._target = -1
        self._filling: asyncio.Task[None] | None = None

    def offer(self, event: RoomEvent) -> int | None:
        """Show an event in its place; return how many took it, None when that is not known (yet)."""
        self.quiet = False
        if self._filling is None and self._begun:
            if event.index <= self.cursor:
                return None
            if event.index == self.cursor + 1 and self._may_put(event):
                return self._put(event)
        self.reach(event.index)
        return None

    def reach(self, index: int) -> None:
        """See to it that everything up to `index` is shown."""
        if not self._begun:
            self._first = index if self._first is None else min(self._first, index)
        if index > self.cursor or not self._begun:
            self._target = max(self._target, index)
            self.fill()

    def renew(self) -> None:
        """Read the binding again, and the events after the cursor; also if a read is under way."""
        self.binding = None
        self._stale = True
        self.fill()

    def fill(self) -> None:
        """Read on from the cursor, unless that is under way."""
        if self._filling is None and self._begun:
            name = f"read on in room {self.room_id}"
            self._filling = asyncio.Task(self._fill(), name=name, context=Context())

    async def begin(self) -> None:
        """Read the room's position; events committed from now on are shown. Retried until it succeeds."""
        excerpt = self._judged(await self._patiently(None))
        self.cursor = -1 if excerpt is None else excerpt.latest_index
        if self._first is not None:  # it was delivered here in between
            self.cursor = min(self.cursor, self._first - 1)
        self._learn(excerpt)
        self._begun = True
        if self._stale or self._target > self.cursor:
            self.fill()

    async def close(self) -> None:
        """Stop reading."""
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait((self._filling,))

    def _learn(self, excerpt: Excerpt | None) -> None:
        self.binding = None if excerpt is None else excerpt.binding
        self.participants = {} if excerpt is None else excerpt.participants

    def _may_put(self, event: RoomEvent) -> bool:
        """Whether the room as it was last read is enough to show an event.

        It is not for the first event of a namesake: which of the connections sent it, their record says.
        """
        binding = self.binding
        if binding is None or not may_show(binding, event):
            return False
        person = event.source.participant_id or ""
        return person in self.participants or not person.startswith(f"{binding.addresses}:")

    def _put(self, event: RoomEvent) -> int:
        self.cursor = event.index
        if event.generation is not None:
            self.shown.append(event.id)
        is_known = event.source.connection_id is not None
        return self._show(event, () if is_known else self.sender_names(event))

    def sender_names(self, event: RoomEvent) -> Collection[str]:
        """Return what the room's channel calls the sender of an event, as the room was last read."""
        if self.binding is None:
            return ()
        return names_of_sender(event.source, self.participants.values(), self.binding.addresses)

    async def _fill(self) -> None:
        try:
            again = True
            while again:
                wanted, self._target, self._stale = self._target, -1, False
                again = await self._page(wanted) or self._stale or self._target > self.cursor
        finally:
            self._filling = None

    async def _page(self, wanted: int) -> bool:
        """Show a page of the events after the cursor; return whether there is another one."""
        excerpt = self._judged(await self._patiently(self.cursor))
        if excerpt is None:  # not attached any more, or the room is gone
            self._learn(None)
            self.cursor = max(self.cursor, wanted)
            return False
        self._learn(excerpt)
        for event in excerpt.events:
            if may_show(excerpt.binding, event):
                self._put(event)
            else:
                self.cursor = event.index
        if len(excerpt.events) >= _PAGE:
            return True
        self.cursor = max(self.cursor, excerpt.latest_index)
        if wanted > self.cursor:
            _log.warning(
                "room %r was said to have an event %d, but the store knows none beyond %d",
                self.room_id,
                wanted,
                self.cursor,
            )
        return False

    def _judged(self, excerpt: Excerpt | None) -> Excerpt | None:
        """Return the page that was read, once the connections without a right to it are dropped.

        A room that was deleted and made again under its id is not the one that was connected to: it is
        begun with at its newest event.
        """
        before = self._room_created_at
        self._room_created_at = None if excerpt is None else excerpt.room_created_at
        if before is None and excerpt is None:
            return None  # not there yet
        if excerpt is None or (
            before in (None, excerpt.room_created_at) and excerpt.latest_index >= self.cursor
        ):
            self._judge(excerpt)
            return excerpt
        self._judge(None)
        self.cursor = excerpt.latest_index
        return Excerpt(excerpt.binding, excerpt.latest_index)

    async def _patiently(self, after: int | None) -> Excerpt | None:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._read(after, _PAGE)
            except Exception as error:  # noqa: BLE001  # a store may raise anything: it is asked again
                _log.warning(
                    "the timeline of room %r could not be read (%s); trying again in %.1f s",
                    self.room_id,
                    type(error).__name__,
                    pause,
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def may_show(binding: ChannelBinding, event: RoomEvent) -> bool:
    """Return whether a committed event goes to the connections of `binding`, as a delivery would."""
    return (
        binding.can_read
        and event.status is not EventStatus.BLOCKED
        and not event.deleted
        and admits(event.visibility, binding.channel_id, binding.category)
        and (event.type is not EventType.REACTION or binding.capabilities.supports_reactions)
    )
