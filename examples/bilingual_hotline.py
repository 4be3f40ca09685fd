"""A bilingual hotline: callers text in their own language, and the desk reads along in English.

The language belongs to the room: an agent sets it, and the next one to have the conversation answers in it.
The interpreter is an agent as well; only the desk sees what it says.

Prints:
    +15145550101
      technician: Redémarrez la boîte, s'il vous plaît.
    +14165550102
      reception: Hello! What can I do for you?
    desk
      +15145550101: Ma connexion est en panne.
      interpreter: My connection is down.
      technician: Redémarrez la boîte, s'il vous plaît.
      interpreter: Please restart the box.
      +14165550102: Hello?
      reception: Hello! What can I do for you?
"""

import asyncio

from roomkit import (
    Agent,
    AIContext,
    AIResponse,
    AITool,
    AIToolCall,
    ConversationPipeline,
    InboundMessage,
    MockAIProvider,
    MockSMSProvider,
    PipelineStage,
    RoomEvent,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
    current_tool_call,
    text_of,
)

LUC, BOB = "+15145550101", "+14165550102"
TOOL = AITool(name="set_language", description="Set the caller's language.", parameters={"type": "object"})
ENGLISH = {"Ma connexion": "My connection is down.", "Redémarrez": "Please restart the box."}


def calls(name: str, **arguments: str) -> AIResponse:
    return AIResponse(content="", tool_calls=[AIToolCall(id=name, name=name, arguments=arguments)])


def reception(context: AIContext) -> str | AIResponse:
    if context.messages[-1].role == "tool":
        return calls("handoff_conversation", target="technician", reason="a fault", summary="It is down.")
    is_french = "Ma connexion" in str(context.messages[-1].content)
    return calls("set_language", language="French") if is_french else "Hello! What can I do for you?"


def technician(context: AIContext) -> str:
    is_french = "always respond in French" in str(context.system_prompt)
    return "Redémarrez la boîte, s'il vous plaît." if is_french else "Please restart the box."


def interpreter(context: AIContext) -> str:
    words = str(context.messages[-1].content)
    return next((english for french, english in ENGLISH.items() if french in words), "")


async def main() -> dict[str, list[str]]:
    carrier, desk = MockSMSProvider(), list[RoomEvent]()

    async def set_language(name: str, arguments: dict[str, str]) -> str:
        await handler.set_language(current_tool_call().room_id, arguments["language"])
        return "done"

    agents = [
        Agent("reception", MockAIProvider([reception]), language="English", tools=[(TOOL, set_language)]),
        Agent("technician", MockAIProvider([technician]), language="English"),
        Agent("interpreter", MockAIProvider([interpreter])),
    ]
    async with RoomKit() as kit:
        sms = SMSChannel("sms", provider=carrier)
        for channel in (WebSocketChannel("desk"), sms, *agents):
            kit.register_channel(channel)
        stages = [PipelineStage("intake", "reception", next="repair"), PipelineStage("repair", "technician")]
        _, handler = ConversationPipeline(stages, supervisor_id="interpreter").install(kit, agents)

        async def send(connection_id: str, event: RoomEvent) -> None:
            desk.append(event)

        for number, text in ((LUC, "Ma connexion est en panne."), (BOB, "Hello?")):
            await kit.create_room(number)
            await kit.attach_channel(number, "sms", metadata={"phone_number": number})
            await kit.attach_channel(number, "interpreter", visibility="desk")
            for name in ("desk", "reception", "technician"):
                await kit.attach_channel(number, name)
            await kit.connect_websocket("desk", number, send, room_id=number, participant_id="olga")
            said = InboundMessage(channel_id="sms", sender_id=number, content=TextContent(body=text))
            await kit.process_inbound(said)
    heard = {
        number: [each["event"] for each in carrier.sent if each["to"] == number] for number in (LUC, BOB)
    }
    return {who: [shown(event) for event in events] for who, events in {**heard, "desk": desk}.items()}


def shown(event: RoomEvent) -> str:
    return f"{event.source.participant_id or event.source.channel_id}: {text_of(event.content)}"


if __name__ == "__main__":
    for who, lines in asyncio.run(main()).items():
        print("\n  ".join([who, *lines]))
