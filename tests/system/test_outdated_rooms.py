"""A worker that has a room in memory decides about a message as one that has just read the room."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, override

import pytest

from roomkit import RoomKit
from roomkit.models.content import TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import Access
from roomkit.models.event import RoomEvent
from roomkit_plugins.testing import RecordingChannel
from tests.system.workers import in_memory, on_postgres, on_sqlite

type MakeKit = Callable[[], RoomKit]


class Parser(RecordingChannel):
    """A channel that says in each event what it was shown of the room when it made it."""

    @override
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        event = await super().handle_inbound(message, context)
        shown = [each.metadata.get("tier") for each in context.bindings if each.channel_id == "sms"]
        return event.replace(metadata={"shown": shown})


CHANGES: dict[str, Callable[[RoomKit, str], Awaitable[object]]] = {
    "nothing": lambda kit, room: kit.get_room(room),
    "more messages": lambda kit, room: say(kit, "theirs", room),
    "closed": lambda kit, room: kit.close_room(room),
    "archived": lambda kit, room: kit.archive_room(room),
    "deleted": lambda kit, room: kit.delete_room(room),
    "muted": lambda kit, room: kit.mute(room, "sms"),
    "read only": lambda kit, room: kit.set_access(room, "sms", Access.READ_ONLY),
    "detached": lambda kit, room: kit.detach_channel(room, "sms"),
    "a recipient less": lambda kit, room: kit.detach_channel(room, "web"),
    "banned": lambda kit, room: kit.remove_participant(room, room, banned=True),
    "removed": lambda kit, room: kit.remove_participant(room, room),
    "another tier": lambda kit, room: kit.update_binding_metadata(room, "sms", {"tier": "gold"}),
}
"""What another worker does; each room's sender is called as the room is."""


@pytest.fixture(params=[in_memory, on_sqlite, on_postgres], ids=["memory", "sqlite", "postgres"])
def make_kit(request: pytest.FixtureRequest, tmp_path: Path) -> MakeKit:
    made: MakeKit = request.param(tmp_path, lambda: request.getfixturevalue("postgres_dsn"))
    return made


async def enter(stack: AsyncExitStack, make_kit: MakeKit) -> RoomKit:
    kit = make_kit()
    kit.register_channel(Parser("sms"))
    kit.register_channel(RecordingChannel("web"))
    return await stack.enter_async_context(kit)


async def say(
    kit: RoomKit, text: str, sender: str, *, key: str | None = None, is_routed: bool = False
) -> InboundResult:
    content = TextContent(body=text)
    message = InboundMessage(channel_id="sms", sender_id=sender, content=content, idempotency_key=key)
    return await kit.process_inbound(message, room_id=None if is_routed else sender)


async def furnished(kit: RoomKit, room: str) -> None:
    await kit.create_room(room)
    await kit.attach_channel(room, "sms")
    await kit.attach_channel(room, "web")
    for number in range(3):
        await say(kit, str(number), room)
    await recorded(kit)


async def recorded(kit: RoomKit) -> None:
    """Have a worker's outcomes written, so that no lane looks busy to another one."""
    await kit.list_deliveries()


async def outcome(kit: RoomKit, room: str, *, is_routed: bool) -> tuple[Any, ...]:
    """Return all that a message leads to, as far as it does not differ from room to room."""
    result = await say(kit, "mine", room, is_routed=is_routed)
    event = result.event
    if event is None:
        return result.blocked, result.reason
    seen = event.status, event.blocked_by, event.index, event.source.participant_id == room, event.metadata
    texts = [text_of(each.content) for each in await kit.get_timeline(event.room_id)]
    timeline = [text.replace(room, "room") for text in texts]
    sent = {row.channel_id: row.state for row in await kit.list_deliveries(event_id=event.id)}
    return result.blocked, result.reason, event.room_id == room, seen, sent, timeline


@pytest.mark.parametrize("is_routed", [False, True], ids=["named", "routed"])
async def test_a_room_in_memory_is_no_other_than_the_stored_one(make_kit: MakeKit, is_routed: bool) -> None:
    """Whatever another worker did to it since."""
    async with AsyncExitStack() as stack:
        worker, other, fresh = [await enter(stack, make_kit) for _ in range(3)]
        for change, make in CHANGES.items():
            found: list[tuple[Any, ...]] = []  # bound: two
            for asked in (worker, fresh):
                room = f"{change} {len(found)}"
                await furnished(worker, room)
                await make(other, room)
                await recorded(other)
                found.append(await outcome(asked, room, is_routed=is_routed))
            assert found[0] == found[1], change


async def test_a_message_that_another_worker_took_is_a_duplicate(make_kit: MakeKit) -> None:
    async with AsyncExitStack() as stack:
        worker, other = await enter(stack, make_kit), await enter(stack, make_kit)
        await furnished(worker, "room")
        first = await say(other, "mine", "room", key="k1")
        again = await say(worker, "mine", "room", key="k1")
        assert (again.duplicate, again.event) == (True, first.event)
        await other.close_room("room")
        again = await say(worker, "mine", "room", key="k1")
        assert (again.duplicate, again.event) == (True, first.event)


async def test_what_follows_a_commit_sees_what_others_said_before(make_kit: MakeKit) -> None:
    """A delivery's context shows the newest messages, of every worker."""
    async with AsyncExitStack() as stack:
        worker, other = await enter(stack, make_kit), await enter(stack, make_kit)
        await furnished(worker, "room")
        await say(other, "theirs", "room")
        await recorded(other)
        await say(worker, "mine", "room")
        web = worker.channels["web"]
        assert isinstance(web, RecordingChannel)
        seen = next(each for each in web.delivered if text_of(each.event.content) == "mine")
        assert [text_of(each.content) for each in seen.context.recent_events][-2:] == ["theirs", "mine"]
