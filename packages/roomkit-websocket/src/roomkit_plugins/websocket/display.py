"""What the connections of this worker are sent: events, and answers while they are generated."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.visibility import admits
from roomkit_plugins.websocket.audience import Connections, without_sender
from roomkit_plugins.websocket.frames import StreamChunk, StreamEnd, StreamError

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent
    from roomkit_plugins.websocket.connection import Connection, FanOut
    from roomkit_plugins.websocket.frames import StreamMessage
    from roomkit_plugins.websocket.live import LiveAnswers, ShownAnswer

__all__ = ["Display", "all_failed"]


class Display:
    """Sends to the connections here whatever they may see; never waits for one."""

    def __init__(self, channel_id: str, connections: Connections, fan_out: FanOut, live: LiveAnswers) -> None:
        self._channel_id = channel_id
        self._connections = connections
        self._fan_out = fan_out
        self._live = live

    def show(self, room_id: str, event: RoomEvent, sender_names: Collection[str] = ()) -> int:
        """Send an event to the connections here that it is for; it ends the answer it was shown as.

        `sender_names` is what the channel calls its sender, where the connection it came by is unknown.
        """
        audience = self._connections.audience(room_id)
        if self._live.end(room_id, event.id) is not None:
            taken = self._fan_out.send(audience.streaming, StreamEnd(room_id, event.id, event))
            return taken + self._fan_out.send(audience.plain, event)
        connections: Sequence[Connection] = audience.everyone
        if event.source.channel_id == self._channel_id:
            connections = without_sender(connections, event.source, sender_names)
        return self._fan_out.send(connections, event)

    def show_frame(self, room_id: str, frame: StreamMessage) -> None:
        """Send a frame to the connections here that see answers grow."""
        self._fan_out.send(self._connections.audience(room_id).streaming, frame)

    def begin(self, live: ShownAnswer) -> None:
        """Show the start of an answer."""
        self._live.add(live)
        self.show_frame(live.start.room_id, live.start)

    def grow(self, live: ShownAnswer, text: str) -> None:
        """Show more text of an answer, unless its event was shown already."""
        if live.over:
            return
        live.pieces.append(text)
        room_id = live.start.room_id
        chunk = StreamChunk(room_id, live.start.stream_id, text)
        self._fan_out.send(self._connections.audience(room_id).streaming, chunk)

    def end(self, live: ShownAnswer) -> None:
        """Note that nothing more of an answer is shown."""
        self._live.end(live.start.room_id, live.start.stream_id)

    def catch_up(self, connection: Connection, room_id: str) -> None:
        """Show a connection the answers that are being generated in a room it has just joined."""
        if connection.stream_send_fn is None:
            return
        for live in self._live.of(room_id):
            self._fan_out.send((connection,), live.start)
            if live.pieces:
                self._fan_out.send((connection,), StreamChunk(room_id, live.start.stream_id, live.text))

    def withhold(self, room_id: str, binding: ChannelBinding) -> None:
        """End the answers under way that the channel may not see any more."""
        for live in self._live.of(room_id):
            if not _may_see(binding, live):
                live.withheld = True
                self.end(live)
                self.show_frame(room_id, StreamError(room_id, live.start.stream_id, "answer_withheld"))


def _may_see(binding: ChannelBinding, live: ShownAnswer) -> bool:
    return binding.can_read and admits(live.visibility, binding.channel_id, binding.category)


def all_failed(connections: Sequence[Connection], channel_id: str, room_id: str) -> ProviderError:
    """Return the failure of a delivery that every connection refused."""
    return ProviderError(
        f"none of the {len(connections)} connections of channel {channel_id!r} in room {room_id!r} took the "
        "event: their send functions failed",
        error_code=ErrorCode.INVALID_RECIPIENT,  # not the provider's fault: other rooms go on
    )
