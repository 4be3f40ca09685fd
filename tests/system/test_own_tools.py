"""The tools of a Pydantic AI agent are behind the gates of the room that it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

from roomkit import (
    AIChannel,
    ChannelType,
    HookExecution,
    HookTrigger,
    Identity,
    InboundMessage,
    PersonVerification,
    PydanticAIProvider,
    RoomKit,
    TextContent,
    ToolUse,
    TransportChannel,
    current_tool_call,
)
from roomkit.testing import MockIdentityResolver, MockSMSProvider, RecordingChannel, VirtualClock

pytestmark = pytest.mark.virtual_time

ANN = Identity(id="ann", phone="+15550001")


async def model(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    """Transfer money, then say what the tool answered."""
    last = messages[-1].parts[0]
    if last.part_kind == "tool-return":
        yield f"The bank says: {str(last.content)[:40]}"
    else:
        yield {0: DeltaToolCall(name="transfer", json_args='{"amount": 40}', tool_call_id="c1")}


class Bank:
    """A room with the agent, whose own tool moves money."""

    def __init__(self) -> None:
        self.kit = RoomKit(
            clock=VirtualClock(), identity_resolver=MockIdentityResolver({"ann": ANN, "+15550001": ANN})
        )
        self.web, self.vendor = RecordingChannel("web", streaming=True), MockSMSProvider()
        self.transfers: list[tuple[str, int]] = []
        self.seen: list[ToolUse] = []
        agent = Agent(FunctionModel(stream_function=model))

        @agent.tool_plain
        async def transfer(amount: int) -> str:
            self.transfers.append((current_tool_call().room_id, amount))
            return "done"

        sms = TransportChannel("sms", ChannelType.SMS, provider=self.vendor, recipient_key="phone_number")
        for channel in (self.web, sms, AIChannel("bot", PydanticAIProvider(agent=agent))):
            self.kit.register_channel(channel)

        @self.kit.hook(HookTrigger.ON_TOOL_CALL, HookExecution.ASYNC)
        async def seen(use: ToolUse, context: Any) -> None:
            self.seen.append(use)

    async def open(self) -> None:
        await self.kit.store.create_identity(ANN)
        await self.kit.create_room("r1")
        for channel_id in ("web", "bot"):
            await self.kit.attach_channel("r1", channel_id)

    async def says(self, text: str) -> None:
        said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))
        await self.kit.process_inbound(said, room_id="r1")
        await asyncio.sleep(1)


async def test_a_call_is_seen_with_its_room_and_person() -> None:
    bank = Bank()
    async with bank.kit:
        await bank.open()
        await bank.says("Send 40 EUR to Bob")
    assert bank.transfers == [("r1", 40)]
    assert bank.web.texts() == ["The bank says: done"]
    (use,) = bank.seen
    assert (use.name, use.arguments, use.result, use.is_error) == ("transfer", {"amount": 40}, "done", False)


async def test_a_sensitive_tool_waits_for_a_person_who_is_verified() -> None:
    """Its provider calls it, and the gate is the same."""
    bank = Bank()
    PersonVerification(bank.kit, tools=["transfer"], send_by="sms")
    async with bank.kit:
        await bank.open()
        await bank.says("Send 40 EUR to Bob")
        assert bank.transfers == []
        assert "was not run" in (bank.seen[0].result or "")
        code = bank.vendor.sent[0]["event"].content.body.split()[3].strip(".")
        await bank.says(code)
        assert bank.transfers == [("r1", 40)]
        assert bank.web.texts()[-1] == "The bank says: done"
