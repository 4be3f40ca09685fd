"""Which connections have a right to a room, as the store has it now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from roomkit.abc.errors import RoomKitError
from roomkit.abc.log import get_logger
from roomkit.models.participant import departed_senders

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.services import Excerpt
    from roomkit.models.participant import Participant
    from roomkit_plugins.websocket.audience import Connections
    from roomkit_plugins.websocket.connection import Connection
    from roomkit_plugins.websocket.display import Display

__all__ = ["Rights"]

_log = get_logger("roomkit.websocket")


class Rights:
    """Drops connections, and ends answers under way, that have no right to their room any more."""

    def __init__(self, channel: Channel, connections: Connections, display: Display) -> None:
        self._channel = channel
        self._connections = connections
        self._display = display

    def judge(self, room_id: str, excerpt: Excerpt | None) -> None:
        """Apply a room as it was just read; None: it is gone."""
        if excerpt is None:
            for connection in self._connections.audience(room_id).everyone:
                self._connections.bar(connection, room_id, "room_not_found")
            return
        self._display.withhold(room_id, excerpt.binding)
        self.bar_departed(room_id, excerpt.participants)

    def bar_departed(self, room_id: str, participants: Mapping[str, Participant]) -> bool:
        """Drop the connections of those who are removed or banned; return whether any of them is."""
        departed = self._departed(participants)
        if departed:
            for connection in self._connections.audience(room_id).everyone:
                if (reason := departed.get(connection.participant_id or "")) is not None:
                    self._connections.bar(connection, room_id, reason)
        return bool(departed)

    def let_in(self, connection: Connection, room_id: str, participants: Iterable[Participant]) -> None:
        """Subscribe a connection to a room, unless its participant is removed from it or banned."""
        if room_id not in connection.rooms:
            departed = self._departed({participant.id: participant for participant in participants})
            if connection.participant_id not in departed:
                self._connections.join(connection, room_id)

    def _departed(self, participants: Mapping[str, Participant]) -> Mapping[str, str]:
        return departed_senders(participants, self._channel.channel_id, self._channel.address_type)

    async def look(self, room_id: str, *, for_bans: bool = False) -> None:
        """Read the room, if it has connections here, and apply it; `for_bans`, it may not be there yet."""
        services = self._channel.services
        if services is None or not self._connections.audience(room_id).everyone:
            return
        try:
            excerpt = await services.rooms.read_timeline(room_id)
        except RoomKitError:
            _log.warning(
                "rights in room %r could not be read; frames are still refused", room_id, exc_info=True
            )
            return
        if excerpt is not None or not for_bans:
            self.judge(room_id, excerpt)
