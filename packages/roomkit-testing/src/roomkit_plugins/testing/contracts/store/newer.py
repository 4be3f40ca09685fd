"""The store's contract: what a newer version wrote is read, changed and written back whole."""

from __future__ import annotations

import re

import pytest

from roomkit.abc.store import Amend, Commit, ConversationStore, Entry
from roomkit.models.base import EMPTY, Record, new_id
from roomkit.models.channel import ChannelCapabilities, RateLimit, RetryPolicy
from roomkit.models.content import CompositeContent, EventContent, TextContent, UnknownContent, text_of
from roomkit.models.delivery import DeliveryError
from roomkit.models.enums import DeliveryState, EventType, ReceiptState
from roomkit.models.event import Amendment, ChannelData, EventSource, Generation, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import AIConfig, Room, RoomTimers
from roomkit.models.task import Observation, Task
from roomkit.models.timer import Timer
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.newer import NEWS, POLL, newer, news_of
from roomkit_plugins.testing.contracts.store.base import (
    StoreSuite,
    commit,
    complete_one,
    pending,
    reported,
    row_of,
)

__all__ = ["NewerVersionContract"]

_CONTENTS: dict[str, EventContent] = {
    "known": TextContent(body="hello"),
    "unknown": UnknownContent.of(POLL),
    "nested": CompositeContent(parts=(TextContent(body="vote:"), UnknownContent.of(POLL))),
}


class NewerVersionContract(StoreSuite):
    """Unknown fields at every level, unknown words and contents: kept by reading, changing and writing.

    A worker of an older version shares the store with newer ones while a system is being upgraded.
    """

    @pytest.mark.parametrize("content", _CONTENTS.values(), ids=_CONTENTS)
    async def test_an_event_of_a_newer_version_is_read_and_amended(
        self, store: ConversationStore, other: ConversationStore, room: Room, content: EventContent
    ) -> None:
        """By every way of reading; a content that is replaced is kept as it came, too."""
        given = newer(_event(room.id, content), type="poll_opened")
        (stored,) = await commit(store, room.id, given)
        assert stored == given.replace(index=0, status=stored.status, created_at=NOW)
        for reader in (store, other):
            assert await reader.get_event(stored.id) == stored
            assert await reader.list_events(room.id) == [stored]
            assert await reader.find_event_by_key(room.id, "key") == stored
        assert stored.type == EventType("poll_opened")
        assert _levels(stored) == _levels(given)
        await commit(other, room.id, amend=Amend(stored.id, TextContent(body="edited"), "alice"))
        after = await store.get_event(stored.id)
        assert after is not None
        former = "amendment.former_contents.1"
        assert _levels(after) == {re.sub("^content", former, level) for level in _levels(given)}
        assert after.amendment is not None
        assert after.amendment.former_contents[-1] == stored.content

    async def test_an_unknown_content_is_kept_whole(self, store: ConversationStore, room: Room) -> None:
        """And has words, so that a reader sees that there is something."""
        (stored,) = await commit(store, room.id, event(room.id, content=UnknownContent.of(POLL)))
        read = await store.get_event(stored.id)
        assert read is not None
        assert isinstance(read.content, UnknownContent)
        assert (read.content.original, read.content.kind) == (POLL, "poll")
        assert "poll" in text_of(read.content)

    async def test_a_redacted_event_keeps_nothing_unknown(self, store: ConversationStore, room: Room) -> None:
        """What an unknown field says is not known, so it may be about a person."""
        (stored,) = await commit(store, room.id, newer(_event(room.id, UnknownContent.of(POLL))))
        await commit(store, room.id, redact=[stored.id])
        after = await store.get_event(stored.id)
        assert after is not None
        assert after.is_erased
        assert _levels(after) <= {"generation"}
        assert not await self.find_traces(store, "a secret ballot")

    async def test_a_room_of_a_newer_version_is_read_and_changed(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """Its status is none that is open, for a version that does not know it."""
        given = newer(
            Room(
                timers=RoomTimers(closed_after_seconds=60),
                ai_config=AIConfig(system_prompt="be kind", max_tokens=7),
                metadata={"topic": "cheese"},
            ),
            status="hibernating",
        )
        created = await store.create_room(given)
        assert created == given
        assert await other.get_room(given.id) == given
        assert not created.status.is_open
        assert created.status.value == "hibernating"
        changed = await other.patch_room_metadata(given.id, {"topic": "bread"})
        assert _levels(changed) == _levels(given)
        updated = await store.update_room(changed.replace(retention_seconds=3600.0))
        read = await other.get_room(given.id)
        assert read == updated
        assert read is not None
        assert _levels(read) == _levels(given) == {"", "timers", "ai_config"}
        assert (read.status.value, read.retention_seconds) == ("hibernating", 3600.0)

    async def test_a_binding_of_a_newer_version_is_read_and_changed(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Rights that are not known are none."""
        given = newer(
            binding(
                room.id,
                capabilities=ChannelCapabilities(max_length=160),
                rate_limit=RateLimit(max_per_second=1),
                retry_policy=RetryPolicy(max_retries=1),
            ),
            access="read_sometimes",
            channel_type="slack",
        )
        assert await store.add_binding(given) == given
        assert await other.get_binding(room.id, given.channel_id) == given
        await other.update_binding(given.replace(muted=True))
        record = await store.load(room.id)
        assert record is not None
        read = record.bindings[given.channel_id]
        assert _levels(read) == _levels(given) == {"", "capabilities", "rate_limit", "retry_policy"}
        assert (read.access.value, read.channel_type.value) == ("read_sometimes", "slack")
        assert not read.can_read
        assert not read.can_write

    async def test_a_participant_of_a_newer_version_is_read_and_changed(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Its role and status are written back as they came."""
        given = newer(
            Participant(id="ann", room_id=room.id, channel_id="sms", metadata={"vip": True}),
            role="moderator",
            status="away",
        )
        assert await store.add_participant(given) == given
        changed = await other.update_participant(given.replace(display_name="Ann"))
        for read in (await store.get_participant(room.id, "ann"), *await other.list_participants(room.id)):
            assert read == changed
            assert read is not None
            assert _levels(read) == {""}
            assert (read.role.value, read.status.value) == ("moderator", "away")

    async def test_an_identity_of_a_newer_version_is_read_and_changed(
        self, store: ConversationStore, other: ConversationStore
    ) -> None:
        """A linked address changes nothing else of it."""
        given = newer(Identity(id=new_id(), channel_addresses={"sms": ("+1",)}))
        assert await store.create_identity(given) == given
        address = new_id()
        await other.link_address(given.id, "email", address)
        read = await store.resolve_identity("email", address)
        assert read is not None
        assert _levels(read) == {""}

    async def test_work_of_a_newer_version_is_read_and_changed(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        task = newer(Task(id=new_id(), room_id=room.id, title="call back"), status="snoozed")
        seen = newer(Observation(id=new_id(), room_id=room.id, channel_id="ai", content="is angry"))
        timer = newer(Timer(id=new_id(), room_id=room.id, kind="retention", due_at=NOW))
        await store.add_task(task)
        await store.add_observation(seen)
        await store.set_timer(timer)
        await other.update_task(task.replace(assigned_to="bob"))
        read = await store.get_task(task.id)
        assert read == task.replace(assigned_to="bob")
        assert read is not None
        assert (_levels(read), read.status.value) == ({""}, "snoozed")
        assert await other.list_observations(room.id) == [seen]
        assert await other.list_timers(room.id) == [timer]
        assert _levels(seen) == _levels(timer) == {""}

    async def test_a_delivery_of_a_newer_version_is_read_and_changed(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """A receipt of an unknown word stands where UNKNOWN does, and is written back as it came."""
        row = await pending(store, room.id)
        failed = newer(
            row.replace(
                state=DeliveryState.FAILED,
                attempts=3,
                finished_at=NOW,
                error=DeliveryError(code="unknown", message="no answer"),
            )
        )
        assert not (await complete_one(store, failed, state=failed.state)).refused
        reopened = await other.reopen_delivery(row.id)
        assert "" in _levels(reopened)
        message_id = new_id()
        sent = reopened.replace(state=DeliveryState.SENT, provider="acme", provider_message_id=message_id)
        assert not (await other.complete([sent.outcome()])).refused
        moved = await store.record_receipt(reported(message_id), ReceiptState.from_stored("glanced_at"))
        read = await row_of(other, row.id)
        assert moved == read
        assert _levels(read) == {""}
        assert read.receipt == ReceiptState.UNKNOWN
        assert read.receipt is not None
        assert read.receipt.value == "glanced_at"

    async def test_a_waiting_receipt_of_a_newer_version_is_kept(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """It comes out as it went in."""
        row = await pending(store, room.id)
        message_id = new_id()
        status = newer(reported(message_id))
        assert await store.record_receipt(status, ReceiptState.DELIVERED) is None
        sent = row.replace(state=DeliveryState.SENT, provider="acme", provider_message_id=message_id)
        ((_, matched),) = (await other.complete([sent.outcome()])).receipts
        assert matched == status
        assert _levels(matched) == {""}

    async def test_what_a_commit_writes_keeps_what_is_unknown(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Bindings, participants, tasks and observations go through commits, too."""
        bound = newer(binding(room.id))
        person = newer(Participant(id="ann", room_id=room.id, channel_id="sms"))
        task = newer(Task(id=new_id(), room_id=room.id, title="call back"))
        seen = newer(Observation(id=new_id(), room_id=room.id, channel_id="ai", content="is angry"))
        await store.commit(
            Commit(
                room_id=room.id,
                entries=[Entry(event(room.id))],
                at=NOW,
                bindings=[bound],
                participants=[person],
                tasks=[task],
                observations=[seen],
            )
        )
        read: list[Record] = [
            *await other.list_bindings(room.id),
            *await other.list_participants(room.id),
            *await other.list_tasks(room.id),
            *await other.list_observations(room.id),
        ]
        assert read == [bound, person, task, seen]
        assert [news_of(each) for each in read] == [NEWS] * 4


def _event(room_id: str, content: EventContent) -> RoomEvent:
    return event(
        room_id,
        content=content,
        idempotency_key="key",
        source=EventSource(channel_id="sms", channel_type="slack", raw_payload={"a": 1}),
        channel_data=ChannelData(provider="acme", extra={"b": None}),
        generation=Generation(model="m", usage={"input_tokens": 1}),
        amendment=Amendment(edited_at=NOW, former_contents=(UnknownContent.of(POLL),)),
        metadata=EMPTY,
    )


def _levels(record: Record, path: str = "") -> set[str]:
    """Return the paths of all records within a record that have what `newer` adds."""
    found = {path} if news_of(record) == NEWS else set()
    for name, value in record.__dict__.items():
        where = f"{path}.{name}" if path else name
        for place, each in enumerate(value if isinstance(value, tuple) else (value,)):
            if isinstance(each, Record):
                found |= _levels(each, f"{where}.{place}" if isinstance(value, tuple) else where)
    return found
