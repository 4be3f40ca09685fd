"""The store's contract: rooms in memory, which other workers may have changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from roomkit.abc.errors import RoomNotFoundError, StaleRoomError
from roomkit.abc.store import Amend, ConversationStore, RoomRecord
from roomkit.models.content import TextContent
from roomkit.models.enums import EventStatus, EventType, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import binding, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, commit

__all__ = ["RecalledRoomContract"]

_RECENT = 5

type _Change = Callable[[ConversationStore, RoomEvent], Awaitable[object]]

_CHANGES: dict[str, _Change] = {
    "status": lambda store, said: commit(store, said.room_id, room_changes={"status": RoomStatus.CLOSED}),
    "metadata": lambda store, said: store.patch_room_metadata(said.room_id, {"tier": "gold"}),
    "binding": lambda store, said: store.add_binding(binding(said.room_id, "sms", muted=True)),
    "no binding": lambda store, said: commit(store, said.room_id, unbind=["sms"]),
    "person": lambda store, said: store.add_participant(
        Participant(id="ann", room_id=said.room_id, channel_id="sms")
    ),
}
_EDITS: dict[str, _Change] = {
    "edit": lambda store, said: commit(
        store, said.room_id, amend=Amend(said.id, TextContent(body="edited"), "ann")
    ),
    "deletion": lambda store, said: commit(store, said.room_id, amend=Amend(said.id, None, "ann")),
    "redaction": lambda store, said: commit(store, said.room_id, redact=[said.id]),
}


class RecalledRoomContract(StoreSuite):
    """A commit on a room from memory is right, or refused; after it, the room in memory is right too."""

    @pytest.mark.parametrize("added", [0, 1, 3, _RECENT, 2 * _RECENT])
    async def test_a_commit_brings_what_others_added_before_it(
        self, store: ConversationStore, other: ConversationStore, room: Room, added: int
    ) -> None:
        await _in_memory(store, room.id)
        for number in range(added):
            await commit(other, room.id, event(room.id, str(number), idempotency_key=f"key {number}"))
            await commit(other, room.id, event(room.id, type=EventType.SYSTEM))
            await commit(other, room.id, event(room.id, status=EventStatus.BLOCKED))
        record = await _recalled(store, room.id)
        await commit(store, room.id, event(room.id, "mine"), expected_version=record.version)
        await _check(store, other, room.id)
        await commit(store, room.id, event(room.id, "mine again"), expected_version=record.version)
        await _check(store, other, room.id)

    async def test_workers_in_turns_keep_the_room_in_memory(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        await _in_memory(store, room.id)
        await _in_memory(other, room.id)
        for number in range(12):
            for writer in (store, other):
                record = await _recalled(writer, room.id)
                await commit(writer, room.id, event(room.id, str(number)), expected_version=record.version)
                await _check(writer, other, room.id)

    @pytest.mark.parametrize("change", _CHANGES)
    async def test_a_commit_on_a_room_that_others_changed_is_refused(
        self, store: ConversationStore, other: ConversationStore, room: Room, change: str
    ) -> None:
        """It is made on the room as it is loaded then."""
        said = await _in_memory(store, room.id)
        version = (await _recalled(store, room.id)).version
        await _CHANGES[change](other, said)
        with pytest.raises(StaleRoomError):
            await commit(store, room.id, event(room.id, "mine"), expected_version=version)
        record = await store.load(room.id, recent=_RECENT)
        assert record is not None
        await commit(store, room.id, event(room.id, "mine"), expected_version=record.version)
        await _check(store, other, room.id)

    @pytest.mark.parametrize("change", _EDITS)
    async def test_no_commit_leaves_words_in_memory_that_others_changed(
        self, store: ConversationStore, other: ConversationStore, room: Room, change: str
    ) -> None:
        """It is refused, unless the room in memory has followed."""
        said = await _in_memory(store, room.id)
        version = (await _recalled(store, room.id)).version
        await _EDITS[change](other, said)
        try:
            await commit(store, room.id, event(room.id, "mine"), expected_version=version)
        except StaleRoomError:
            assert await store.load(room.id, recent=_RECENT) is not None
        await _check(store, other, room.id)

    @pytest.mark.parametrize("change", [*_CHANGES, *_EDITS])
    async def test_a_commit_that_expects_no_version_leaves_nothing_outdated(
        self, store: ConversationStore, other: ConversationStore, room: Room, change: str
    ) -> None:
        """A room in memory may stay behind then, but no commit that expects its version succeeds."""
        said = await _in_memory(store, room.id)
        await (_CHANGES | _EDITS)[change](other, said)
        await commit(store, room.id, event(room.id, "mine"))
        record = await _recalled(store, room.id)
        try:
            await commit(store, room.id, event(room.id, "mine again"), expected_version=record.version)
        except StaleRoomError:
            return
        await _check(store, other, room.id)

    async def test_a_room_that_others_deleted_takes_no_commit(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        await _in_memory(store, room.id)
        version = (await _recalled(store, room.id)).version
        await other.delete_room(room.id)
        with pytest.raises(RoomNotFoundError):
            await commit(store, room.id, event(room.id, "mine"), expected_version=version)
        assert await store.load(room.id, recent=_RECENT) is None
        assert store.recall(room.id, recent=_RECENT) is None


async def _in_memory(store: ConversationStore, room_id: str) -> RoomEvent:
    """Have a room read that has a channel and some messages; return its first."""
    if await store.get_binding(room_id, "sms") is None:
        await store.add_binding(binding(room_id, "sms"))
        await commit(store, room_id, *(event(room_id, f"before {number}") for number in range(3)))
    assert await store.load(room_id, recent=_RECENT) is not None
    return (await store.list_events(room_id, limit=1))[0]


async def _recalled(store: ConversationStore, room_id: str) -> RoomRecord:
    """Return a room from memory; from a store that keeps none there, as it is."""
    record = store.recall(room_id, recent=_RECENT) or await store.load(room_id, recent=_RECENT)
    assert record is not None
    return record


async def _check(store: ConversationStore, other: ConversationStore, room_id: str) -> None:
    """Check a room in memory against what another worker reads."""
    record = await _recalled(store, room_id)
    messages = [each for each in await other.list_events(room_id, limit=1000) if each.is_history]
    assert [each.index for each in record.recent(_RECENT)] == [each.index for each in messages[-_RECENT:]]
    assert list(record.recent(_RECENT)) == messages[-_RECENT:]
    assert record.room == await other.get_room(room_id)
    assert list(record.bindings.values()) == await other.list_bindings(room_id)
    assert list(record.participants.values()) == await other.list_participants(room_id)
