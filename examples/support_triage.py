"""Support triage: two agents share a conversation, and the person does not notice which of them answers.

Ann writes from her browser, and reads the answers on her phone, too. Only the program sees the handoffs.

Prints:
    triage -> billing: Invoice 7 was paid twice.
    billing -> triage: The refund is done.
    triage -> billing: refused
    browser
      billing: The second payment, 30 EUR, goes back today.
      triage: We do, until noon.
    phone
      ann: I paid invoice 7 twice.
      billing: The second payment, 30 EUR, goes back today.
      ann: Thanks! Do you deliver on Saturdays?
      triage: We do, until noon.
"""

import asyncio

from roomkit import (
    Agent,
    AIResponse,
    AIToolCall,
    ConversationPipeline,
    Handoff,
    HandoffMemoryProvider,
    HookExecution,
    HookTrigger,
    InboundMessage,
    MockAIProvider,
    MockSMSProvider,
    PipelineStage,
    RoomContext,
    RoomEvent,
    RoomKit,
    SlidingWindowMemory,
    SMSChannel,
    TextContent,
    WebSocketChannel,
    text_of,
)


def hands_to(target: str, summary: str) -> AIResponse:
    arguments = {"target": target, "reason": "their question", "summary": summary}
    call = AIToolCall(id=f"to-{target}", name="handoff_conversation", arguments=arguments)
    return AIResponse(content="", tool_calls=[call])


def agent(name: str, answers: list[str | AIResponse], description: str) -> Agent:
    memory = HandoffMemoryProvider(SlidingWindowMemory())
    return Agent(name, MockAIProvider(answers), description=description, memory=memory)


async def main() -> dict[str, list[str]]:
    back = hands_to("billing", "She may ask for more money.")
    triage = [hands_to("billing", "Invoice 7 was paid twice."), back, "We do, until noon."]
    billing = ["The second payment, 30 EUR, goes back today.", hands_to("triage", "The refund is done.")]
    agents = [
        agent("triage", triage, "Everything that is not about money."),
        agent("billing", billing, "Invoices and payments."),
    ]
    carrier, browser = MockSMSProvider(), list[RoomEvent]()
    async with RoomKit() as kit:
        sms = SMSChannel("sms", provider=carrier)
        for channel in (WebSocketChannel("web"), sms, *agents):
            kit.register_channel(channel)
        stages = [
            PipelineStage("intake", "triage", next="payments"),
            PipelineStage("payments", "billing", can_return_to={"intake"}),
        ]
        ConversationPipeline(stages).install(kit, agents)

        @kit.hook(HookTrigger.ON_HANDOFF, HookExecution.ASYNC)
        @kit.hook(HookTrigger.ON_HANDOFF_REJECTED, HookExecution.ASYNC)
        async def watch(handoff: Handoff, context: RoomContext) -> None:
            asked, accepted = handoff.request, handoff.result.accepted
            outcome = asked.summary if accepted else "refused"
            print(f"{handoff.calling_agent_id} -> {asked.target_agent_id}: {outcome}")

        await kit.create_room("ann")
        await kit.attach_channel("ann", "sms", metadata={"phone_number": "+14165550101"})
        for name in ("web", "triage", "billing"):
            await kit.attach_channel("ann", name)

        async def send(connection_id: str, event: RoomEvent) -> None:
            browser.append(event)

        await kit.connect_websocket("web", "tab", send, room_id="ann", participant_id="ann")
        for text in ("I paid invoice 7 twice.", "Thanks! Do you deliver on Saturdays?"):
            said = InboundMessage(
                channel_id="web", sender_id="ann", connection_id="tab", content=TextContent(body=text)
            )
            await kit.process_inbound(said, room_id="ann")
    events = {"browser": browser, "phone": [each["event"] for each in carrier.sent]}
    return {where: [shown(event) for event in seen] for where, seen in events.items()}


def shown(event: RoomEvent) -> str:
    return f"{event.source.participant_id or event.source.channel_id}: {text_of(event.content)}"


if __name__ == "__main__":
    for where, lines in asyncio.run(main()).items():
        print("\n  ".join([where, *lines]))
