"""Shows an answer while it is generated."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from roomkit.models.channel import ChannelOutput
from roomkit_plugins.websocket.frames import StreamError, StreamErrorCode, StreamStart
from roomkit_plugins.websocket.live import ShownAnswer

if TYPE_CHECKING:
    from roomkit.abc.text_stream import TextStream
    from roomkit.models.event import RoomEvent
    from roomkit_plugins.websocket.display import Display

__all__ = ["Streaming"]


class Streaming:
    """Each answer gets a start, the pieces, and one end or error, whatever happens."""

    def __init__(self, display: Display) -> None:
        self._display = display

    async def run(self, stream: TextStream, event: RoomEvent, room_id: str) -> ChannelOutput:
        """Show `stream`, whose event will be like `event`, until it ends."""
        start = StreamStart(room_id, stream.id, event.source, stream.id)
        live = ShownAnswer(start, event.visibility)
        display = self._display
        display.begin(live)
        try:
            await stream.each(partial(display.grow, live))
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
        if event is None:
            return self._break_off(live, why_not)
        if live.withheld:
            return ChannelOutput.skipped("read_access_lost")
        taken = self._display.show(live.start.room_id, event)
        return ChannelOutput.empty() if taken else ChannelOutput.skipped("no_connections")

    def _break_off(self, live: ShownAnswer, why_not: StreamErrorCode) -> ChannelOutput:
        self._display.end(live)
        self._display.show_frame(
            live.start.room_id, StreamError(live.start.room_id, live.start.stream_id, why_not)
        )
        return ChannelOutput.skipped("nothing_committed")
