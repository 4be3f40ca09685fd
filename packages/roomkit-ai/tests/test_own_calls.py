"""Calls that a provider makes of its own tools pass what all calls pass."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roomkit.kernel.kit import RoomKit
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookExecution, HookTrigger
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.hook import HookResult
from roomkit.models.telemetry import SpanKind
from roomkit.models.tool import ToolUse
from roomkit_plugins.ai import AIChannel, RoleOverride, ToolPolicy, current_tool_call
from roomkit_plugins.testing import MockAIProvider, MockTelemetryProvider, RecordingChannel

pytestmark = pytest.mark.virtual_time


class Independent(MockAIProvider):
    """A provider that calls its own tool `refund` before it answers; `made` has the calls that were run."""

    runs_tools = True

    def __init__(self, *, calls: int = 1, streaming: bool = False) -> None:
        super().__init__(["Done."] * 9, streaming=streaming)
        self.made: list[dict[str, Any]] = []
        self.on_behalf_of: list[str | None] = []
        self.results: list[object] = []
        self.number = calls
        self.seconds = 0.0
        self.error: Exception | None = None

    async def work(self, arguments: dict[str, Any]) -> object:
        self.made.append(arguments)
        self.on_behalf_of.append(current_tool_call().participant_id)
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return {"refunded": arguments["amount"]}

    async def work_alone(self, context: AIContext) -> None:
        calls = context.own_calls
        assert calls is not None
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_run(calls, f"own-{n}", self.work)) for n in range(self.number)]
        self.results += [task.result() for task in tasks]

    async def generate(self, context: AIContext) -> AIResponse:
        await self.work_alone(context)
        return await super().generate(context)

    async def generate_structured_stream(self, context: AIContext) -> Any:
        await self.work_alone(context)
        async for item in super().generate_structured_stream(context):
            yield item


async def _run(calls: Any, call_id: str, work: Callable[[dict[str, Any]], Awaitable[object]]) -> object:
    return await calls.run(call_id, "refund", {"amount": 40}, work)


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def provider(request: Any) -> Independent:
    return Independent(streaming=request.param)


class Shop:
    """A room with the agent; `seen` has what observers of tools were shown."""

    def __init__(self, provider: Independent, kit: RoomKit | None = None, **options: Any) -> None:
        self.kit = kit or RoomKit()
        self.provider = provider
        self.seen: list[ToolUse] = []
        self.kit.register_channel(RecordingChannel("web", streaming=True))
        self.kit.register_channel(AIChannel("bot", provider, **options))

        @self.kit.hook(HookTrigger.ON_TOOL_CALL, HookExecution.ASYNC)
        async def seen(use: ToolUse, context: Any) -> None:
            self.seen.append(use)

    def gate(self, judge: Callable[[ToolUse], HookResult]) -> None:
        @self.kit.hook(HookTrigger.BEFORE_TOOL_USE)
        async def gate(use: ToolUse, context: Any) -> HookResult:
            return judge(use)

    async def ask(self) -> Any:
        await self.kit.create_room("r1")
        for channel_id in ("web", "bot"):
            await self.kit.attach_channel("r1", channel_id)
        said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="Refund me"))
        return await self.kit.process_inbound(said, room_id="r1")


async def test_a_call_is_run_and_shown_to_observers(provider: Independent) -> None:
    telemetry = MockTelemetryProvider()
    async with RoomKit(telemetry=telemetry) as kit:
        shop = Shop(provider, kit)
        assert (await shop.ask()).error is None
    assert provider.results == [{"refunded": 40}]
    assert provider.made == [{"amount": 40}]
    (use,) = shop.seen
    assert (use.room_id, use.channel_id, use.call_id, use.name) == ("r1", "bot", "own-0", "refund")
    assert (json.loads(use.result or ""), use.is_error) == ({"refunded": 40}, False)
    assert (use.participant_id, use.duration_ms) == (provider.on_behalf_of[0], 0.0)
    (span,) = telemetry.get_spans(SpanKind.LLM_TOOL_CALL)
    assert (span.name, span.status) == ("tool.refund", "ok")


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        (lambda use: HookResult.block("ask your manager"), "ask your manager"),
        (lambda use: 1 / 0, "hook_failed"),
        (lambda use: "yes", "hook_failed"),
        (lambda use: HookResult.modify(use.replace(name="other")), "was to be replaced by 'other'"),
    ],
    ids=["blocked", "broken", "mistyped", "renamed"],
)
async def test_a_call_that_a_gate_stops_is_not_run(
    provider: Independent, judge: Callable[[ToolUse], HookResult], why: str
) -> None:
    """The provider gets the reason as the result; observers see it as an error."""
    shop = Shop(provider)
    shop.gate(judge)
    async with shop.kit:
        assert (await shop.ask()).error is None
    assert provider.made == []
    (result,) = provider.results
    assert why in json.loads(str(result))["error"]
    assert [(use.result, use.is_error) for use in shop.seen] == [(result, True)]


async def test_what_a_gate_changes_is_what_runs(provider: Independent) -> None:
    shop = Shop(provider)
    shop.gate(lambda use: HookResult.modify(use.replace(arguments={"amount": 10})))
    async with shop.kit:
        await shop.ask()
    assert (provider.made, provider.results) == ([{"amount": 10}], [{"refunded": 10}])
    assert shop.seen[0].arguments == {"amount": 10}


async def test_a_call_that_the_tool_policy_forbids_is_not_run(provider: Independent) -> None:
    policy = ToolPolicy(role_overrides={"member": RoleOverride(deny=["refund"])})
    async with (shop := Shop(provider, tool_policy=policy)).kit:
        await shop.ask()
    assert provider.made == []
    assert "'refund' is not permitted here" in str(provider.results[0])


async def test_a_call_ends_at_the_deadline_of_tools(provider: Independent) -> None:
    provider.seconds = 60.0
    async with (shop := Shop(provider, tool_timeout_seconds=2.0)).kit:
        assert (await shop.ask()).error is None
    assert provider.results == ["Error executing tool 'refund': no answer in 2 s"]
    assert [(use.is_error, use.duration_ms) for use in shop.seen] == [(True, 2000.0)]


async def test_calls_count_among_those_of_the_turn(provider: Independent) -> None:
    provider.number = 3
    async with (shop := Shop(provider, max_tool_calls=2)).kit:
        await shop.ask()
    assert len(provider.made) == 2
    assert "all the tool calls of this turn are made" in str(provider.results)
    assert [use.is_error for use in shop.seen].count(True) == 1


async def test_what_a_tool_raises_is_the_providers(provider: Independent) -> None:
    """And observers learn its class."""
    provider.error = LookupError("secret words")
    shop = Shop(provider)
    async with shop.kit:
        assert (await shop.ask()).error is not None
    assert [(use.result, use.is_error) for use in shop.seen] == [
        ("Error executing tool 'refund': LookupError", True)
    ]


async def test_only_a_provider_with_tools_of_its_own_is_given_the_means() -> None:
    model = MockAIProvider(["Hello."])
    async with RoomKit() as kit:
        kit.register_channel(RecordingChannel("web"))
        kit.register_channel(AIChannel("bot", model))
        await kit.create_room("r1")
        for channel_id in ("web", "bot"):
            await kit.attach_channel("r1", channel_id)
        said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="Hi"))
        await kit.process_inbound(said, room_id="r1")
    assert model.calls[0].own_calls is None


@pytest.mark.parametrize("is_confirmed", [True, False])
async def test_no_call_is_made_before_the_message_is_committed(
    provider: Independent, is_confirmed: bool
) -> None:
    """Two calls at once wait for it together."""
    provider.number = 2
    shop = Shop(provider)
    said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="Refund me"))
    async with shop.kit as kit:
        await kit.create_room("r1")
        for channel_id in ("web", "bot"):
            await kit.attach_channel("r1", channel_id)
        speculation = await kit.services.turns.speculate("r1", said)
        await asyncio.sleep(1)
        assert provider.made == []
        if is_confirmed:
            await speculation.confirm(said, wait="settled")
        else:
            await speculation.withdraw()
        await asyncio.sleep(1)
    assert len(provider.made) == len(shop.seen) == (2 if is_confirmed else 0)
