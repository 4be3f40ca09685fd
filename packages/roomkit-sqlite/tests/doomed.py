"""A worker that holds a delivery of the room `doomed` for an hour, says so, and waits to be killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from roomkit.abc.store import Commit, Entry
from roomkit.models.base import utcnow
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.sqlite import SQLiteStore


async def main(path: Path) -> None:
    """Take the delivery, and never carry it out."""
    store = SQLiteStore(path)
    worker = await store.open_lease(3600)
    await store.create_room(Room(id="doomed"))
    source = EventSource(channel_id="ann", channel_type=ChannelType.SMS)
    said = RoomEvent(room_id="doomed", source=source, content=TextContent(body="hello"))
    entries = [Entry(said, ["sms"])]
    await store.commit(Commit(room_id="doomed", entries=entries, at=utcnow(), worker_id=worker))
    print("holding", flush=True)  # noqa: T201  # the test waits for it
    await asyncio.Event().wait()


asyncio.run(main(Path(sys.argv[1])))
