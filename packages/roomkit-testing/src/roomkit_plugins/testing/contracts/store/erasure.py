"""The store's contract: erased data is gone, and all other data stays in place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from pydantic_core import to_json

from roomkit.abc.errors import (
    DuplicateEventError,
    EventNotFoundError,
    RoomNotFoundError,
    StoreError,
)
from roomkit.abc.store import Amend, ConversationStore
from roomkit.models.base import new_id
from roomkit.models.content import TextContent
from roomkit.models.delivery import DeliveryError
from roomkit.models.enums import ChannelType, DeliveryState, EventStatus, ReceiptState
from roomkit.models.event import ChannelData, EventSource, RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.store.base import (
    LEASE,
    StoreSuite,
    commit,
    complete_one,
    pending,
    reported,
    row_of,
    say,
    send,
    snapshot,
)
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records, unique_ids

__all__ = ["ErasureContract"]

LATER = NOW + timedelta(hours=1)


class ErasureContract(StoreSuite):
    """Redaction, the removal of people, and the pruning of old events."""

    # -- redaction ------------------------------------------------------------------------------

    @PROPERTY
    @given(given_event=records(RoomEvent, id=unique_ids(), idempotency_key=unique_ids()))
    async def test_of_a_redacted_event_only_its_place_is_left(
        self, store: ConversationStore, room: Room, given_event: RoomEvent
    ) -> None:
        """What `RoomEvent.redacted` leaves, by every way of reading it."""
        (stored,) = await commit(store, room.id, given_event.replace(room_id=room.id))
        count = await store.get_event_count(room.id)
        await commit(store, room.id, redact=[stored.id], at=LATER)
        left = stored.redacted(LATER)
        assert await store.get_event(stored.id) == left
        assert await store.find_event_by_key(room.id, stored.idempotency_key or "") == left
        assert await store.list_events(room.id, after_index=stored.index - 1) == [left]
        record = await store.load(room.id, recent=5, key=stored.idempotency_key)
        assert record is not None
        assert record.keyed(stored.idempotency_key or "") == left
        assert stored.id not in {each.id for each in record.recent(5)}
        assert await store.get_event_count(room.id) == count

    async def test_nothing_of_a_redacted_event_is_shown_any_more(
        self, store: ConversationStore, other: ConversationStore, room: Room, worker: str
    ) -> None:
        """Neither its text, former and present, nor its author, payload and metadata, by any way."""
        secret = f"secret{new_id()}"
        for each in (store, other):
            assert await each.load(room.id, recent=10, key="key") is not None
        told = await self._tell(store, room.id, secret)
        await commit(store, room.id, amend=Amend(told.id, TextContent(body=f"edited {secret}"), "ann"))
        for each in (store, other):
            record = await each.load(room.id, recent=10, key="key")
            assert record is not None
            assert secret in to_json(record.recent(10)).decode()
        await commit(store, room.id, event(room.id, "harmless"), redact=[told.id])
        for each in (store, other):
            shown = await self._shown(each, room.id, told)
            assert secret not in to_json(shown, fallback=str).decode()
        (claimed,) = await store.claim(room.id, worker)
        assert claimed.event.id == told.id
        assert secret not in to_json(claimed.event).decode()
        assert list(await self.find_traces(store, secret)) == []

    async def test_a_row_of_a_redacted_event_keeps_the_code_of_its_failure_alone(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        secret = f"secret{new_id()}"
        told, kept = await commit(
            store, room.id, event(room.id, "one"), event(room.id, "two"), targets=["sms", "email"]
        )
        error = DeliveryError(code="room_closed", message=f"cut off: {secret}", vendor_code=secret)
        rows = [
            (await row_of(store, f"{each.id}:email")).replace(
                state=DeliveryState.FAILED, error=error, attempts=2, provider="p", finished_at=NOW
            )
            for each in (told, kept)
        ]
        await store.complete([row.outcome() for row in rows])
        await commit(store, room.id, redact=[told.id])
        left, whole = [await row_of(other, row.id) for row in rows]
        assert left == rows[0].replace(error=DeliveryError(code="room_closed", message="erased"))
        assert whole == rows[1]
        (pending,) = await store.list_deliveries(room.id, event_id=told.id, channel_id="sms")
        assert pending.state is DeliveryState.PENDING
        await commit(store, room.id, redact=[kept.id])
        assert list(await self.find_traces(store, secret)) == []

    async def _tell(self, store: ConversationStore, room_id: str, secret: str) -> RoomEvent:
        """Commit an event that has the secret wherever it can be."""
        source = EventSource(
            channel_id="sms",
            channel_type=ChannelType.SMS,
            participant_id=f"who {secret}",
            external_id=f"external {secret}",
            raw_payload={"Body": secret, "deep": [{"From": secret}]},
        )
        told = RoomEvent(
            room_id=room_id,
            source=source,
            content=TextContent(body=f"I tell you {secret}"),
            metadata={"note": secret},
            channel_data=ChannelData(thread_id=secret, extra={"x": secret}),
            idempotency_key="key",
        )
        (stored,) = await commit(store, room_id, told, targets=["email"])
        return stored

    async def _shown(self, store: ConversationStore, room_id: str, told: RoomEvent) -> list[Any]:
        """Return everything that the store says of a room with an event."""
        record = await store.load(room_id, recent=10, key="key")
        assert record is not None
        again = event(room_id, idempotency_key="key")
        with pytest.raises(DuplicateEventError) as caught:
            await commit(store, room_id, again)
        seen = await snapshot(store, room_id)
        return [
            *(getattr(seen, name) for name in seen.__slots__),
            record.room,
            list(record.recent(10)),
            record.keyed("key"),
            await store.get_event(told.id),
            await store.find_event_by_key(room_id, "key"),
            await store.list_events(room_id, newest_first=True),
            caught.value.event,
            str(caught.value),
        ]

    async def test_redacting_what_is_not_there_is_an_error(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Neither an unknown event nor another room's; nothing is written, nor anything else redacted."""
        foreign_room = await store.create_room(Room())
        (foreign,) = await say(store, foreign_room.id, "theirs")
        (mine,) = await say(store, room.id, "mine")
        before = await snapshot(store, room.id)
        for event_id in (new_id(), foreign.id):
            with pytest.raises(EventNotFoundError, match=event_id):
                await commit(store, room.id, event(room.id), redact=[mine.id, event_id], metadata={"a": 1})
            assert (await snapshot(store, room.id)).differences(before) == {}
        assert await store.get_event(foreign.id) == foreign

    async def test_a_redacted_event_is_as_good_as_deleted(self, store: ConversationStore, room: Room) -> None:
        stored = await say(store, room.id, "one", "two", "three")
        (keyed,) = await commit(store, room.id, event(room.id, idempotency_key="key"))
        await commit(store, room.id, redact=[stored[1].id, keyed.id, stored[1].id])
        await commit(store, room.id, redact=[stored[1].id])
        assert [each.index for each in await store.list_events(room.id)] == [0, 1, 2, 3]
        with pytest.raises(DuplicateEventError):
            await commit(store, room.id, event(room.id, idempotency_key="key"))
        record = await store.load(room.id, recent=10)
        assert record is not None
        assert [each.id for each in record.recent(10)] == [stored[0].id, stored[2].id]
        (next_one,) = await say(store, room.id, "four")
        assert next_one.index == 4

    # -- people ---------------------------------------------------------------------------------

    async def test_a_removed_participant_is_found_by_nothing(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Not by id, address or identity; the version rises, the others stay, and coming back is joining."""
        gone, stays = new_id(), new_id()
        await store.add_binding(binding(room.id, "sms"))
        for who in (gone, stays):
            await store.add_participant(
                Participant(
                    id=who,
                    room_id=room.id,
                    channel_id="sms",
                    connected_via=("sms", "email"),
                    identity_id=f"identity {who}",
                )
            )
        before = await other.load(room.id)
        assert before is not None
        version = before.version
        await commit(store, room.id, remove_participants=[gone])
        record = await other.load(room.id)
        assert record is not None
        assert list(record.participants) == [stays]
        assert record.version > version
        assert await store.get_participant(room.id, gone) is None
        assert [each.id for each in await store.list_participants(room.id)] == [stays]
        assert await store.find_participants(participant_id=gone) == []
        assert await store.find_participants(identity_id=f"identity {gone}") == []
        assert await store.find_sender_room_ids("sms", gone) == []
        assert await store.find_latest_room(gone) is None
        assert await store.find_sender_room_ids("sms", stays) == [room.id]
        await store.add_participant(Participant(id=gone, room_id=room.id, channel_id="sms"))
        assert await store.find_sender_room_ids("sms", gone) == [room.id]

    async def test_removing_somebody_leaves_what_else_there_is_of_them(
        self, store: ConversationStore, room: Room
    ) -> None:
        who = new_id()
        await store.add_binding(binding(room.id, "sms", participant_id=who))
        await store.add_participant(Participant(id=who, room_id=room.id, channel_id="sms"))
        await commit(store, room.id, remove_participants=[who, "unknown"])
        assert await store.list_participants(room.id) == []
        assert await store.find_sender_room_ids("sms", who) == [room.id]
        assert await store.find_participants(participant_id=who) == []

    # -- pruning --------------------------------------------------------------------------------

    async def test_pruning_removes_the_oldest(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Those made before the time, not at it; the counters say so, and the rest reads as before."""
        for each in (store, other):
            assert await each.load(room.id, recent=10) is not None
        stored = [
            (await commit(store, room.id, event(room.id), at=NOW + timedelta(hours=hour)))[0]
            for hour in range(5)
        ]
        before = await store.get_room(room.id)
        assert before is not None
        assert await store.prune_events(room.id, NOW + timedelta(hours=2)) == 2
        assert await store.prune_events(room.id, NOW + timedelta(hours=2)) == 0
        left = stored[2:]
        for each in (store, other):
            assert await each.list_events(room.id) == left
            assert await each.list_events(room.id, offset=1, limit=1) == left[1:2]
            assert await each.list_events(room.id, newest_first=True, limit=2) == [left[2], left[1]]
            assert await each.list_events(room.id, after_index=0, before_index=4) == left[:2]
            assert [await each.get_event(gone.id) for gone in stored[:2]] == [None, None]
            assert [await each.get_event(kept.id) for kept in left] == left
            record = await each.load(room.id, recent=10)
            assert record is not None
            assert list(record.recent(10)) == left
            assert record.room == await each.get_room(room.id)
            assert record.room == before.replace(event_count=3, version=record.version)
            assert await each.get_event_count(room.id) == 3

    async def test_an_index_is_not_used_again_after_pruning(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Not even when nothing is left of the timeline."""
        await say(store, room.id, "one", "two")
        assert await store.prune_events(room.id, LATER) == 2
        emptied = await store.get_room(room.id)
        assert emptied is not None
        assert (emptied.event_count, emptied.latest_index) == (0, 1)
        assert await store.list_events(room.id) == []
        (third,) = await commit(store, room.id, event(room.id, "three"), at=LATER)
        assert third.index == 2
        assert await store.list_events(room.id) == [third]
        assert await store.prune_events(room.id, LATER + timedelta(hours=1)) == 1
        (fourth,) = await say(store, room.id, "four")
        assert fourth.index == 3

    async def test_pruning_stops_where_it_is_told_to(self, store: ConversationStore, room: Room) -> None:
        """After so many, and at the first event that is young enough, whatever comes behind it."""
        hours = [0, 1, 5, 0, 0]
        for hour in hours:
            await commit(store, room.id, event(room.id), at=NOW + timedelta(hours=hour))
        assert await store.prune_events(room.id, NOW + timedelta(hours=2), limit=1) == 1
        assert await store.prune_events(room.id, NOW + timedelta(hours=2), limit=0) == 0
        assert await store.prune_events(room.id, NOW + timedelta(hours=2)) == 1
        assert [each.index for each in await store.list_events(room.id)] == [2, 3, 4]

    async def test_pruning_stops_before_a_pending_delivery(
        self, store: ConversationStore, room: Room, worker: str
    ) -> None:
        rows = [
            await pending(store, room.id, worker_id=worker),
            await pending(store, room.id),
            await pending(store, room.id, worker_id=worker),
        ]
        await complete_one(store, rows[0])
        await complete_one(store, rows[2], state=DeliveryState.FAILED)
        assert await store.prune_events(room.id, LATER) == 1
        await complete_one(store, rows[1], state=DeliveryState.SKIPPED)
        reopened = await store.reopen_delivery(rows[2].id)
        assert await store.prune_events(room.id, LATER) == 1
        await complete_one(store, reopened)
        assert await store.prune_events(room.id, LATER) == 1
        assert await store.list_deliveries(room.id) == []

    async def test_all_that_hangs_on_a_pruned_event_goes_with_it(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Its deliveries and their messages; its id and its idempotency key are free again."""
        (keyed,) = await commit(store, room.id, event(room.id, idempotency_key="key"), targets=["sms"])
        status = reported(new_id())
        sent = await send(store, await row_of(store, f"{keyed.id}:sms"), status.message_id, new_id())
        kept = await pending(store, room.id)
        await complete_one(store, kept)
        assert await store.prune_events(room.id, LATER, limit=1) == 1
        assert await store.get_delivery(sent.id) is None
        assert [row.id for row in await store.list_deliveries()] == [kept.id]
        assert await store.record_receipt(status, ReceiptState.READ) is None
        assert list((await store.complete([sent.outcome()])).refused) == [sent.id]
        with pytest.raises(StoreError, match="restart from the first page"):
            await store.list_deliveries(room.id, after=sent.id)
        assert await store.find_event_by_key(room.id, "key") is None
        assert not await store.check_idempotency(room.id, "key")
        record = await store.load(room.id, key="key")
        assert record is not None
        assert record.keyed("key") is None
        (again,) = await commit(
            store, room.id, event(room.id, id=keyed.id, idempotency_key="key"), targets=["sms"]
        )
        assert again.index == 2
        assert (await row_of(store, sent.id)).state is DeliveryState.PENDING

    async def test_read_marks_outlive_what_was_read(self, store: ConversationStore, room: Room) -> None:
        """Unread are the messages after the mark that are still there."""
        await store.add_binding(binding(room.id))
        stored = await say(store, room.id, "1", "2", "3", "4")
        await store.mark_read(room.id, "channel", stored[1].id)
        assert await store.prune_events(room.id, LATER, limit=1) == 1
        assert await store.get_unread_count(room.id, "channel") == 2
        assert await store.prune_events(room.id, LATER, limit=2) == 2
        assert await store.list_read_marks(room.id) == {"channel": 1}
        assert await store.get_unread_count(room.id, "channel") == 1
        assert await store.mark_read(room.id, "channel", stored[3].id) == 3
        with pytest.raises(EventNotFoundError, match=stored[0].id):
            await store.mark_read(room.id, "channel", stored[0].id)

    async def test_what_is_left_can_be_amended_and_blocked_entries_go_too(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Pruning goes by age alone, and changes need the event."""
        (blocked,) = await commit(store, room.id, event(room.id, status=EventStatus.BLOCKED))
        (kept,) = await say(store, room.id, "kept")
        assert await store.prune_events(room.id, LATER, limit=1) == 1
        await commit(store, room.id, amend=Amend(kept.id, TextContent(body="edited"), "ann"))
        (read,) = await store.list_events(room.id)
        assert read.content == TextContent(body="edited")
        for fields in ({"amend": Amend(blocked.id, None, None)}, {"redact": [blocked.id]}):
            with pytest.raises(EventNotFoundError, match=blocked.id):
                await commit(store, room.id, **fields)

    async def test_pruning_is_of_one_room_that_is_there(self, store: ConversationStore, room: Room) -> None:
        """Every other room keeps what it has, and its lanes."""
        other = await store.create_room(Room())
        row = await pending(store, other.id)
        await say(store, room.id, "old")
        before = await snapshot(store, other.id)
        assert await store.prune_events(room.id, LATER) == 1
        assert (await snapshot(store, other.id)).differences(before) == {}
        claimed = await store.claim(other.id, await store.open_lease(LEASE))
        assert [each.delivery.id for each in claimed] == [row.id]
        nowhere = new_id()
        with pytest.raises(RoomNotFoundError, match=nowhere):
            await store.prune_events(nowhere, LATER)
