"""Shows an answer of this worker while it is generated, here and to other workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roomkit.models.channel import ChannelOutput
from roomkit_plugins.websocket.frames import StreamError, StreamErrorCode, StreamStart
from roomkit_plugins.websocket.live import ShownAnswer

if TYPE_CHECKING:
    from roomkit.abc.channel import TextStream
    from roomkit.models.event import RoomEvent
    from roomkit_plugins.websocket.audience import Connections
    from roomkit_plugins.websocket.display import Display
    from roomkit_plugins.websocket.workers import Workers

__all__ = ["Streaming"]


class Streaming:
    """Each answer gets a start, the pieces, and one end or error, whatever happens."""

    def __init__(self, connections: Connections, display: Display, workers: Workers | None) -> None:
        self._connections = connections
        self._display = display
        self._workers = workers

    async def run(self, stream: TextStream, event: RoomEvent, room_id: str) -> ChannelOutput:
        """Show `stream`, whose event will be like `event`, until it ends."""
        start = StreamStart(room_id, stream.id, event.source, stream.id)
        live = ShownAnswer(start, event.visibility)
        display, workers = self._display, self._workers
        display.begin(live)
        if workers is not None:
            workers.begin(live)
        try:
            async for text in stream:
                if live.over:  # its event was shown already
                    continue
                display.grow(live, text)
                if workers is not None:
                    workers.grow(live, text)
            committed = await stream.turn()
        except asyncio.CancelledError:
            self._end(live, stream.event, "answer_cancelled")
            raise
        except Exception:  # clients are notified, whatever failed
            self._end(live, await stream.turn(), "answer_failed")
            raise
        return self._end(live, committed, "answer_withheld")

    def _end(self, live: ShownAnswer, event: RoomEvent | None, why_not: StreamErrorCode) -> ChannelOutput:
        """End a stream with the committed event, or say why there is none."""
        room_id = live.start.room_id
        if event is None:
            return self._break_off(live, why_not)
        if self._workers is None and live.withheld:
            return ChannelOutput.skipped("read_access_lost")
        if self._workers is None:
            taken = self._display.show(room_id, event)
            return ChannelOutput.empty() if taken else ChannelOutput.skipped("no_connections")
        self._workers.finish(live, event)
        if self._connections.audience(room_id).everyone:
            return ChannelOutput.empty()
        self._display.end(live)
        return ChannelOutput.skipped("no_connections_here")

    def _break_off(self, live: ShownAnswer, why_not: StreamErrorCode) -> ChannelOutput:
        self._display.end(live)
        self._display.show_frame(
            live.start.room_id, StreamError(live.start.room_id, live.start.stream_id, why_not)
        )
        if self._workers is not None:
            self._workers.break_off(live, why_not)
        return ChannelOutput.skipped("nothing_committed")
