"""Who a sender is, decided before a room is made for them; and a room that pauses and wakes up.

Prints:
    +1555: blocked=True, Unknown sender
    +1514: blocked=False, Ann Lee (identified)
    after two idle minutes: paused
    after a new message: active
"""

import asyncio
from datetime import UTC, datetime, timedelta

from roomkit import (
    HookTrigger,
    IdentificationStatus,
    Identity,
    IdentityHookResult,
    IdentityResolver,
    IdentityResult,
    InboundMessage,
    InboundResult,
    RoomContext,
    RoomEvent,
    RoomKit,
    RoomTimers,
    TextContent,
    WebSocketChannel,
)
from roomkit.abc.clock import Clock


class Directory(IdentityResolver):
    async def resolve(self, message: InboundMessage, context: RoomContext) -> IdentityResult:
        if message.sender_id == "+1514":
            ann = Identity(id="ann", display_name="Ann Lee")
            return IdentityResult(status=IdentificationStatus.IDENTIFIED, identity=ann)
        return IdentityResult(status=IdentificationStatus.UNKNOWN)


class SetClock(Clock):
    time = datetime(2030, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


async def main() -> None:
    clock = SetClock()
    async with RoomKit(identity_resolver=Directory(), clock=clock) as kit:
        kit.register_channel(WebSocketChannel("web"))
        await kit.create_room("desk", timers=RoomTimers(inactive_after_seconds=60, closed_after_seconds=3600))
        await kit.attach_channel("desk", "web")

        @kit.identity_hook(HookTrigger.ON_IDENTITY_UNKNOWN)
        async def members_only(
            event: RoomEvent, context: RoomContext, result: IdentityResult
        ) -> IdentityHookResult:
            return IdentityHookResult.reject("Unknown sender")

        async def say(sender: str) -> InboundResult:
            message = InboundMessage(channel_id="web", sender_id=sender, content=TextContent(body="hi"))
            return await kit.process_inbound(message, room_id="desk")

        refused, taken = await say("+1555"), await say("+1514")
        print(f"+1555: blocked={refused.blocked}, {refused.reason}")
        (person,) = await kit.list_participants("desk")
        print(f"+1514: blocked={taken.blocked}, {person.display_name} ({person.identification})")

        clock.time += timedelta(minutes=2)
        await kit.sweep_room_timers()  # or RoomKit(sweep_interval=...), which does it in the background
        print("after two idle minutes:", (await kit.get_room("desk")).status)
        await say("+1514")
        print("after a new message:", (await kit.get_room("desk")).status)


asyncio.run(main())
