"""Gates: one rewrites a message before it is stored, one refuses it. A gate that fails refuses as well.

Prints:
    bob sees: my number is [hidden]
    refused by no_shouting: please do not shout
    refused by broken: hook_failed
    stored: my number is [hidden] (delivered)
    stored: HELP (blocked)
    stored: divide (blocked)
"""

import asyncio
import re

from roomkit import (
    HookResult,
    HookTrigger,
    InboundMessage,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
    WebSocketChannel,
    text_of,
)


async def main() -> None:
    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        await kit.create_room("lobby")
        await kit.attach_channel("lobby", "web")

        @kit.hook(HookTrigger.BEFORE_BROADCAST, priority=1)
        async def no_shouting(event: RoomEvent, context: RoomContext) -> HookResult:
            if text_of(event.content).isupper():
                return HookResult.block("please do not shout")  # the sender is shown this
            return HookResult.allow()

        @kit.hook(HookTrigger.BEFORE_BROADCAST, priority=2)
        async def hide_numbers(event: RoomEvent, context: RoomContext) -> HookResult:
            if not isinstance(event.content, TextContent):
                return HookResult.allow()
            hidden = re.sub(r"\d[\d ]{6,}\d", "[hidden]", text_of(event.content))
            return HookResult.modify(event.replace(content=TextContent(body=hidden)))

        @kit.hook(HookTrigger.BEFORE_BROADCAST, priority=3)
        async def broken(event: RoomEvent, context: RoomContext) -> HookResult:
            if "divide" in text_of(event.content):
                raise ZeroDivisionError
            return HookResult.allow()

        async def send(connection_id: str, event: RoomEvent) -> None:
            print(f"bob sees: {text_of(event.content)}")

        await kit.connect_websocket("web", "bob's socket", send, room_id="lobby", participant_id="bob")
        for text in ("my number is 514 555 0100", "HELP", "divide"):
            message = InboundMessage(channel_id="web", sender_id="alice", content=TextContent(body=text))
            result = await kit.process_inbound(message, room_id="lobby")
            if result.blocked and result.event is not None:
                print(f"refused by {result.event.blocked_by}: {result.reason}")

        # A refused message is kept for the record, and shown to no one.
        for event in await kit.get_timeline("lobby"):
            if event.source.channel_id == "web":
                print(f"stored: {text_of(event.content)} ({event.status})")


asyncio.run(main())
