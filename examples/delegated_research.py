"""Research with delegated workers: one agent talks to people, and gives the digging to others.

Each task is done in a room of its own, at the same time as the other. People see what the lead says.

Prints:
    browser
      +14165550101: Which bike fits in a train?
      lead: Two colleagues look into it; this takes a minute.
      lead: Take the folding bike: 900 EUR, and 4.6 of 5 stars.
    phone
      lead: Two colleagues look into it; this takes a minute.
      lead: Take the folding bike: 900 EUR, and 4.6 of 5 stars.
    tasks
      prices, completed: 900 EUR at two shops.
      reviews, completed: 4.6 of 5 stars, of 210 buyers.
"""

import asyncio

from roomkit import (
    Agent,
    AIContext,
    AIResponse,
    AIToolCall,
    InboundMessage,
    MockAIProvider,
    MockSMSProvider,
    RoomEvent,
    RoomKit,
    SMSChannel,
    Supervision,
    TextContent,
    WebSocketChannel,
    text_of,
)

WORKERS = {"prices": "Knows what things cost.", "reviews": "Reads what buyers say."}


def lead(context: AIContext) -> AIResponse:
    said = str(context.messages)
    results = said.count("has this result")
    if context.messages[-1].role == "tool":
        return AIResponse(content="Two colleagues look into it; this takes a minute.")
    if not results:
        tasks = [{"agent": worker, "task": "Which folding bike?"} for worker in WORKERS]
        calls = [AIToolCall(id=task["agent"], name="delegate_task", arguments=task) for task in tasks]
        return AIResponse(content="", tool_calls=calls)
    if results < len(WORKERS):
        return AIResponse(content="")  # the other one is still at work
    return AIResponse(content="Take the folding bike: 900 EUR, and 4.6 of 5 stars.")


async def main() -> dict[str, list[str]]:
    carrier, browser, answered = MockSMSProvider(), list[RoomEvent](), asyncio.Event()
    agents = [
        Agent("lead", MockAIProvider([lead])),
        Agent("prices", MockAIProvider(["900 EUR at two shops."])),
        Agent("reviews", MockAIProvider(["4.6 of 5 stars, of 210 buyers."])),
    ]

    async def send(connection_id: str, event: RoomEvent) -> None:
        browser.append(event)
        if len(browser) == 3:
            answered.set()

    async with RoomKit() as kit:
        sms = SMSChannel("sms", provider=carrier)
        for channel in (WebSocketChannel("web"), sms, *agents):
            kit.register_channel(channel)
        Supervision("lead", WORKERS).install(kit, agents)
        await kit.create_room("bike")
        await kit.attach_channel("bike", "sms", metadata={"phone_number": "+14165550101"})
        for name in ("web", "lead"):
            await kit.attach_channel("bike", name)
        await kit.connect_websocket("web", "tab", send, room_id="bike", participant_id="ann")
        question = InboundMessage(
            channel_id="sms",
            sender_id="+14165550101",
            content=TextContent(body="Which bike fits in a train?"),
        )
        await kit.process_inbound(question)
        await answered.wait()
        tasks = sorted(await kit.list_tasks("bike"), key=lambda task: str(task.assigned_to))
        done = [f"{task.assigned_to}, {task.status}: {task.metadata['output']}" for task in tasks]
    phone = [each["event"] for each in carrier.sent]
    return {"browser": lines_of(browser), "phone": lines_of(phone), "tasks": done}


def lines_of(events: list[RoomEvent]) -> list[str]:
    return [
        f"{each.source.participant_id or each.source.channel_id}: {text_of(each.content)}" for each in events
    ]


if __name__ == "__main__":
    for who, lines in asyncio.run(main()).items():
        print("\n  ".join([who, *lines]))
