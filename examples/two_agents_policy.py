"""Two agents in one room: when one of them answers the other, and when it does not.

Prints:
    agent_chain
      alice: Is the invoice paid?
      billing: It is, since Monday.
      support: Then I close the ticket.
    addressed_only
      alice: Is the invoice paid?
      billing: It is, since Monday.
"""

import asyncio
from collections.abc import Callable

from roomkit import (
    AIChannel,
    AIContext,
    InboundMessage,
    MockAIProvider,
    RoomKit,
    TextContent,
    WebSocketChannel,
    text_of,
)
from roomkit.models.enums import AgentResponsePolicy


def scripted(answers: dict[str, str]) -> MockAIProvider:
    """A model that answers what it knows, and has nothing to say to the rest."""

    def answer(context: AIContext) -> str:
        said = str(context.messages[-1].content)
        return next((reply for cue, reply in answers.items() if cue in said), "")

    responses: list[Callable[[AIContext], str]] = [answer]
    return MockAIProvider(responses=responses)


async def main(policy: AgentResponsePolicy) -> None:
    async with RoomKit(agent_response_policy=policy, max_chain_depth=5) as kit:
        kit.register_channel(WebSocketChannel("web"))
        kit.register_channel(AIChannel("billing", scripted({"paid?": "It is, since Monday."})))
        kit.register_channel(AIChannel("support", scripted({"since": "Then I close the ticket."})))
        await kit.create_room("ticket")
        for channel_id in ("web", "support", "billing"):  # asked in this order
            await kit.attach_channel("ticket", channel_id)

        question = InboundMessage(
            channel_id="web", sender_id="alice", content=TextContent(body="Is the invoice paid?")
        )
        await kit.process_inbound(question, room_id="ticket")

        print(policy)
        for event in await kit.get_timeline("ticket", as_channel="web"):
            print(f"  {event.source.participant_id or event.source.channel_id}: {text_of(event.content)}")


# agent_chain: every agent may answer every other, up to max_chain_depth.
# addressed_only: an agent answers another only when it is named in `addressed_to`.
for policy in (AgentResponsePolicy.AGENT_CHAIN, AgentResponsePolicy.ADDRESSED_ONLY):
    asyncio.run(main(policy))
