"""An answer shown while it is generated, to a client on a real web socket, who then comes back.

Prints:
    stream_start
    stream_chunk 'A room is '
    stream_chunk 'one conver'
    stream_chunk 'sation.'
    stream_end 'A room is one conversation.'
    later: ['What is a room?', 'A room is one conversation.']
"""

import asyncio
import json

from websockets.asyncio.client import connect

from roomkit import AIChannel, MockAIProvider, RoomKit, WebSocketChannel


async def main() -> None:
    async with RoomKit() as kit:
        channel = WebSocketChannel("web")
        answer = MockAIProvider(
            responses=["A room is one conversation."], streaming=True, chunk_size=10, chunk_delay=0.01
        )
        kit.register_channel(channel)
        kit.register_channel(AIChannel("agent", answer))
        await kit.create_room("help")
        await kit.attach_channel("help", "web")
        await kit.attach_channel("help", "agent")

        async with channel.serve(kit) as server:  # this machine only; others need authenticate=
            async with connect(server.url("help", "alice")) as alice:
                await alice.send('{"type": "message", "text": "What is a room?", "client_id": "1"}')
                kind = ""
                while kind != "stream_end":
                    frame = json.loads(await alice.recv())
                    kind = frame["type"]
                    if kind == "stream_chunk":
                        print(kind, repr(frame["delta"]))
                    elif kind == "stream_end":
                        print(kind, repr(frame["event"]["content"]["body"]))
                    elif kind == "stream_start":
                        print(kind)

            # A client that was away names the last index it saw (-1: none) and gets what it missed.
            async with connect(server.url("help", "alice", after=-1)) as alice:
                frames = [json.loads(await alice.recv()) for _ in range(3)]
                print("later:", [frame["event"]["content"]["body"] for frame in frames[1:]])


asyncio.run(main())
