"""The two conversations of docs/explanation/two-conversations-side-by-side.md, whose worker kills itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from roomkit import (
    Agent,
    AIContext,
    AIResponse,
    AITool,
    ChannelType,
    HookExecution,
    HookTrigger,
    InboundMessage,
    MockSMSProvider,
    Park,
    RoomKit,
    Swarm,
    TextContent,
    TransportChannel,
    text_of,
)
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore
from roomkit_plugins.testing import RecordingChannel
from tests.system.hotel import calls, hands_to, model

__all__ = ["OLGA", "Worker"]

OLGA = "+14165550199"
EMAIL = AITool(name="send_email", description="Send an e-mail.", parameters={"type": "object"})
LEASE = 2.0


class Worker:
    """A worker on the store in a folder. `dies` says where it is killed; a worker that lives on has none.

    What it does outside is written to files, as a vendor would have it: `asked` for each question to Olga,
    `sent` for each e-mail.
    """

    def __init__(self, folder: Path, dies: str = "") -> None:
        self.folder = folder
        self.dies = dies
        self.web = RecordingChannel("web")
        self.phones = MockSMSProvider()
        store = SQLiteStore(SQLiteConfig(path=folder / "rooms.db", synchronous="normal"))
        self.kit = RoomKit(store=store, lease_seconds=LEASE, single_process=True)
        crew = [Agent("triage", model(self._triage)), Agent("seats", model(self._seats))]
        writer = Agent("writer", model(self._writer), tools=[(EMAIL, self._send_email)])
        sms = TransportChannel("sms", ChannelType.SMS, provider=self.phones)
        for channel in (self.web, sms, *crew, writer):
            self.kit.register_channel(channel)
        Swarm(["triage", "seats"]).install(self.kit, crew)
        self.kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, name="decide")(self._decide)

    def effects(self, kind: str) -> list[str]:
        """Return the effects outside, of all workers."""
        file = self.folder / kind
        return file.read_text().splitlines() if file.exists() else []

    def _does(self, kind: str, words: str) -> None:
        with (self.folder / kind).open("a") as file:
            file.write(f"{words}\n")

    def _die(self, where: str) -> None:
        if self.dies == where:
            os.kill(os.getpid(), signal.SIGKILL)

    def _triage(self, context: AIContext) -> AIResponse:
        self._die("answering")
        if "seat" in str(context.messages[-1].content):
            return hands_to("seats")
        return AIResponse(content="Welcome aboard.")

    def _seats(self, context: AIContext) -> AIResponse:
        self._die("handed")
        return AIResponse(content="Which seat?")

    def _writer(self, context: AIContext) -> AIResponse:
        if context.messages[-1].role == "tool":
            self._die("resumed")
            return AIResponse(content=f"It was {context.messages[-1].content[0].result}.")
        return calls("send_email", to="alice", subject="Meeting")

    async def _send_email(self, name: str, arguments: dict[str, Any]) -> Park:
        self._does("asked", arguments["to"])
        words = TextContent(body=f"Send {arguments['subject']} to {arguments['to']}? M1 yes or M1 no")
        request = await self.kit.send_event("olga", "system", words)
        return Park("Olga decides", timedelta(days=1), asked=OLGA, request=request.id, code="M1")

    async def _decide(self, event: Any, context: Any) -> None:
        for turn, call in await self.kit.services.turns.asked(event):
            if "yes" in text_of(event.content).split():
                self._does("sent", call.arguments["to"])
            await self.kit.services.turns.resume(turn.room_id, turn.turn_id, {call.call_id: "sent"})

    async def says(self, text: str, room_id: str = "r1") -> None:
        """Have the person say something."""
        said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))
        await self.kit.process_inbound(said, room_id=room_id)

    async def olga_says(self, text: str) -> None:
        """Have Olga reply from her phone."""
        said = InboundMessage(channel_id="sms", sender_id=OLGA, content=TextContent(body=text))
        await self.kit.process_inbound(said)

    async def answers(self, room_id: str = "r1") -> list[str]:
        """Return what the agents said for everyone."""
        events = await self.kit.get_timeline(room_id, as_channel="web")
        agents = ("triage", "seats", "writer")
        return [
            f"{each.source.channel_id}: {text_of(each.content)}"
            for each in events
            if each.source.channel_id in agents
        ]

    async def live(self) -> None:
        """Begin both conversations, and be killed in one of them."""
        async with self.kit as kit:
            for room_id, names in (("r1", ("web", "triage", "seats")), ("mail", ("web", "writer"))):
                await kit.create_room(room_id)
                for name in names:
                    await kit.attach_channel(room_id, name)
            await kit.create_room("olga")
            await kit.attach_channel("olga", "sms", metadata={"recipient_id": OLGA})
            await self.says("Hello." if self.dies == "answering" else "Another seat, please.")
            self._die("between")
            await self.says("Tell Alice about the meeting.", "mail")
            self._die("waiting")
            await self.olga_says("M1 yes")
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(Worker(Path(sys.argv[2]), sys.argv[1]).live())
