"""Approval by text message: a tool asks a manager by SMS, and her reply, whenever it comes, lets it run.

Until then the turn waits in the store, and holds no task. Another phone that sends the code approves nothing.

Prints:
    browser
      shop: I have to ask my manager.
      shop: 40 EUR are on their way.
    paid back
      40 EUR to ann, approved by +14165550199
    +14165550199
      Refund 40 EUR to ann? Reply "K7 yes" or "K7 no".
"""

import asyncio
from collections import defaultdict
from datetime import timedelta

from roomkit import (
    Agent,
    AIContext,
    AIResponse,
    AITool,
    AIToolCall,
    HookExecution,
    HookTrigger,
    InboundMessage,
    MockAIProvider,
    MockSMSProvider,
    Park,
    RoomContext,
    RoomEvent,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
    text_of,
)

MANAGER, STRANGER = "+14165550199", "+14165550666"
REFUND = AITool(name="refund", description="Pay money back.", parameters={"type": "object"})


def model(context: AIContext) -> AIResponse:
    last = context.messages[-1]
    if last.role != "tool":
        call = AIToolCall(id="r", name="refund", arguments={"amount": 40})
        return AIResponse(content="I have to ask my manager.", tool_calls=[call])
    return AIResponse(content="40 EUR are on their way." if "paid" in str(last.content) else "I may not.")


async def main() -> dict[str, list[str]]:
    seen, answered, carrier = defaultdict[str, list[str]](list), asyncio.Event(), MockSMSProvider()

    async def refund(name: str, arguments: dict[str, int]) -> Park:
        question = f'Refund {arguments["amount"]} EUR to ann? Reply "K7 yes" or "K7 no".'
        request = await kit.send_event("approvals", "system", TextContent(body=question))
        return Park("a manager decides", timedelta(days=2), asked=MANAGER, request=request.id, code="K7")

    async def decide(event: RoomEvent, context: RoomContext) -> None:
        for turn, call in await kit.services.turns.asked(event):  # none unless the manager sent it
            result = "refused"
            if "yes" in text_of(event.content).split():
                result = f"{call.arguments['amount']} EUR to {turn.room_id}, approved by {call.asked}"
                seen["paid back"].append(result)
            await kit.services.turns.resume(turn.room_id, turn.turn_id, {call.call_id: f"paid: {result}"})

    async def send(connection_id: str, event: RoomEvent) -> None:
        seen["browser"].append(f"{event.source.channel_id}: {text_of(event.content)}")
        if len(seen["browser"]) == 2:
            answered.set()

    async def text(number: str, words: str) -> None:
        said = InboundMessage(channel_id="sms", sender_id=number, content=TextContent(body=words))
        await kit.process_inbound(said)

    async with RoomKit() as kit:
        kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)(decide)
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(SMSChannel("sms", provider=carrier))
        kit.register_channel(Agent("shop", MockAIProvider([model]), tools=[(REFUND, refund)]))
        await kit.create_room("ann")
        await kit.attach_channel("ann", "web")
        await kit.attach_channel("ann", "shop")
        await kit.create_room("approvals")
        await kit.attach_channel("approvals", "sms", metadata={"phone_number": MANAGER})
        await kit.connect_websocket("web", "tab", send, room_id="ann", participant_id="ann")
        asked = InboundMessage(
            channel_id="web", sender_id="ann", connection_id="tab", content=TextContent(body="My lamp broke.")
        )
        await kit.process_inbound(asked, room_id="ann")
        await text(STRANGER, "K7 yes")
        await text(MANAGER, "K7 yes")
        await answered.wait()
    seen[MANAGER] = carrier.texts
    return seen


if __name__ == "__main__":
    for who, lines in asyncio.run(main()).items():
        print("\n  ".join([who, *lines]))
