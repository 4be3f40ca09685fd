"""A kit in a process of its own, on a SQLite file: it says what it delivers, until its input ends.

python worker.py FILE [waiting]
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any

from roomkit import (
    AIChannel,
    AITool,
    ChannelType,
    FrameworkEvent,
    Identity,
    InboundMessage,
    Park,
    ProviderError,
    RoomKit,
    SQLiteStore,
    TextContent,
)
from roomkit.abc import ErrorCode
from roomkit.models.ai import AIToolCall
from roomkit.models.generation import AIContext, AIResponse
from roomkit.testing import MockAIProvider, RecordingChannel


def tell(**fields: Any) -> None:
    sys.stdout.write(f"{json.dumps(fields)}\n")
    sys.stdout.flush()


def asking_agent() -> AIChannel:
    """Make an agent that asks before it answers."""

    async def ask(name: str, arguments: dict[str, Any]) -> Park:
        return Park("the vet decides", timedelta(hours=4), asked="vet")

    def model(context: AIContext) -> AIResponse:
        if context.messages[-1].role == "tool":
            return AIResponse(content="bring it in at nine")
        return AIResponse(content="", tool_calls=[AIToolCall(id="c1", name="ask")])

    return AIChannel("bot", MockAIProvider(ai_responses=[model] * 4), tools=[(AITool(name="ask"), ask)])


async def wait_in_r3(kit: RoomKit) -> None:
    """Make a room with two turns that wait and three scheduled sends."""
    await kit.create_room("r3", organization_id="globex")
    await kit.attach_channel("r3", "web")
    await kit.attach_channel("r3", "bot")
    for text in ("may it travel?", "and fly?"):
        message = InboundMessage(channel_id="web", sender_id="eve", content=TextContent(body=text))
        await kit.process_inbound(message, room_id="r3")
    for days in (1, 2, 3):
        at = kit.clock.now() + timedelta(days=days)
        await kit.send_event("r3", "web", TextContent(body=f"visit in {days}"), at=at)


async def main(path: str, waiting: bool) -> None:
    kit = RoomKit(SQLiteStore(path), single_process=True, lease_seconds=0.6)
    down = ProviderError("no such number: +15550001111", error_code=ErrorCode.INVALID_RECIPIENT)
    sms = RecordingChannel("sms", channel_type=ChannelType.SMS, script=[None, down, down])
    kit.register_channel(sms)
    kit.register_channel(RecordingChannel("web"))
    kit.register_channel(asking_agent())

    async def hear(event: FrameworkEvent) -> None:
        tell(
            told=event.type,
            event_id=event.event_id,
            room_id=event.room_id,
            **({"count": n} if (n := event.data.get("count")) else {}),
        )

    for kind in ("delivery_succeeded", "events_pruned", "turn_resumed"):
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
        if waiting:
            await wait_in_r3(kit)
        rows = await kit.list_deliveries("r1")
        turns = [turn.turn_id for turn in await kit.list_parked_turns()]
        tell(ready=[row.id for row in rows if row.state == "failed"], turns=turns)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], "waiting" in sys.argv))
