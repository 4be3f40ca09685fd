"""An agent in a room that uses a server's tools, from the first message to the answer."""

from __future__ import annotations

from roomkit import (
    AIChannel,
    AIImagePart,
    AIResponse,
    AIToolCall,
    AIToolResultPart,
    ChannelCategory,
    HookExecution,
    HookResult,
    HookTrigger,
    InboundMessage,
    MCPToolProvider,
    MockAIProvider,
    RoomKit,
    TextContent,
)
from roomkit_plugins.testing import RecordingChannel

from .conftest import free_port


def calling(name: str, **arguments: object) -> AIResponse:
    return AIResponse(content="", tool_calls=[AIToolCall(id="c1", name=name, arguments=arguments)])


async def asked(kit: RoomKit, agent: AIChannel) -> None:
    kit.register_channel(RecordingChannel("ws"))
    kit.register_channel(agent)
    await kit.create_room(room_id="r1")
    await kit.attach_channel("r1", "ws")
    await kit.attach_channel("r1", "agent", category=ChannelCategory.INTELLIGENCE)
    message = InboundMessage(channel_id="ws", sender_id="ann", content=TextContent(body="Please."))
    await kit.process_inbound(message, room_id="r1")


def results(provider: MockAIProvider) -> list[AIToolResultPart]:
    parts = [part for each in provider.calls[-1].messages if each.role == "tool" for part in each.content]
    return [part for part in parts if isinstance(part, AIToolResultPart)]


async def test_the_model_is_offered_the_tools_and_its_call_is_run(url):
    provider = MockAIProvider(ai_responses=[calling("add", a=2, b=3), AIResponse(content="It is 5.")])
    async with RoomKit() as kit:
        await asked(kit, AIChannel("agent", provider, tool_providers=[MCPToolProvider(url)]))
        assert [tool.name for tool in provider.calls[0].tools][:2] == ["add", "draw"]
        assert [each.result for each in results(provider)] == ["5"]
        assert (await kit.get_timeline("r1"))[-1].content.body == "It is 5."


async def test_the_model_sees_the_pictures_of_a_tool(url):
    provider = MockAIProvider(ai_responses=[calling("draw"), AIResponse(content="A dot.")], vision=True)
    async with RoomKit() as kit:
        await asked(kit, AIChannel("agent", provider, tool_providers=[MCPToolProvider(url)]))
        last = provider.calls[-1].messages[-1]
        assert last.role == "user"
        assert [part.url for part in last.content if isinstance(part, AIImagePart)] == [
            "data:image/png;base64,ZG90"
        ]


async def test_a_gate_stands_before_every_call(url, shop):
    provider = MockAIProvider(ai_responses=[calling("add", a=2, b=3), AIResponse(content="No.")])
    async with RoomKit() as kit:

        @kit.hook(HookTrigger.BEFORE_TOOL_USE, HookExecution.SYNC)
        async def refuse(use, context):
            return HookResult.block("no sums today")

        await asked(kit, AIChannel("agent", provider, tool_providers=[MCPToolProvider(url)]))
        (result,) = results(provider)
        assert (result.is_error, "no sums today" in result.result) == (True, True)
    assert shop.calls == []


async def test_a_server_that_is_down_costs_no_answer():
    provider = MockAIProvider(responses=["Hello."])
    down = MCPToolProvider(f"http://127.0.0.1:{free_port()}/mcp")
    async with RoomKit() as kit:
        await asked(kit, AIChannel("agent", provider, tool_providers=[down]))
        assert not provider.calls[0].tools
        assert (await kit.get_timeline("r1"))[-1].content.body == "Hello."
