"""An agent of one kit uses the rooms of another, over MCP: its key decides what it may."""

from __future__ import annotations

from pydantic import SecretStr

from roomkit import (
    AIChannel,
    AIResponse,
    AIToolCall,
    InboundMessage,
    MCPToolProvider,
    MockAIProvider,
    RoomKit,
    TextContent,
)
from roomkit.models.enums import ChannelCategory
from roomkit_plugins.server import KeyConfig, KitServer, Scope, ServerConfig
from roomkit_plugins.testing import RecordingChannel

KEY = "a-key-for-the-assistant"
SCOPES = (Scope.ROOMS_READ, Scope.MESSAGES_SEND)


def _asks(name: str, **arguments: object) -> AIResponse:
    return AIResponse(content="", tool_calls=[AIToolCall(id=name, name=name, arguments=arguments)])


async def test_an_agent_reads_and_writes_another_kits_room_within_its_key() -> None:
    keys = {"assistant": KeyConfig(secret=KEY, organization="shop", scopes=SCOPES)}
    async with RoomKit() as shop, KitServer(shop, ServerConfig(port=0, keys=keys, mcp=True)) as server:
        room = await shop.for_organization("shop").create_room()
        other = await shop.for_organization("bank").create_room()
        model = MockAIProvider(
            ai_responses=[
                _asks("send_event", room_id=room.id, content={"type": "text", "body": "from the agent"}),
                _asks("list_events", room_id=room.id),
                _asks("list_events", room_id=other.id),
                AIResponse(content="Done."),
            ]
        )
        provider = MCPToolProvider(f"{server.url}/mcp", headers={"Authorization": SecretStr(f"Bearer {KEY}")})
        async with RoomKit() as kit:
            kit.register_channel(AIChannel("agent", model, tool_providers=[provider]))
            kit.register_channel(RecordingChannel("desk"))
            await kit.create_room("r1")
            await kit.attach_channel("r1", "agent", category=ChannelCategory.INTELLIGENCE)
            await kit.attach_channel("r1", "desk")
            message = InboundMessage(channel_id="desk", sender_id="ann", content=TextContent(body="go"))
            result = await kit.process_inbound(message, room_id="r1")
            assert not result.blocked
            assert not provider.disabled_tools
        offered = {tool.name for tool in model.calls[0].tools}
        assert {"list_rooms", "send_event"} <= offered
        assert not {"delete_room", "retry_delivery"} & offered
        results = [str(message.content) for message in model.calls[-1].messages]
        assert any('"body":"from the agent"' in each for each in results)
        assert any("room_not_found" in each for each in results)
        timeline = await shop.get_timeline(room.id)
        assert [each.content.body for each in timeline if isinstance(each.content, TextContent)] == [
            "from the agent"
        ]
