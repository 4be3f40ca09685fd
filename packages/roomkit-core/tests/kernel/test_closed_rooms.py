"""What a closed room still takes: every operation of the kit on a room, by name."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roomkit.abc.errors import RoomClosedError
from roomkit.kernel.kit import RoomKit
from roomkit.models import Access, Identity, InboundMessage, RoomTimers, TextContent
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time

type Operation = Callable[[RoomKit, str], Awaitable[object]]
"""`(kit, event_id)`: something done to the room "r1", which has that message by "ann"."""

NEW = TextContent(body="more")
READS = {
    "get_room",
    "get_timeline",
    "list_tasks",
    "list_observations",
    "get_binding",
    "list_bindings",
    "list_participants",
    "list_deliveries",
    "get_unread_count",
    "export_room",
    "export_room_archive",
    "export_room_lines",
    "list_parked_turns",
    "list_scheduled",
    "subscribe_room",
}
"""They write nothing."""
SIGNALS = {
    "publish_typing",
    "publish_presence",
    "publish_read_receipt",
    "publish_reaction",
    "publish_tool_call",
}
"""They are the program's own, and stored nowhere."""
LATER = {"edit_scheduled", "cancel_scheduled", "resume_turn", "cancel_turn"}
"""The room is looked at when they take effect: what it refuses then is dropped, and reported."""
HOOKS = {"add_room_hook", "remove_room_hook"}
"""Functions of this process, which the store does not know."""
REFUSED: dict[str, Operation] = {
    "update_room_metadata": lambda kit, _: kit.update_room_metadata("r1", {"a": 1}),
    "set_room_timers": lambda kit, _: kit.set_room_timers("r1", RoomTimers(closed_after_seconds=1)),
    "attach_channel": lambda kit, _: kit.attach_channel("r1", "new"),
    "detach_channel": lambda kit, _: kit.detach_channel("r1", "bob"),
    "mute": lambda kit, _: kit.mute("r1", "bob"),
    "unmute": lambda kit, _: kit.unmute("r1", "bob"),
    "take_over": lambda kit, _: kit.take_over("r1"),
    "give_back": lambda kit, _: kit.give_back("r1"),
    "set_access": lambda kit, _: kit.set_access("r1", "bob", Access.READ_ONLY),
    "set_visibility": lambda kit, _: kit.set_visibility("r1", "bob", "none"),
    "update_binding_metadata": lambda kit, _: kit.update_binding_metadata("r1", "bob", {"a": 1}),
    "ensure_participant": lambda kit, _: kit.ensure_participant("r1", "bob", "new"),
    "resolve_participant": lambda kit, _: kit.resolve_participant("r1", "ann", "ann"),
    "send_event": lambda kit, _: kit.send_event("r1", "bob", NEW),
    "edit_event": lambda kit, event_id: kit.edit_event("r1", event_id, NEW),
    "delete_event": lambda kit, event_id: kit.delete_event("r1", event_id),
    "change_state": lambda kit, _: kit.change_state("r1", "app", lambda state: {"a": 1}),
    "process_inbound": lambda kit, _: _sent(kit),
}
ALLOWED: dict[str, Operation] = {
    "close_room": lambda kit, _: kit.close_room("r1"),
    "archive_room": lambda kit, _: kit.archive_room("r1"),
    "delete_room": lambda kit, _: kit.delete_room("r1"),
    "erase_room": lambda kit, _: kit.erase_room("r1"),
    "set_retention": lambda kit, _: kit.set_retention("r1", 3600),
    "check_room_timers": lambda kit, _: kit.check_room_timers("r1"),
    "remove_participant": lambda kit, _: kit.remove_participant("r1", "ann", banned=True),
    "mark_read": lambda kit, event_id: kit.mark_read("r1", "bob", event_id),
    "mark_all_read": lambda kit, _: kit.mark_all_read("r1", "bob"),
    "connect_websocket": lambda kit, _: _returned(kit),
}
"""Those that belong to a room's end or to reading it; their docstrings say so."""


async def _sent(kit: RoomKit) -> object:
    message = InboundMessage(channel_id="bob", sender_id="bob", content=NEW)
    result = await kit.process_inbound(message, room_id="r1")
    if result.reason == "room_closed":
        raise RoomClosedError(result.reason)
    return result


class Sockets(RecordingChannel):
    """A channel of connections."""

    def register_connection(self, connection_id: str, send_fn: Any, **options: Any) -> None: ...

    def unregister_connection(self, connection_id: str) -> bool:
        return True


async def _returned(kit: RoomKit) -> None:
    """A removed participant connects again."""

    async def send(connection_id: str, event: object) -> None: ...

    await kit.remove_participant("r1", "ann")
    await kit.connect_websocket("ws", "c", send, room_id="r1", participant_id="ann")
    people = await kit.list_participants("r1")
    assert [str(person.status) for person in people if person.id == "ann"] == ["active"]


def operations() -> set[str]:
    """Every method of the kit that takes the id of a room that is there."""
    methods = inspect.getmembers(RoomKit, inspect.isfunction)
    told = {name for name, method in methods if "room_id" in inspect.signature(method).parameters}
    return {name for name in told if not name.startswith("_")} - {"create_room"}


@pytest.fixture
async def event_id(stage: Any) -> str:
    """A closed room with two channels, an agent, and a message; return the message's id."""
    for name in ("alice", "bob"):
        await stage.socket(name)
    stage.kit.register_channel(RecordingChannel("new"))
    await stage.agent("bot")
    await stage.agent("silent", muted=True)
    stage.kit.register_channel(Sockets("ws"))
    await stage.kit.store.create_identity(Identity(id="ann"))
    await stage.say(by="ann")
    event = (await stage.timeline())[0]
    await stage.kit.close_room("r1")
    return str(event.id)


def test_every_operation_on_a_room_is_decided() -> None:
    """A new one is refused, or says why not."""
    assert operations() == READS | SIGNALS | LATER | HOOKS | REFUSED.keys() | ALLOWED.keys()


async def state(kit: RoomKit) -> str:
    """Everything that is stored of the room, but when it was exported."""
    export = await kit.export_room("r1")
    return export.model_dump_json(exclude={"exported_at"})


@pytest.mark.parametrize("name", REFUSED)
async def test_a_closed_room_is_not_written_to(stage: Any, event_id: str, name: str) -> None:
    """The refusal names the room; nothing is stored."""
    before = await state(stage.kit)
    with pytest.raises(RoomClosedError, match=r"^room_closed$|room 'r1' is closed"):
        await REFUSED[name](stage.kit, event_id)
    await stage.idle()
    assert await state(stage.kit) == before


@pytest.mark.parametrize("name", ALLOWED)
async def test_what_a_closed_room_still_takes_adds_no_message_and_says_why(
    stage: Any, event_id: str, name: str
) -> None:
    """In its docstring; only archiving is noted, since it ends the room once more."""
    before = await stage.kit.get_timeline("r1")
    await ALLOWED[name](stage.kit, event_id)
    await stage.idle()
    if await stage.kit.store.get_room("r1") is not None:
        after = await stage.kit.get_timeline("r1")
        assert after[: len(before)] == before
        assert [event.content.code for event in after[len(before) :]] == (
            ["room_archived"] if name == "archive_room" else []
        )
    assert "close" in (inspect.getdoc(getattr(RoomKit, name)) or "").lower()


async def test_a_refusal_of_a_message_has_a_reason(stage: Any, event_id: str) -> None:
    message = InboundMessage(channel_id="bob", sender_id="bob", content=NEW)
    result = await stage.kit.process_inbound(message, room_id="r1")
    assert (result.blocked, result.reason, result.event) == (True, "room_closed", None)


async def test_a_known_participant_of_a_closed_room_is_returned(stage: Any, event_id: str) -> None:
    """Nothing is to be written for that."""
    known = {person.id: person for person in await stage.kit.list_participants("r1")}["ann"]
    assert await stage.kit.ensure_participant("r1", known.channel_id, "ann") == known
