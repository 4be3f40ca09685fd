"""A reviewer loop: an author drafts, a reviewer reads, and people get what the reviewer let pass.

The news goes to phones as one text message, so the reviewer sends back what would be longer.

Prints:
    office
      author: The museum is closed on Monday. Tickets stay valid.
    phone
      author: The museum is closed on Monday. Tickets stay valid.
    before that
      author: Dear visitors, we are very sorry to have to tell you [...]
      reviewer: 177 characters: 160 fit into one text message. Shorten it.
      author: The museum is closed on Monday. Tickets stay valid.
      reviewer: APPROVED
"""

import asyncio
from textwrap import shorten

from roomkit import (
    Agent,
    AIContext,
    MockAIProvider,
    MockSMSProvider,
    ReviewLoop,
    RoomEvent,
    RoomKit,
    SMSChannel,
    TextContent,
    WebSocketChannel,
    text_of,
)

LONG = (
    "Dear visitors, we are very sorry to have to tell you that our museum will have to stay closed for the "
    "whole of next Monday. Tickets that you have bought for that day stay valid."
)
SHORT = "The museum is closed on Monday. Tickets stay valid."


def review(context: AIContext) -> str:
    draft = str(context.messages[-1].content).removeprefix("author: ")
    if len(draft) > 160:
        return f"{len(draft)} characters: 160 fit into one text message. Shorten it."
    return "APPROVED"


async def main() -> dict[str, list[str]]:
    carrier, office = MockSMSProvider(), list[RoomEvent]()
    agents = [Agent("author", MockAIProvider([LONG, SHORT])), Agent("reviewer", MockAIProvider([review]))]

    async def send(connection_id: str, event: RoomEvent) -> None:
        office.append(event)

    async with RoomKit() as kit:
        sms = SMSChannel("sms", provider=carrier)
        for channel in (WebSocketChannel("office"), sms, *agents):
            kit.register_channel(channel)
        ReviewLoop("author", "reviewer", max_rounds=3).install(kit, agents)
        await kit.create_room("news")
        await kit.attach_channel("news", "sms", metadata={"phone_number": "+14165550101"})
        for name in ("office", "author", "reviewer"):
            await kit.attach_channel("news", name)
        await kit.connect_websocket("office", "desk", send, room_id="news", participant_id="olga")
        order = TextContent(body="Tell visitors that we are closed on Monday.")
        await kit.send_event("news", "office", order, participant_id="olga", visibility="office,author")
        drafts = [
            event for event in await kit.get_timeline("news") if event.visibility in ("author", "reviewer")
        ]
    phone = [each["event"] for each in carrier.sent]
    return {"office": lines_of(office), "phone": lines_of(phone), "before that": lines_of(drafts)}


def lines_of(events: list[RoomEvent]) -> list[str]:
    return [f"{event.source.channel_id}: {shorten(text_of(event.content), 60)}" for event in events]


if __name__ == "__main__":
    for who, lines in asyncio.run(main()).items():
        print("\n  ".join([who, *lines]))
