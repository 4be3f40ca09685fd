"""A bank's worker that kills itself once a code was sent to a person, or once the person is verified."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, override

from roomkit import (
    Agent,
    AIContext,
    AIResponse,
    AITool,
    AIToolCall,
    ChannelType,
    HookExecution,
    HookTrigger,
    Identity,
    InboundMessage,
    PersonVerification,
    ProviderResult,
    RoomKit,
    SMSHints,
    TextContent,
    TransportChannel,
)
from roomkit.abc import ConversationStore, SMSProvider
from roomkit.models.event import RoomEvent
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore
from roomkit_plugins.testing import MockAIProvider, MockIdentityResolver, RecordingChannel
from roomkit_plugins.testing.polling import until

LEASE = 2.0
ANN = Identity(id="ann", display_name="Ann", phone="+15550001")
SENT, DONE, REFUSED = "We sent you a code.", "It is done.", "I cannot do that."


def clerk(context: AIContext) -> AIResponse | str:
    """Call the tool when asked to, but not after a refusal; then say its outcome."""
    last = context.messages[-1]
    if "cannot be called" in repr(last):
        return REFUSED
    if last.role != "tool":
        call = AIToolCall(id="c", name="transfer_money", arguments={"amount": 40})
        return AIResponse(content="", tool_calls=[call], finish_reason="tool_calls")
    return SENT if "verified first" in repr(last) else DONE


class Phone(SMSProvider):
    """Appends each code to a file, as the person's telephone would show it."""

    idempotent = True

    def __init__(self, file: Path) -> None:
        self.file = file

    @override
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: SMSHints | None = None,
    ) -> ProviderResult:
        if found := re.search(r"\d{6}", event.content.body):
            with self.file.open("a") as file:
                file.write(f"{found[0]}\n")
        return ProviderResult(success=True, provider_message_id=idempotency_key)


def store_of(where: str) -> ConversationStore:
    """Open the store that a path or a DSN names."""
    if "://" in where:
        return PostgresStore(where)
    return SQLiteStore(SQLiteConfig(path=where, synchronous="normal"))


class Bank:
    """A worker with an agent that transfers money for people who are verified."""

    def __init__(self, store: ConversationStore, folder: Path, **rules: Any) -> None:
        resolver = MockIdentityResolver({"ann": ANN, "+15550001": ANN})
        self.kit = RoomKit(store=store, lease_seconds=LEASE, single_process=True, identity_resolver=resolver)
        self.folder = folder
        self.web = RecordingChannel("web")

        async def transfer_money(name: str, arguments: dict[str, Any]) -> str:
            with (folder / "transfers").open("a") as file:
                file.write("40\n")
            return "done"

        phone = Phone(folder / "codes")
        bot = Agent("bot", MockAIProvider([clerk]), tools=[(AITool(name="transfer_money"), transfer_money)])
        sms = TransportChannel("sms", ChannelType.SMS, provider=phone, recipient_key="phone_number")
        for channel in (self.web, sms, bot):
            self.kit.register_channel(channel)
        rules = {"tools": ["transfer_*"], "send_by": "sms", **rules}
        self.verification = PersonVerification(self.kit, **rules)

    async def open(self) -> None:
        """Make Ann and her room."""
        await self.kit.store.create_identity(ANN)
        await self.kit.create_room("r1")
        for channel_id in ("web", "bot"):
            await self.kit.attach_channel("r1", channel_id)

    async def says(self, text: str) -> RoomEvent:
        """Let Ann say something at her socket."""
        said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))
        result = await self.kit.process_inbound(said, room_id="r1")
        assert result.event is not None, result.reason
        return result.event

    def lines(self, name: str) -> list[str]:
        """Return the codes sent to the telephone (`codes`), or the transfers (`transfers`)."""
        file = self.folder / name
        return file.read_text().split() if file.exists() else []


async def main(where: str, folder: Path, moment: str) -> None:
    """Begin, and be killed."""
    bank = Bank(store_of(where), folder)
    async with bank.kit:

        @bank.kit.hook(HookTrigger("on_verification"), HookExecution.ASYNC)
        async def on_verification(payload: Any, context: Any) -> None:
            if str(payload.status) == moment:
                if moment == "pending":
                    await until(lambda: bank.lines("codes"))
                os.kill(os.getpid(), signal.SIGKILL)

        await bank.open()
        await bank.says("Send 40 EUR")
        await until(lambda: bank.lines("codes"))
        await bank.says(bank.lines("codes")[-1])
        await asyncio.sleep(30)  # other processes


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
