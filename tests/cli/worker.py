"""A kit in a process of its own, on a SQLite file: it says what it delivers, until its input ends.

python worker.py FILE
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from roomkit import (
    ChannelType,
    FrameworkEvent,
    Identity,
    InboundMessage,
    ProviderError,
    RoomKit,
    SQLiteStore,
    TextContent,
)
from roomkit.abc import ErrorCode
from roomkit.testing import RecordingChannel


def tell(**fields: Any) -> None:
    sys.stdout.write(f"{json.dumps(fields)}\n")
    sys.stdout.flush()


async def main(path: str) -> None:
    kit = RoomKit(SQLiteStore(path), single_process=True, lease_seconds=0.6)
    down = ProviderError("no such number: +15550001111", error_code=ErrorCode.INVALID_RECIPIENT)
    sms = RecordingChannel("sms", channel_type=ChannelType.SMS, script=[None, down, down])
    kit.register_channel(sms)
    kit.register_channel(RecordingChannel("web"))

    async def hear(event: FrameworkEvent) -> None:
        tell(
            told=event.type,
            event_id=event.event_id,
            **({"count": n} if (n := event.data.get("count")) else {}),
        )

    for kind in ("delivery_succeeded", "events_pruned"):
        kit.subscribe_events(kind, hear)
    async with kit:
        await kit.create_room("r1", organization_id="acme")
        await kit.attach_channel("r1", "sms", metadata={"phone_number": "+15550001111"})
        await kit.attach_channel("r1", "web")
        await kit.store.create_identity(
            Identity(id="ann", organization_id="acme", channel_addresses={"sms": ("+15550001111",)})
        )
        for channel_id, sender, text in (
            ("sms", "+15550001111", "my pelican is ill"),
            ("web", "ben", "how old is it?"),
            ("web", "ben", "and does it eat?"),
            ("web", "ben", "bring it in"),
        ):
            words = TextContent(body=text)
            message = InboundMessage(channel_id=channel_id, sender_id=sender, content=words)
            await kit.process_inbound(message, room_id="r1")
        await kit.resolve_participant("r1", "+15550001111", "ann")
        rows = await kit.list_deliveries("r1")
        tell(ready=[row.id for row in rows if row.state == "failed"])
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main(sys.argv[1]))
