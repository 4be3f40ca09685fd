"""An agent with a tool: the call is checked against its schema and by a gate before it runs.

Prints:
    ran look_up_order for alice: {'order': 'A-17'}
    refused: orders of other customers are not shown
    agent: Order A-17 left on Monday.
    agent: I may not look that up.
"""

import asyncio

from roomkit import (
    AIChannel,
    AIResponse,
    AITool,
    AIToolCall,
    HookResult,
    HookTrigger,
    InboundMessage,
    MockAIProvider,
    RoomContext,
    RoomKit,
    TextContent,
    WebSocketChannel,
    text_of,
)
from roomkit.models.tool import ToolUse

LOOK_UP = AITool(
    name="look_up_order",
    description="Say where an order is.",
    parameters={"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
)


async def look_up_order(name: str, arguments: dict[str, object]) -> str:
    return "left on Monday"


def asks_for(order: str, then: str) -> list[AIResponse]:
    call = AIToolCall(id=f"call-{order}", name=LOOK_UP.name, arguments={"order": order})
    return [AIResponse(content="", tool_calls=[call]), AIResponse(content=then)]


async def main() -> None:
    model = MockAIProvider(
        ai_responses=[
            *asks_for("A-17", "Order A-17 left on Monday."),
            *asks_for("B-99", "I may not look that up."),
        ]
    )
    async with RoomKit() as kit:
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(AIChannel("agent", model, tools=[(LOOK_UP, look_up_order)]))

        @kit.hook(HookTrigger.BEFORE_TOOL_USE)
        async def own_orders_only(use: ToolUse, context: RoomContext) -> HookResult:
            # Decide by who is being answered (use.participant_id), never by what the model says.
            if use.participant_id == "alice" and str(use.arguments["order"]).startswith("A-"):
                print(f"ran {use.name} for {use.participant_id}: {dict(use.arguments)}")
                return HookResult.allow()
            print("refused: orders of other customers are not shown")
            return HookResult.block("orders of other customers are not shown")

        await kit.create_room("shop")
        await kit.attach_channel("shop", "web")
        await kit.attach_channel("shop", "agent")
        for text in ("Where is A-17?", "And where is B-99?"):
            message = InboundMessage(channel_id="web", sender_id="alice", content=TextContent(body=text))
            await kit.process_inbound(message, room_id="shop")
        for event in await kit.get_timeline("shop", as_channel="web"):
            if event.source.channel_id == "agent":
                print(f"agent: {text_of(event.content)}")


asyncio.run(main())
