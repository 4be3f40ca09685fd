"""The rooms that connections of this worker see, followed on every worker that commits their events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from roomkit_plugins.websocket.files import with_files
from roomkit_plugins.websocket.frames import StreamError, StreamStart
from roomkit_plugins.websocket.live import ShownAnswer
from roomkit_plugins.websocket.namesakes import names_of_sender

if TYPE_CHECKING:
    from roomkit.abc.services import Excerpt, Follow, Piece, Services
    from roomkit.models.event import RoomEvent
    from roomkit_plugins.websocket.display import Display
    from roomkit_plugins.websocket.live import LiveAnswers
    from roomkit_plugins.websocket.rights import Rights

__all__ = ["FollowedRooms"]


class FollowedRooms:
    """Follows a room once for all of its connections here, while there are any."""

    def __init__(self, services: Services, live: LiveAnswers, display: Display, rights: Rights) -> None:
        self._services = services
        self._live = live
        self._display = display
        self._rights = rights
        self._follows: dict[str, Follow] = {}  # bound: rooms with connections here

    def __len__(self) -> int:
        return len(self._follows)

    def watch(self, room_id: str) -> None:
        """Follow a room. Idempotent."""
        if room_id not in self._follows:
            self._follows[room_id] = self._services.homes.follow(
                room_id,
                None,
                partial(self._show, room_id),
                pieces=partial(self._show_piece, room_id),
                changed=partial(self._changed, room_id),
            )

    def unwatch(self, room_id: str) -> None:
        """Follow a room no longer. Idempotent."""
        follow = self._follows.pop(room_id, None)
        if follow is not None:
            follow.stop()
            for live in self._live.of(room_id):
                self._display.end(live)

    def unwatch_soon(self, room_ids: Sequence[str], *, unless: Callable[[str], bool]) -> None:
        """Follow no longer those of the rooms that nothing here sees, in the next step of the loop."""

        def unwatch() -> None:
            for room_id in room_ids:
                if not unless(room_id):
                    self.unwatch(room_id)

        asyncio.get_running_loop().call_soon(unwatch)

    async def listening(self, room_id: str) -> None:
        """Wait until every event that is committed from now on will be shown here."""
        if (follow := self._follows.get(room_id)) is not None:
            await follow.begun()

    async def _show(self, room_id: str, event: RoomEvent) -> None:
        event = await with_files(self._services, event)
        follow, source = self._follows.get(room_id), event.source
        if follow is None or source.connection_id is not None or follow.binding is None:
            self._display.show(room_id, event)
            return
        names = names_of_sender(source, follow.participants.values(), follow.binding.addresses)
        self._display.show(room_id, event, names)

    async def _show_piece(self, room_id: str, piece: Piece) -> None:
        live = self._live.get(room_id, piece.stream_id)
        if piece.error is not None:
            if live is not None:
                self._display.end(live)
                self._display.show_frame(room_id, StreamError(room_id, piece.stream_id, piece.error))
            return
        if live is None:
            live = ShownAnswer(StreamStart(room_id, piece.stream_id, piece.source, piece.stream_id))
            self._display.begin(live)
        if piece.text:
            self._display.grow(live, piece.text)

    def _changed(self, room_id: str, excerpt: Excerpt | None) -> None:
        if excerpt is None:
            self.unwatch(room_id)
        self._rights.judge(room_id, excerpt)

    def close(self) -> None:
        """Follow nothing any more."""
        for room_id in tuple(self._follows):
            self.unwatch(room_id)
