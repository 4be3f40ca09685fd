"""Two people and an agent in one room, on live connections.

Prints:
    alice's socket sees agent: Hello Alice, I will take a note.
    bob's socket sees alice: Can someone note that the order is late?
    bob's socket sees agent: Hello Alice, I will take a note.
"""

import asyncio

from roomkit import (
    AIChannel,
    InboundMessage,
    MockAIProvider,
    RoomEvent,
    RoomKit,
    TextContent,
    WebSocketChannel,
    text_of,
)


async def main() -> None:
    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        # Any AIProvider fits here, such as AnthropicAIProvider or OpenAIAIProvider.
        mock = MockAIProvider(responses=["Hello Alice, I will take a note."])
        kit.register_channel(AIChannel("agent", mock, system_prompt="You help two colleagues."))

        await kit.create_room("orders")
        await kit.attach_channel("orders", "web")
        await kit.attach_channel("orders", "agent")

        seen: list[str] = []

        async def send(connection_id: str, event: RoomEvent) -> None:
            # With a web framework: await sockets[connection_id].send_bytes(event.json_bytes)
            who = event.source.participant_id or event.source.channel_id
            seen.append(f"{connection_id} sees {who}: {text_of(event.content)}")

        # participant_id is who you have verified is at the other end, never what the client says.
        for person in ("alice", "bob"):
            await kit.connect_websocket(
                "web", f"{person}'s socket", send, room_id="orders", participant_id=person
            )

        message = InboundMessage(
            channel_id="web",
            sender_id="alice",
            connection_id="alice's socket",
            content=TextContent(body="Can someone note that the order is late?"),
        )
        # Returns when everything has settled. An open socket makes no room: one that is gone stays gone.
        await kit.process_inbound(message, room_id="orders", make_room=False)
        print("\n".join(sorted(seen, key=lambda line: line.partition("'")[0])))


asyncio.run(main())
