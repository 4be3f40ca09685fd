"""Stores with one fault each, and the test of the contract that must find it.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from planting import planted

from roomkit.abc.errors import (
    DuplicateEventError,
    InvalidInputError,
    RoomKitError,
    StaleRoomError,
    StaleValueError,
)
from roomkit.abc.store import Claimed, Commit, Committed, Completed, DeliveryQuery, HomeRecord, Move
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import EMPTY, utcnow
from roomkit.models.content import TextContent
from roomkit.models.delivery import Delivery, DeliveryStatus
from roomkit.models.enums import DeliveryState, EventType, ReceiptState
from roomkit.models.event import Generation, RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Task
from roomkit.models.timer import Timer
from roomkit.models.value import Value
from roomkit_plugins.testing.contracts import ConversationStoreContract
from roomkit_plugins.testing.contracts.store.tenants import LOOKUPS

pytestmark = pytest.mark.virtual_time  # a fault that hangs is found in no time

found_by = partial(planted, ConversationStoreContract)


class Altered:
    """A room's record with some of its members replaced."""

    def __init__(self, record: Any, **members: Any) -> None:
        self._record = record
        self.__dict__.update(members)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)


# -- fields ---------------------------------------------------------------------------------------


@found_by("test_every_field_of_an_event_is_kept")
class ForgetsAFieldOfEvents(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        for each in result.events:
            self._events[each.id] = each.replace(channel_data=each.channel_data.replace(extra=EMPTY))
        return result


@found_by("test_how_much_was_heard_is_kept_beside_the_event")
class ForgetsWhatWasHeardBefore(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        for each in commit.heard:
            event = self._events[each.event_id]
            generation = (event.generation or Generation()).replace(heard=())
            self._put_event(event.replace(generation=generation))
        return await super().commit(commit)


@found_by("test_every_field_of_a_task_is_kept")
class ForgetsAFieldOfTasks(InMemoryStore):
    async def update_task(self, task: Task) -> Task:
        return await super().update_task(task.replace(assigned_to=None))


@found_by("test_every_field_of_a_room_is_kept", "test_an_update_replaces_all_but_what_the_store_owns")
class ForgetsAFieldOfRooms(InMemoryStore):
    async def create_room(self, room: Room, *, timers: Sequence[Timer] = ()) -> Room:
        return await super().create_room(room.replace(agent_response_policy=None), timers=timers)

    async def update_room(self, room: Room) -> Room:
        return await super().update_room(room.replace(closed_at=None))


@found_by("test_every_field_of_a_row_is_kept")
class ForgetsAFieldOfRows(InMemoryStore):
    def _complete(self, deliveries: Sequence[Delivery], *rest: Any) -> Completed:
        return super()._complete([row.replace(duration_ms=None) for row in deliveries], *rest)


@found_by("test_every_field_of_a_timer_is_kept")
class ForgetsAFieldOfTimers(InMemoryStore):
    async def set_timer(self, timer: Timer) -> None:
        await super().set_timer(timer.replace(data=EMPTY))


@found_by("test_every_field_of_a_waiting_receipt_is_kept")
class ForgetsAFieldOfReceipts(InMemoryStore):
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        return await super().record_receipt(status.replace(error_code=None), receipt)


@found_by("test_hard_values_of_records_are_kept_or_refused[task]")
class CutsLongTexts(InMemoryStore):
    async def add_task(self, task: Task) -> Task:
        return await super().add_task(task.replace(title=task.title[:255]))


@found_by("test_an_id_that_cannot_be_finds_nothing[\\x00]")
class StumblesOverAnId(InMemoryStore):
    async def get_event(self, event_id: str, *, organization_id: str | None = None) -> RoomEvent | None:
        if "\0" in event_id:
            raise ValueError("embedded null character")
        return await super().get_event(event_id, organization_id=organization_id)


@found_by("test_a_write_by_an_id_that_cannot_be_finds_nothing[\\x00]")
class RefusesToDeleteAnId(InMemoryStore):
    async def delete_room(self, room_id: str) -> bool:
        if "\0" in room_id:
            raise InvalidInputError(f"{room_id!r} cannot be stored")
        return await super().delete_room(room_id)


@found_by(
    "test_an_event_of_a_newer_version_is_read_and_amended[known]",
    "test_an_event_of_a_newer_version_is_read_and_amended[unknown]",
    "test_an_event_of_a_newer_version_is_read_and_amended[nested]",
)
class ForgetsWhatANewerVersionSays(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        for each in result.events:
            self._events[each.id] = each.without_unknown()
        return result


@found_by("test_a_former_holder_writes_no_value")
class IgnoresAFence(InMemoryStore):
    async def put_value(self, value: Value, *, fence: HomeRecord | None = None, **options: Any) -> Value:
        return await super().put_value(value, **options)


# -- rooms, people, work --------------------------------------------------------------------------


@found_by("test_an_address_belongs_to_one_organization")
class SharesAddressesBetweenTenants(InMemoryStore):
    async def resolve_identity(self, channel_type: str, address: str, **_: Any) -> Identity | None:
        owners = self._identities._addresses.items()
        return next(
            (self._identities.get(owner) for place, owner in owners if place[1:] == (channel_type, address)),
            None,
        )


@found_by(
    "test_any_two_changes_at_once_are_both_seen[2]",
    "test_metadata_that_json_cannot_carry_is_refused",
)
class LosesUpdates(InMemoryStore):
    async def patch_room_metadata(self, room_id: str, patch: Any, unset: Any = ()) -> Room:
        room = self._record(room_id).room
        await asyncio.sleep(0)
        kept = {key: value for key, value in {**room.metadata, **patch}.items() if key not in unset}
        return await self.update_room(room.replace(metadata=kept, version=self._record(room_id).version))


@found_by(
    "test_an_update_moves_the_last_activity[-90]",
    "test_an_update_moves_the_last_activity[90]",
    "test_an_update_replaces_all_but_what_the_store_owns",
)
class KeepsTheLastActivity(InMemoryStore):
    async def update_room(self, room: Room) -> Room:
        return await super().update_room(room.replace(timers=room.timers.replace(last_activity_at=None)))


@found_by("test_an_update_never_undoes_activity_that_it_does_not_know[-90]")
class UndoesActivity(InMemoryStore):
    async def update_room(self, room: Room) -> Room:
        self._record(room.id).last_activity = room.timers.last_activity_at
        return await super().update_room(room)


@found_by(
    *(
        f"test_an_update_with_a_stale_room_is_refused[{kind}]"
        for kind in ("metadata", "room", "binding", "participant", "update")
    )
)
class UpdatesWithAStaleRoom(InMemoryStore):
    async def update_room(self, room: Room) -> Room:
        return await super().update_room(room.replace(version=self._record(room.id).version))


@found_by("test_a_cancelled_commit_is_whole_or_nothing")
class CommitsInTwoSteps(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(replace(commit, tasks=()))
        await asyncio.sleep(0)
        for task in commit.tasks:
            await self.add_task(task)
        return result


@found_by("test_concurrent_commits_get_indexes_of_their_own")
class ForeseesIndexes(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        index = len(self._record(commit.room_id).events)
        await asyncio.sleep(0)
        result = await super().commit(commit)
        events = [each.replace(index=index + place) for place, each in enumerate(result.events)]
        return replace(result, events=events)


@found_by(
    "test_a_key_that_spans_rooms_is_used_once_an_organization",
    "test_of_concurrent_duplicates_in_several_rooms_one_is_stored",
)
class KeepsEveryKeyInItsRoom(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        entries = [replace(each, key_spans_rooms=False) for each in commit.entries]
        return await super().commit(replace(commit, entries=entries))


@found_by("test_a_key_that_spans_rooms_is_no_other_organizations")
class SharesKeysBetweenOrganizations(InMemoryStore):
    def _check_wide_key(self, record: Any, key: str) -> None:
        for (_, taken), event_id in self._wide_keys.items():
            if taken == key:
                raise DuplicateEventError("taken", self._events[event_id])


@found_by(
    "test_a_key_that_spans_rooms_is_free_without_its_event[delete]",
    "test_a_key_that_spans_rooms_is_free_without_its_event[prune]",
)
class RemembersTheKeysOfWhatIsGone(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._ever: set[str] = set()

    async def commit(self, commit: Commit) -> Committed:
        for each in commit.entries:
            key = each.event.idempotency_key
            if each.key_spans_rooms and key in self._ever and await self.find_keyed_event(key) is None:
                raise DuplicateEventError("taken", each.event)
        committed = await super().commit(commit)
        self._ever |= {e.event.idempotency_key for e in commit.entries if e.event.idempotency_key}
        return committed


@found_by("test_a_read_mark_never_moves_backwards")
class ReadsBackwards(InMemoryStore):
    def _mark(self, record: Any, channel_id: str, index: int) -> int:
        mark = super()._mark(record, channel_id, index)
        record.marks[channel_id] = index
        return mark


@found_by("test_deleting_a_room_removes_all_that_belongs_to_it")
class LeavesTasksBehind(InMemoryStore):
    async def delete_room(self, room_id: str) -> bool:
        tasks = dict(self._tasks)
        deleted = await super().delete_room(room_id)
        self._tasks.update(tasks)
        return deleted


@found_by("test_a_tasks_id_is_one_rooms", "test_a_commit_with_another_rooms_task_writes_nothing")
class MovesTasks(InMemoryStore):
    def _check_task(self, task: Task) -> None:
        pass


@found_by("test_a_loaded_room_knows_the_event_of_a_key")
class KnowsNoKeys(InMemoryStore):
    async def load(self, room_id: str, *, recent: int = 0, key: str | None = None) -> Any:
        record = await super().load(room_id, recent=recent, key=key)
        if record is not None:
            record.keys = dict.fromkeys(record.keys, 0)
        return record


@found_by("test_a_load_is_of_the_room_as_it_is_now")
class LoadsWhatItKnew(InMemoryStore):
    async def load(self, room_id: str, *, recent: int = 0, key: str | None = None) -> Any:
        record = await super().load(room_id, recent=recent, key=key)
        if record is None:
            return None
        known = self.__dict__.setdefault("known", {})
        return Altered(record, room=known.setdefault(room_id, record.room))


@found_by("test_recent_events_are_looked_for_in_so_many_entries")
class LooksBackForEver(InMemoryStore):
    async def load(self, room_id: str, *, recent: int = 0, key: str | None = None) -> Any:
        record = await super().load(room_id)
        if record is None:
            return None
        history = [each for each in record.events if each.is_history]
        return Altered(record, recent=lambda limit: history[-limit:] if limit else [])


@found_by("test_somebodys_participations_are_found_over_all_rooms")
class FindsPeopleInOneRoom(InMemoryStore):
    async def find_participants(self, **filters: Any) -> list[Participant]:
        return (await super().find_participants(**filters))[:1]


@found_by("test_participations_are_paged_by_the_last_one_of_the_page_before[1]")
class PagesPeopleByRoom(InMemoryStore):
    async def find_participants(self, *, after: Any = None, limit: int = 100, **filters: Any) -> Any:
        found = await super().find_participants(limit=10_000, **filters)
        return [each for each in found if after is None or each.room_id > after[0]][:limit]


@found_by("test_participations_are_paged_by_the_last_one_of_the_page_before[1]")
class SortsPeopleByTheAlphabet(InMemoryStore):
    async def find_participants(self, *, after: Any = None, limit: int = 100, **filters: Any) -> Any:
        def place(room_id: str, person: str) -> tuple[str, str]:
            return room_id.lower(), person.lower()

        found = await super().find_participants(limit=10_000, **filters)
        found.sort(key=lambda each: place(each.room_id, each.id))
        return [each for each in found if after is None or place(each.room_id, each.id) > place(*after)][
            :limit
        ]


@found_by("test_a_deleted_identity_is_found_by_nothing")
class KeepsAddressesOfTheDeleted(InMemoryStore):
    async def delete_identity(self, identity_id: str) -> bool:
        return self._identities._identities.pop(identity_id, None) is not None

    async def resolve_identity(self, channel_type: str, address: str, **scope: Any) -> Identity | None:
        try:
            return await super().resolve_identity(channel_type, address, **scope)
        except KeyError:
            return Identity(id="ghost")


@found_by("test_an_address_that_went_to_somebody_else_is_theirs")
class DeletesAddressesOfOthers(InMemoryStore):
    async def delete_identity(self, identity_id: str) -> bool:
        identity = self._identities.get(identity_id)
        for address in identity.addresses if identity is not None else ():
            self._identities._addresses.pop(address, None)
        return await super().delete_identity(identity_id)


# -- tenants --------------------------------------------------------------------------------------

for number, name in enumerate(LOOKUPS):
    method = getattr(InMemoryStore, name.split()[0])

    def ignoring(
        self: Any, *args: Any, organization_id: Any = None, method: Any = method, **rest: Any
    ) -> Any:
        return method(self, *args, **rest)

    members = {name.split()[0]: ignoring, "__module__": __name__}
    test = f"test_what_is_anothers_is_answered_like_what_is_not_there[{name}]"
    found_by(test)(type(f"IgnoresTheOrganization{number}", (InMemoryStore,), members))


@found_by("test_a_cursor_of_another_organization_is_not_there")
class GoesOnAfterAnybodysRow(InMemoryStore):
    async def query_deliveries(self, query: DeliveryQuery) -> list[Delivery]:
        return await super().query_deliveries(replace(query, after=None))


@found_by("test_pages_are_of_one_organization")
class CountsEverybodysPages(InMemoryStore):
    async def query_deliveries(self, query: DeliveryQuery) -> list[Delivery]:
        rows = await super().query_deliveries(replace(query, organization_id=None))
        return [row for row in rows if self._owns(query.organization_id, row.room_id)]


@found_by("test_a_room_that_changes_hands_takes_all_along")
class RemembersTheFirstOwner(InMemoryStore):
    async def create_room(self, room: Room, *, timers: Sequence[Timer] = ()) -> Room:
        self.owner = room.organization_id
        return await super().create_room(room, timers=timers)

    def _owns(self, organization_id: str | None, room_id: str) -> bool:
        return organization_id in (None, self.owner)


@found_by(
    "test_the_newest_rows_come_first_if_so_asked[True]", "test_the_newest_rows_come_first_if_so_asked[False]"
)
class ListsTheOldestRowsFirst(InMemoryStore):
    async def query_deliveries(self, query: DeliveryQuery) -> list[Delivery]:
        return await super().query_deliveries(replace(query, newest_first=False))


# -- the ledger -----------------------------------------------------------------------------------


@found_by("test_ids_with_colons_in_them_are_ids_too")
class SplitsIdsAtTheFirstColon(InMemoryStore):
    async def get_delivery(self, delivery_id: str, **scope: Any) -> Delivery | None:
        event_id, _, channel_id = delivery_id.partition(":")
        event = self._events.get(event_id)
        return None if event is None else self._ledger._row(event, channel_id)


@found_by("test_a_row_that_has_ended_is_not_changed_again[sent]")
class ReopensRows(InMemoryStore):
    def _complete(self, deliveries: Sequence[Delivery], *rest: Any) -> Completed:
        for delivery in deliveries:
            self._ledger._rows.pop(delivery.id, None)
        return super()._complete(deliveries, *rest)


@found_by("test_what_is_not_there_is_refused", "test_several_rows_are_completed_together")
class RefusesNothing(InMemoryStore):
    def _complete(self, *args: Any) -> Completed:
        return replace(super()._complete(*args), refused=())


@found_by("test_what_is_not_there_is_refused")
class WritesRowsOfNoEvent(InMemoryStore):
    def _complete(self, deliveries: Sequence[Delivery], *rest: Any) -> Completed:
        result = super()._complete(deliveries, *rest)
        self._ledger._rows.update((row.id, row) for row in deliveries if row.id in result.refused)
        return result


@found_by("test_the_rows_of_all_rooms_are_in_order_of_commit")
class ListsRoomByRoom(InMemoryStore):
    def _deliveries(self, room_id: str | None, organization_id: str | None) -> Any:
        rows = list(super()._deliveries(room_id, organization_id))
        return iter(sorted(rows, key=lambda row: self._rooms[row.room_id].order))


@found_by("test_a_failed_row_can_be_opened_again")
class KeepsTheErrorOfReopenedRows(InMemoryStore):
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        before = await self.get_delivery(delivery_id)
        row = await super().reopen_delivery(delivery_id)
        self._ledger._rows[row.id] = row = row.replace(error=before and before.error)
        return row


@found_by("test_a_failed_row_can_be_given_up")
class ForgetsWhyItGaveUp(InMemoryStore):
    async def drop_delivery(self, delivery_id: str, reason: str) -> Delivery:
        row = (await super().drop_delivery(delivery_id, reason)).replace(error=None)
        self._ledger._rows[row.id] = row
        return row


@found_by("test_only_what_failed_is_opened_again_or_given_up")
class ReopensWhatWasSent(InMemoryStore):
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        row = self._ledger._rows.get(delivery_id)
        if row is not None:
            self._ledger._rows[delivery_id] = row.replace(state=DeliveryState.FAILED)
        return await super().reopen_delivery(delivery_id)


@found_by(
    "test_what_rides_along_with_a_failing_commit_is_not_written", "test_a_lock_that_was_lost_writes_nothing"
)
class CompletesBeforeItCommits(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        done = self._complete(commit.completed, commit.worker_id, commit.timers_done)
        return replace(await super().commit(replace(commit, completed=(), timers_done=())), completed=done)


@found_by("test_what_a_commit_completes_is_completed", "test_a_completed_timer_is_gone")
class ForgetsWhatRidesAlong(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, completed=(), timers_done=()))


@found_by(
    "test_what_a_commit_completes_makes_way_for_its_own",
    "test_a_timer_can_be_completed_and_set_again_at_once",
)
class CompletesAfterItCommitted(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(replace(commit, completed=(), timers_done=()))
        done = self._complete(commit.completed, commit.worker_id, commit.timers_done)
        return replace(result, completed=done)


# -- receipts -------------------------------------------------------------------------------------


@found_by(
    "test_a_receipt_moves_as_the_states_follow_each_other[read]",
    "test_receipts_in_any_order_and_number_end_as_the_rule_says",
    "test_any_sequence_of_calls_gives_what_the_reference_gives[ledger]",
)
class TakesReceiptsBack(InMemoryStore):
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        row = await super().record_receipt(status, receipt)
        if row is None:
            return None
        self._ledger._rows[row.id] = row = row.replace(receipt=receipt)
        return row


@found_by("test_a_message_of_parts_stands_where_its_parts_do")
class BelievesTheFirstPart(InMemoryStore):
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        row = await super().record_receipt(status, receipt)
        if row is None or len(row.message_ids) < 2 or not receipt.follows(row.receipt):
            return row
        self._ledger._rows[row.id] = row = row.replace(receipt=receipt)
        return row


@found_by("test_a_late_end_does_not_take_a_receipt_back")
class EndsWithoutTheReceipt(InMemoryStore):
    def _complete(self, deliveries: Sequence[Delivery], *rest: Any) -> Completed:
        result = super()._complete(deliveries, *rest)
        for row in deliveries:
            if row.id not in result.refused:
                kept = self._ledger._rows[row.id].replace(receipt=row.receipt)
                self._ledger._rows[row.id] = kept
        return result


@found_by(
    "test_waiting_receipts_are_matched_in_order_of_arrival",
    "test_no_receipt_is_lost_between_a_send_and_its_record",
)
class LosesEarlyReceipts(InMemoryStore):
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        known = (status.provider, status.message_id) in self._ledger._by_message_id
        return await super().record_receipt(status, receipt) if known else None


@found_by("test_waiting_receipts_for_a_recipient_are_deleted")
class KeepsReceiptsForTheErased(InMemoryStore):
    async def delete_waiting_receipts(
        self, recipients: Collection[str], *, not_of: Collection[str] = ()
    ) -> int:
        return 0


@found_by("test_waiting_receipts_for_a_recipient_are_deleted")
class DeletesReceiptsForNamesakes(InMemoryStore):
    async def delete_waiting_receipts(self, recipients: Collection[str], **_: Any) -> int:
        return await super().delete_waiting_receipts(recipients)


@found_by("test_a_waiting_receipt_that_is_repeated_waits_once")
class KeepsRepeatedReceipts(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.repeats: list[Any] = []

    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        row = await super().record_receipt(status, receipt)
        self.repeats.append(status)
        return row

    def _complete(self, *args: Any) -> Completed:
        result = super()._complete(*args)
        repeats = [
            (row, status) for row, status in result.receipts for _ in range(self.repeats.count(status))
        ]
        return replace(result, receipts=repeats)


@found_by("test_waiting_receipts_are_matched_in_order_of_arrival")
class MatchesTheNewestFirst(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        waiting = self._ledger._waiting
        take = waiting.take
        waiting.take = lambda keys: list(reversed(take(keys)))  # type: ignore[method-assign]


@found_by("test_waiting_receipts_are_matched_in_order_of_arrival")
class ForgetsTheParts(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        waiting = self._ledger._waiting
        take = waiting.take
        waiting.take = lambda keys: take(list(keys)[:1])  # type: ignore[method-assign]


@found_by("test_a_waiting_receipt_has_to_be_of_the_same_vendor_and_message")
class MixesVendors(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        waiting = self._ledger._waiting
        take, ledger = waiting.take, self._ledger

        def careless(keys: Iterable[tuple[str, str]]) -> Any:
            wanted = {message for _, message in keys}
            near = [key for key in waiting._by_key if key[1] in wanted]
            ledger._by_message_id.update(dict.fromkeys(near, next(reversed(ledger._rows))))
            return take(near)

        waiting.take = careless  # type: ignore[method-assign]


@found_by("test_a_waiting_receipt_is_matched_once")
class MatchesAgain(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        waiting = self._ledger._waiting
        waiting.take = lambda keys: [  # type: ignore[method-assign]
            (each.status, each.receipt) for key in keys for each in waiting._by_key.get(key, ())
        ]


@found_by("test_a_refused_end_takes_no_receipt_along", "test_a_refused_end_takes_no_receipt")
class MatchesWhatItRefuses(InMemoryStore):
    def _complete(self, deliveries: Sequence[Delivery], *rest: Any) -> Completed:
        result = super()._complete(deliveries, *rest)
        for row in deliveries:
            self._ledger._waiting.take([(row.provider or "", row.provider_message_id or "")])
        return result


@found_by("test_no_message_has_receipts_without_end_waiting")
class KeepsReceiptsWithoutEnd(InMemoryStore):
    async def record_receipt(self, status: DeliveryStatus, receipt: ReceiptState) -> Delivery | None:
        row = await super().record_receipt(status, receipt)
        if row is None:
            waiting = self._ledger._waiting._by_key[status.provider, status.message_id]
            self.all = [*getattr(self, "all", ()), waiting[-1]]
            waiting[:] = self.all
        return row


@found_by("test_the_id_of_an_earlier_attempt_still_leads_to_the_row")
class ForgetsEarlierAttempts(InMemoryStore):
    def _complete(self, deliveries: Sequence[Delivery], *rest: Any) -> Completed:
        for row in deliveries:
            ids = self._ledger._by_message_id
            for key in [key for key, owner in ids.items() if owner == row.id]:
                del ids[key]
        return super()._complete(deliveries, *rest)


@found_by("test_no_receipt_is_lost_between_a_send_and_its_record")
class LooksForReceiptsTooEarly(InMemoryStore):
    async def complete(self, deliveries: Sequence[Delivery], **rest: Any) -> Completed:
        ids = [(row.provider or "", row.provider_message_id or "") for row in deliveries]
        early = self._ledger._waiting.take(ids)
        await asyncio.sleep(0)
        result = await super().complete(deliveries, **rest)
        for status, receipt in early:
            await self.record_receipt(status, receipt)
        return replace(result, receipts=[])


# -- leases and lanes -----------------------------------------------------------------------------


@found_by("test_a_lease_holds_until_it_runs_out")
class RevivesWorkers(InMemoryStore):
    async def renew_lease(self, worker_id: str, seconds: float, **options: Any) -> bool:
        lease = self._leases._leases.get(worker_id)
        if lease is not None:
            self._leases._leases[worker_id] = (asyncio.get_running_loop().time(), seconds)
        return lease is not None


@found_by("test_a_renewed_lease_runs_from_then_on")
class RenewsForAsLongAsBefore(InMemoryStore):
    async def renew_lease(self, worker_id: str, seconds: float, **options: Any) -> bool:
        return await super().renew_lease(worker_id, max(seconds, 60), **options)


@found_by("test_a_lease_that_was_closed_is_over")
class ClosesEverything(InMemoryStore):
    async def close_lease(self, worker_id: str) -> None:
        for each in list(self._leases._leases):
            await super().close_lease(each)


@found_by(
    "test_what_joins_another_workers_lane_is_handed_over",
    "test_lanes_stay_in_order_while_several_workers_commit_and_claim",
)
class KeepsToItselfWhoHolds(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return replace(await super().commit(commit), elsewhere={})


@found_by("test_a_commit_without_a_worker_is_told_nothing")
class TellsWhoDidNotAsk(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        rows = [row for each in result.events for row in self._ledger.of_event(each)]
        return replace(
            result, elsewhere={row.id: row.holder for row in rows if row.holder != commit.worker_id}
        )


@found_by(
    "test_what_was_handed_over_comes_before_what_follows_it",
    "test_lanes_stay_in_order_while_several_workers_commit_and_claim",
)
class OvertakesWhatWasHandedOver(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        mine = {row: holder for row, holder in result.elsewhere.items() if holder != commit.worker_id}
        return replace(result, elsewhere=mine)


@found_by("test_what_a_worker_finds_in_a_lane_of_nobody_has_to_be_claimed_first")
class TakesWhatFollowsTheUnclaimed(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        return replace(result, elsewhere={row: who for row, who in result.elsewhere.items() if who})


class _Trusting:
    """Leases that never run out, for whoever asks."""

    def __init__(self, leases: Any) -> None:
        self._leases = leases

    def __getattr__(self, name: str) -> Any:
        return getattr(self._leases, name)

    def in_force(self, worker_id: str | None) -> bool:
        return worker_id is not None


@found_by(
    "test_a_worker_whose_lease_is_over_gets_no_lane",
    "test_who_has_no_lease_claims_nothing",
    "test_what_a_lost_worker_held_is_claimed_by_the_next",
    "test_what_joins_the_lane_of_a_lost_worker_waits_for_the_next",
    "test_a_worker_that_overslept_is_refused",
    "test_any_sequence_of_calls_gives_what_the_reference_gives[ledger]",
)
class TrustsEveryLease(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._ledger._leases = _Trusting(self._leases)  # type: ignore[assignment]


@found_by("test_a_timer_of_a_lost_worker_is_reclaimed", "test_what_nobody_in_force_commits_is_held_by_nobody")
class TrustsEveryLeaseWithTimers(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._leases = self._timers._leases = _Trusting(self._leases)  # type: ignore[assignment]


@found_by("test_each_channel_of_each_room_is_a_lane")
class HasOneLaneForAll(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        self._ledger.keep_lanes()
        lanes = self._ledger._lanes
        assert lanes is not None
        lane = type(lanes).lane
        lanes.lane = lambda room_id, channel_id: lane(lanes, "room", "channel")  # type: ignore[method-assign]
        return await super().commit(commit)


@found_by("test_a_lane_is_free_again_when_nothing_in_it_is_pending")
class NeverFreesALane(InMemoryStore):
    def _complete(self, deliveries: Sequence[Delivery], *rest: Any) -> Completed:
        lanes, self._ledger._lanes = self._ledger._lanes, None
        result = super()._complete(deliveries, *rest)
        self._ledger._lanes = lanes
        return result


@found_by("test_all_entries_of_a_commit_follow_each_other")
class TakesOneEntryOfACommit(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        later = [row.id for each in result.events[1:] for row in self._ledger.of_event(each)]
        return replace(result, elsewhere={**result.elsewhere, **dict.fromkeys(later)})


@found_by("test_a_free_lane_is_the_committing_workers")
class HoldsNothing(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, worker_id=None))


@found_by("test_what_nobody_holds_is_claimed_in_order")
class ClaimsTheLastFirst(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        return list(reversed(await super().claim(room_id, worker_id, **options)))


@found_by("test_what_nobody_holds_is_claimed_in_order")
class ClaimsByChannel(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        claimed = await super().claim(room_id, worker_id, **options)
        return sorted(claimed, key=lambda each: (each.event.index, each.delivery.channel_id))


@found_by("test_a_claimed_delivery_comes_with_its_event_as_it_is_now")
class DeliversWhatWasSaidAtFirst(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        claimed = await super().claim(room_id, worker_id, **options)
        return [
            Claimed(each.delivery, each.event.replace(content=each.event.amendment.former_contents[0]))
            if each.event.amendment
            else each
            for each in claimed
        ]


@found_by(
    "test_what_a_worker_in_force_holds_is_nobody_elses",
    "test_of_what_several_claim_at_once_each_gets_its_own",
)
class ClaimsWhatOthersHold(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        lanes = self._ledger._all_lanes().rooms.get(room_id, {})
        for lane in lanes.values():
            if lane.holder != worker_id:
                lane.holder = None
                lane.handed.clear()
        return await super().claim(room_id, worker_id, **options)


@found_by("test_of_what_several_claim_at_once_each_gets_its_own")
class ClaimsInTwoSteps(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        rows = [row for row in self._deliveries(room_id, None) if row.holder is None]
        await asyncio.sleep(0)
        await super().claim(room_id, worker_id, **options)
        return [Claimed(row.replace(holder=worker_id), self._events[row.event_id]) for row in rows]


@found_by("test_what_a_lost_worker_held_is_claimed_by_the_next")
class CountsNoLosses(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **options: Any) -> list[Claimed]:
        claimed = await super().claim(room_id, worker_id, **options)
        return [replace(each, delivery=each.delivery.replace(claims=0)) for each in claimed]


@found_by("test_what_a_worker_gave_back_is_not_lost", "test_a_timer_of_a_worker_that_left_is_free")
class CountsWhatWasGivenBack(InMemoryStore):
    async def close_lease(self, worker_id: str) -> None:
        self._leases.close(worker_id)


@found_by("test_rooms_that_wait_longest_are_found_first")
class FindsTheNewestRoomsFirst(InMemoryStore):
    async def find_claimable(self, worker_id: str, *, limit: int = 100, **options: Any) -> list[str]:
        return list(reversed(await super().find_claimable(worker_id, limit=1000, **options)))[:limit]


@found_by(
    "test_what_nobody_holds_is_claimed_by_channel", "test_what_a_lost_worker_held_is_claimed_by_channel"
)
class ClaimsEveryChannel(InMemoryStore):
    async def claim(self, room_id: str, worker_id: str, **_: Any) -> list[Claimed]:
        return await super().claim(room_id, worker_id)


@found_by("test_rooms_with_work_are_found_by_channel")
class FindsEveryChannel(InMemoryStore):
    async def find_claimable(self, worker_id: str, *, limit: int = 100, **_: Any) -> list[str]:
        return await super().find_claimable(worker_id, limit=limit)


@found_by(
    "test_a_free_lane_of_an_absent_channel_goes_to_a_worker_that_announces_it",
    "test_a_lane_of_an_absent_channel_waits_when_no_worker_has_it",
)
class KeepsWhatTheCommitterLacks(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, absent=()))


@found_by("test_a_lane_of_an_absent_channel_waits_when_no_worker_has_it")
class HandsOverToTheDead(InMemoryStore):
    async def close_lease(self, worker_id: str) -> None:
        known = self._leases._channels.get(worker_id)
        await super().close_lease(worker_id)
        self._leases.announcer = lambda channel_id, **_: (  # type: ignore[method-assign]
            worker_id if known is None or channel_id in known else None
        )
        self._leases.in_force = lambda _: True  # type: ignore[method-assign]


@found_by("test_channels_are_announced_anew_with_a_renewal")
class AnnouncesOnce(InMemoryStore):
    async def renew_lease(self, worker_id: str, seconds: float, **_: Any) -> bool:
        return await super().renew_lease(worker_id, seconds)


@found_by("test_what_waits_for_a_channel_is_counted")
class CountsWhatIsHeld(InMemoryStore):
    async def count_unclaimed(self) -> dict[str, int]:
        rows = [row for row in self._ledger.of_all() if row.state is DeliveryState.PENDING]
        return {row.channel_id: sum(each.channel_id == row.channel_id for each in rows) for row in rows}


# -- values ----------------------------------------------------------------------------------------


@found_by("test_the_shared_clock_tells_the_time_in_utc")
class TellsTheTimeOfItsPlace(InMemoryStore):
    async def now(self) -> datetime | None:
        return datetime(2026, 1, 1)  # planted


@found_by("test_the_shared_clock_tells_the_time_in_utc")
class HasAClockOfItsOwn(InMemoryStore):
    passed = timedelta(0)

    async def now(self) -> datetime | None:
        self.passed -= timedelta(seconds=1)
        return utcnow() + self.passed


@found_by("test_a_put_with_a_revision_replaces_only_that_one", "test_one_of_several_that_put_at_once_wins")
class PutsInTwoSteps(InMemoryStore):
    async def put_value(self, value: Value, *, if_revision: int | None = None) -> Value:
        found = await self.get_value(value.namespace, value.key, organization_id=value.organization_id)
        await asyncio.sleep(0)
        if if_revision not in (None, 0) and (found is None or found.revision != if_revision):
            raise StaleValueError("stale")
        return await super().put_value(value)


@found_by("test_a_revision_is_never_used_again")
class CountsRevisionsByKey(InMemoryStore):
    async def put_value(self, value: Value, *, if_revision: int | None = None) -> Value:
        found = await self.get_value(value.namespace, value.key, organization_id=value.organization_id)
        stored = await super().put_value(value, if_revision=if_revision)
        place = (value.organization_id, value.namespace, value.key)
        stored = stored.replace(revision=1 if found is None else found.revision + 1)
        self._values._values[place] = stored
        return stored


@found_by("test_any_text_may_be_a_key")
class JoinsKeys(InMemoryStore):
    async def put_value(self, value: Value, *, if_revision: int | None = None) -> Value:
        return await super().put_value(value.replace(key=(",".join(value.key),)))

    async def get_value(self, namespace: str, key: Sequence[str], **options: Any) -> Value | None:
        return await super().get_value(namespace, (",".join(key),), **options)


@found_by("test_the_values_about_a_person_are_listed")
class ShowsValuesOfOtherTenants(InMemoryStore):
    async def list_values_of(
        self, subject: str, *, after: int = 0, limit: int = 100, **_: Any
    ) -> list[Value]:
        return await super().list_values_of(subject, after=after, limit=limit)


@found_by("test_the_values_of_a_room_are_listed")
class ShowsValuesOfOneSubjectOnly(InMemoryStore):
    async def list_room_values(self, room_id: str, *, after: int = 0, limit: int = 100) -> list[Value]:
        page = await super().list_room_values(room_id, after=after, limit=limit)
        return [value for value in page if value.subject is not None]


@found_by("test_the_values_of_a_room_go_with_it")
class LeavesValuesBehind(InMemoryStore):
    async def delete_room(self, room_id: str) -> bool:
        self._values.delete_room = lambda _: None  # type: ignore[method-assign]
        return await super().delete_room(room_id)


@found_by("test_the_values_about_a_person_are_deleted")
class DeletesWhatIsAnothers(InMemoryStore):
    async def delete_values_of(self, subject: str, **_: Any) -> int:
        return await super().delete_values_of(subject)


@found_by("test_what_has_expired_is_purged")
class PurgesEverythingThatExpires(InMemoryStore):
    async def purge_values(self, before: datetime, *, limit: int = 1000) -> int:
        return await super().purge_values(before + timedelta(days=1), limit=limit)


@found_by("test_a_commit_puts_values_or_nothing")
class PutsValuesFirst(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        for value in commit.values:
            await self.put_value(value)
        return await super().commit(replace(commit, values=()))


@found_by("test_values_are_listed_by_the_parts_their_keys_begin_with")
class ListsKeysByTheirFirstLetters(InMemoryStore):
    async def list_values(self, namespace: str, prefix: Sequence[str] = (), **filters: Any) -> list[Value]:
        everything = await super().list_values(namespace, (), **filters)
        return [each for each in everything if "".join(each.key).startswith("".join(prefix))]


@found_by("test_an_erasure_removes_what_was_derived_from_the_room")
class KeepsWhatWasDerived(InMemoryStore):
    def _rewrite(self, commit: Commit) -> None:
        values = self._values._values.copy()
        super()._rewrite(commit)
        self._values._values.update(values)


@found_by("test_an_erasure_removes_what_was_derived_from_the_room")
class RemovesWhateverTheRoomKeeps(InMemoryStore):
    def _rewrite(self, commit: Commit) -> None:
        super()._rewrite(commit)
        if commit.redact:
            self._values.delete_room(commit.room_id)


# -- kept state -----------------------------------------------------------------------------------


@found_by(
    "test_a_commit_on_an_outdated_plan_is_refused",
    "test_random_changes_of_state_by_two_workers_lose_nothing",
)
class ForgetsTheVersionOfBindings(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        if commit.bindings and commit.expected_version is not None:
            await asyncio.sleep(0)
            commit = replace(commit, expected_version=None)
        return await super().commit(commit)


@found_by(
    "test_an_address_leads_to_a_room_as_long_as_a_binding_has_it",
    "test_what_is_kept_with_a_room_and_a_binding_is_read_by_every_worker",
    "test_random_changes_of_state_by_two_workers_lose_nothing",
)
class ForgetsTheStateOfBindings(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(
            replace(commit, bindings=[each.replace(state={}) for each in commit.bindings])
        )


# -- look-ups -------------------------------------------------------------------------------------


@found_by("test_an_event_is_found_by_its_vendors_id")
class FindsEventsOfEveryTenant(InMemoryStore):
    async def find_event(
        self, channel_id: str, external_id: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        return await super().find_event(channel_id, external_id)


@found_by("test_the_newest_event_of_a_room_with_a_vendors_id_is_found")
class FindsErasedEvents(InMemoryStore):
    def _put_event(self, event: RoomEvent) -> None:
        self._events[event.id] = event
        self._rooms[event.room_id].put(event)


@found_by("test_a_delivery_is_found_by_its_providers_message")
class FindsDeliveriesOfEveryProvider(InMemoryStore):
    async def find_delivery(
        self, provider: str, message_id: str, *, organization_id: str | None = None
    ) -> Delivery | None:
        known = [key for key in self._ledger._by_message_id if key[1] == message_id]
        return await super().find_delivery(*known[0], organization_id=organization_id) if known else None


@found_by("test_an_address_leads_to_a_room_as_long_as_a_binding_has_it")
class RemembersFormerAddresses(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._directory._unindex_address = lambda record, binding: None  # type: ignore[method-assign]


@found_by("test_rooms_are_found_by_the_address_of_a_binding")
class FindsClosedRoomsByAddress(InMemoryStore):
    async def find_address_room_ids(
        self, channel_id: str, address: str, *, limit: int = 2, organization_id: str | None = None
    ) -> list[str]:
        return [each.room_id for each in self._directory.with_address(channel_id, address)][:limit]


@found_by("test_an_event_is_found_by_its_key_in_any_room")
class FindsTheOldestEvent(InMemoryStore):
    async def find_keyed_event(
        self, idempotency_key: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        return next((e for e in self._events.values() if e.idempotency_key == idempotency_key), None)


@found_by("test_an_outcome_that_is_not_durable_frees_its_lane_and_is_written_again")
class PutsOffWhatIsNotDurable(InMemoryStore):
    async def complete(
        self, deliveries: Sequence[Delivery], *, durable: bool = True, **rest: Any
    ) -> Completed:
        return await super().complete(deliveries if durable else (), **rest)


@found_by("test_only_the_holder_completes_as_a_worker", "test_a_worker_that_overslept_is_refused")
class AsksForNoHolder(InMemoryStore):
    def _complete(
        self, deliveries: Sequence[Delivery], worker_id: Any, timers_done: Sequence[str]
    ) -> Completed:
        return super()._complete(deliveries, None, timers_done)


@found_by("test_a_takeover_and_a_late_end_at_once_are_one_or_the_other")
class AsksForTheHolderTooEarly(InMemoryStore):
    async def complete(
        self,
        deliveries: Sequence[Delivery],
        *,
        worker_id: str | None = None,
        timers_done: Sequence[str] = (),
        durable: bool = True,
    ) -> Completed:
        mine = [row for row in deliveries if self._ledger._rows[row.id].holder == worker_id]
        await asyncio.sleep(0)
        return await super().complete(mine if worker_id else deliveries, timers_done=timers_done)


@found_by("test_what_is_completed_without_a_worker_may_be_anybodys")
class RefusesWhoIsNoWorker(InMemoryStore):
    def _complete(
        self, deliveries: Sequence[Delivery], worker_id: Any, timers_done: Sequence[str]
    ) -> Completed:
        return super()._complete(deliveries, worker_id or "nobody", timers_done)


@found_by("test_a_row_keeps_its_holder_and_its_claims_until_it_ends")
class KeepsTheHolderOfWhatEnded(InMemoryStore):
    def _complete(self, deliveries: Sequence[Delivery], *rest: Any) -> Completed:
        before = {row.id: self._ledger.get(row.id) for row in deliveries}
        result = super()._complete(deliveries, *rest)
        for row_id, row in before.items():
            if row is not None and row_id not in result.refused:
                after = self._ledger._rows[row_id]
                self._ledger._rows[row_id] = after.replace(holder=row.holder)
        return result


@found_by("test_a_row_keeps_its_holder_and_its_claims_until_it_ends")
class BelievesInTheGivenClaims(InMemoryStore):
    def _complete(self, deliveries: Sequence[Delivery], *rest: Any) -> Completed:
        result = super()._complete(deliveries, *rest)
        for row in deliveries:
            if row.id not in result.refused:
                after = self._ledger._rows[row.id]
                self._ledger._rows[row.id] = after.replace(claims=row.claims)
        return result


@found_by(
    "test_a_row_that_is_opened_again_joins_its_lane",
    "test_a_row_that_is_opened_again_in_a_free_lane_is_for_anybody",
)
class ReopensOutsideTheLane(InMemoryStore):
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        lanes, self._ledger._lanes = self._ledger._lanes, None
        row = await super().reopen_delivery(delivery_id)
        self._ledger._lanes = lanes
        return row


@found_by("test_a_row_that_is_opened_again_was_never_lost")
class RemembersLossesForEver(InMemoryStore):
    async def reopen_delivery(self, delivery_id: str) -> Delivery:
        before = self._ledger.get(delivery_id)
        row = await super().reopen_delivery(delivery_id)
        self._ledger._rows[row.id] = row = row.replace(claims=before.claims if before else 0)
        return row


@found_by("test_the_lanes_of_a_room_go_with_it")
class LeavesLanesBehind(InMemoryStore):
    async def delete_room(self, room_id: str) -> bool:
        lanes, self._ledger._lanes = self._ledger._lanes, None
        deleted = await super().delete_room(room_id)
        self._ledger._lanes = lanes
        return deleted

    async def find_claimable(self, worker_id: str, *, limit: int = 100, **options: Any) -> list[str]:
        return [room_id for room_id in self._ledger._all_lanes().rooms if room_id in self._rooms]


@found_by("test_a_lock_that_was_lost_writes_nothing")
class IgnoresTheFence(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, fence=None))


@found_by("test_a_lock_that_was_lost_writes_nothing")
class RemembersTheLastFenceOnly(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        self._record(commit.room_id).fence = commit.fence
        return result


@found_by("test_each_room_has_its_own_fence")
class RaisesTheFenceOfAFailure(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        try:
            return await super().commit(commit)
        except RoomKitError:
            self._record(commit.room_id).fence = commit.fence
            raise


@found_by("test_each_room_has_its_own_fence")
class HasOneFenceForAll(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        if commit.fence is not None:
            self.fence = max(commit.fence, getattr(self, "fence", 0))
            self._record(commit.room_id).fence = self.fence
        return await super().commit(commit)


# -- timers ---------------------------------------------------------------------------------------


@found_by("test_only_timers_of_the_kinds_that_a_worker_handles_are_claimed")
class FiresTimersOfEveryKind(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        return await super().claim_timers(worker_id, now, limit=limit)


@found_by("test_only_timers_of_the_kinds_that_a_worker_handles_are_claimed")
class ChoosesKindsAfterTheLimit(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        taken = await super().claim_timers(worker_id, now, limit=limit)
        return [timer for timer in taken if kinds is None or timer.kind in kinds]


@found_by("test_a_timer_may_belong_to_no_room")
class LeavesOutTimersOfNoRoom(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        of_rooms = [timer for timer in commit.timers if timer.room_id is not None]
        return await super().commit(replace(commit, timers=of_rooms))


@found_by("test_timers_of_all_rooms_are_found_page_by_page")
class FindsOnlyTimersOfRooms(InMemoryStore):
    async def find_timers(self, kind: str | None = None, **options: Any) -> list[Timer]:
        return [timer for timer in await super().find_timers(kind, **options) if timer.room_id is not None]


@found_by("test_timers_of_all_rooms_are_found_page_by_page")
class PagesTimersByTheirTime(InMemoryStore):
    async def find_timers(self, kind: str | None = None, **options: Any) -> list[Timer]:
        return sorted(await super().find_timers(kind, **options), key=lambda timer: timer.id.lower())


@found_by("test_a_timer_is_deleted")
class KeepsTimersThatAreHeld(InMemoryStore):
    async def delete_timer(self, timer_id: str) -> bool:
        return timer_id not in self._timers._held and await super().delete_timer(timer_id)


@found_by("test_the_timers_about_a_person_are_deleted")
class DeletesTimersOfEveryTenant(InMemoryStore):
    async def delete_timers_of(self, subject: str, *, organization_id: str | None = None) -> int:
        return await super().delete_timers_of(subject)


@found_by("test_a_timer_fires_when_it_is_due")
class RingsEarly(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        return await super().claim_timers(worker_id, now + timedelta(seconds=1), kinds, limit=limit)


@found_by("test_a_timer_fires_when_it_is_due")
class RingsTheNewestFirst(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        for timer in sorted(self._timers._timers.values(), key=lambda timer: timer.due_at, reverse=True):
            if timer.due_at <= now and timer.id not in self._timers._held and limit == 1:
                return [self._timers._take(timer, worker_id)]
        return await super().claim_timers(worker_id, now, kinds, limit=limit)


@found_by(
    "test_a_claimed_timer_fires_for_no_other_worker",
    "test_of_what_several_claim_at_once_each_gets_its_own",
)
class RingsForEverybody(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        return [timer for timer in self._timers._timers.values() if timer.due_at <= now][:limit]


@found_by("test_a_timer_of_a_lost_worker_is_reclaimed")
class NeverTakesTimersOver(InMemoryStore):
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        taken = await super().claim_timers(worker_id, now, kinds, limit=limit)
        return [timer for timer in taken if not timer.claims]


@found_by("test_setting_a_timer_again_frees_it")
class KeepsWhoHeldTheTimer(InMemoryStore):
    async def set_timer(self, timer: Timer) -> None:
        holder = self._timers._held.get(timer.id)
        await super().set_timer(timer)
        if holder is not None:
            self._timers._held[timer.id] = holder


@found_by("test_what_a_commit_makes_due_is_the_committing_workers")
class LeavesDueTimersToAll(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(replace(commit, timers=()))
        for timer in commit.timers:
            await self.set_timer(timer)
        return result


@found_by("test_what_a_commit_makes_due_is_the_committing_workers")
class HoldsLaterTimersToo(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        for timer in commit.timers:
            self._timers.set(timer, commit.worker_id)
        return result


@found_by("test_a_timer_that_is_always_due_is_its_committers_whatever_the_clocks_show")
class TrustsTheCommittersClock(InMemoryStore):
    """What is due at once is kept under the commit's time, which another worker has not reached."""

    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        for timer in commit.timers:
            if timer.id in self._timers._held:
                self._timers.set(
                    timer.replace(due_at=max(timer.due_at, commit.at)), self._timers._held[timer.id]
                )
        return result


@found_by("test_only_its_holder_completes_a_timer_as_a_worker")
class LetsAnybodyAnswer(InMemoryStore):
    def _complete(
        self, deliveries: Sequence[Delivery], worker_id: Any, timers_done: Sequence[str]
    ) -> Completed:
        self._timers.remove(timers_done)
        return self._ledger.complete(deliveries, worker_id)


@found_by("test_the_timers_of_a_room_are_listed_by_their_time")
class ListsTimersAsTheyCame(InMemoryStore):
    async def list_timers(self, room_id: str) -> list[Timer]:
        return [timer for timer in self._timers._timers.values() if timer.room_id == room_id]


@found_by("test_timers_go_with_their_room", "test_deleting_a_room_removes_all_that_belongs_to_it")
class LeavesTimersBehind(InMemoryStore):
    async def delete_room(self, room_id: str) -> bool:
        timers = self._timers.of(room_id)
        deleted = await super().delete_room(room_id)
        for timer in timers:
            self._timers.set(timer)
        return deleted


@found_by("test_a_timer_needs_a_room")
class SetsTimersForNoRoom(InMemoryStore):
    async def set_timer(self, timer: Timer) -> None:
        self._timers.set(timer)


# -- erasure --------------------------------------------------------------------------------------


class Leaving(InMemoryStore):
    """A store that leaves something of redacted events; `left` says what."""

    left: Callable[[RoomEvent, RoomEvent], RoomEvent]

    async def commit(self, commit: Commit) -> Committed:
        before = [self._events.get(event_id) for event_id in commit.redact]
        result = await super().commit(commit)
        for event in filter(None, before):
            self._put_event(type(self).left(event, self._events[event.id]))
        return result


for kind, remains in {
    "Payloads": lambda before, after: after.replace(source=before.source),
    "Texts": lambda before, after: after.replace(content=before.content),
    "Metadata": lambda before, after: after.replace(metadata=before.metadata),
    "Threads": lambda before, after: after.replace(channel_data=before.channel_data),
    "FormerTexts": lambda before, after: after.replace(amendment=before.amendment),
}.items():
    members = {"left": staticmethod(remains), "__module__": __name__}
    found_by(
        "test_nothing_of_a_redacted_event_is_shown_any_more",
        "test_of_a_redacted_event_only_its_place_is_left",
    )(type(f"Leaves{kind}", (Leaving,), members))


@found_by("test_nothing_of_a_redacted_event_is_shown_any_more")
class RedactsOneCopyOnly(Leaving):
    def _put_event(self, event: RoomEvent) -> None:
        self._events[event.id] = event

    left = staticmethod(lambda before, after: after)


@found_by("test_a_row_of_a_redacted_event_keeps_the_code_of_its_failure_alone")
class LeavesWordsOfFailures(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        rows = [row for event_id in commit.redact for row in self._ledger.of_event(self._events[event_id])]
        result = await super().commit(commit)
        self._ledger._rows.update((row.id, row) for row in rows if row.id in self._ledger._rows)
        return result


class Searching(ConversationStoreContract):
    """The contract of a store with a search of its own."""

    async def find_traces(self, store: Any, text: str) -> Collection[str]:
        return [said for said in store.index if text in said]


@planted(Searching, "test_nothing_of_a_redacted_event_is_shown_any_more")
class ForgetsToForgetInItsSearch(InMemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.index: list[str] = []

    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        self.index += [each.content.body for each in result.events if isinstance(each.content, TextContent)]
        return result


@found_by("test_redacting_what_is_not_there_is_an_error")
class RedactsWhatItFinds(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        mine = [each for each in commit.redact if each in self._events]
        return await super().commit(replace(commit, redact=mine))


@found_by("test_a_redacted_event_is_as_good_as_deleted")
class FreesTheKeysOfTheRedacted(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        for event_id in commit.redact:
            self._keys.pop((commit.room_id, self._events[event_id].idempotency_key or ""), None)
        return result


@found_by("test_a_removed_participant_is_found_by_nothing", "test_any_two_changes_at_once_are_both_seen[0]")
class RemovesNobody(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, remove_participants=()))


@found_by("test_a_removed_participant_is_found_by_nothing")
class StillKnowsTheRemoved(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        record = self._record(commit.room_id)
        gone = [record.participants.pop(each, None) for each in commit.remove_participants]
        record.version += len(gone)
        return await super().commit(replace(commit, remove_participants=()))


@found_by("test_removing_somebody_leaves_what_else_there_is_of_them")
class RemovesBindingsToo(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        bound = [
            each.channel_id
            for each in self._record(commit.room_id).bindings.values()
            if each.participant_id in commit.remove_participants
        ]
        return await super().commit(replace(commit, unbind=[*commit.unbind, *bound]))


# -- moves ----------------------------------------------------------------------------------------


@found_by("test_moved_events_are_appended_in_order", "test_random_moves_lose_and_duplicate_nothing")
class UsesTheIndexesOfMovedEventsAgain(InMemoryStore):
    async def move(self, move: Move) -> int:
        moved = await super().move(move)
        source = self._record(move.source.room_id)
        source.next_index = source.events[-1].index + 1 if source.events else 0
        return moved


@found_by("test_rows_of_moved_events_go_along")
class LeavesRowsOfMovedEvents(InMemoryStore):
    async def move(self, move: Move) -> int:
        self._ledger.moved = lambda event: None  # type: ignore[method-assign]
        return await super().move(move)


@found_by("test_a_refused_move_changes_nothing[stale target]")
class WritesHalfAMove(InMemoryStore):
    async def move(self, move: Move) -> int:
        expected = move.into.expected_version
        moved = await super().move(replace(move, into=replace(move.into, expected_version=None)))
        if expected is not None and expected != self._record(move.into.room_id).version:
            raise StaleRoomError("too late")
        return moved


@found_by("test_a_room_with_pending_deliveries_does_not_move_whole")
class MovesWhatIsPending(InMemoryStore):
    def _check_settled(self, *_: Any) -> None:
        pass


@found_by("test_a_key_that_the_other_room_has_gets_the_rooms_id_in_front")
class ReplacesTheOtherRoomsKeys(InMemoryStore):
    async def move(self, move: Move) -> int:
        events = [self._events[each] for each in move.events if each in self._events]
        moved = await super().move(move)
        for each in events:
            if each.idempotency_key is not None:
                self._keys[move.into.room_id, each.idempotency_key] = self._events[each.id].index
        return moved


class Pruning(InMemoryStore):
    """A store that goes wrong when it prunes."""

    async def prune_events(self, room_id: str, before: datetime, **options: Any) -> int:
        pruned = await super().prune_events(room_id, before, **options)
        await self.gone_wrong(room_id, pruned)
        return pruned

    async def gone_wrong(self, room_id: str, pruned: int) -> None:
        raise NotImplementedError


@found_by("test_an_index_is_not_used_again_after_pruning")
class UsesIndexesAgain(Pruning):
    async def gone_wrong(self, room_id: str, pruned: int) -> None:
        record = self._record(room_id)
        if not record.events:
            record.next_index = 0


@found_by("test_pruning_removes_the_oldest")
class CountsWhatWasPruned(Pruning):
    async def gone_wrong(self, room_id: str, pruned: int) -> None:
        self.pruned = getattr(self, "pruned", 0) + pruned

    async def get_event_count(self, room_id: str) -> int:
        return await super().get_event_count(room_id) + getattr(self, "pruned", 0)


@found_by("test_pruning_stops_before_a_pending_delivery", "test_pruning_is_of_one_room_that_is_there")
class PrunesWhatIsPending(InMemoryStore):
    async def prune_events(self, room_id: str, before: datetime, **options: Any) -> int:
        self._ledger.is_settled = lambda event: True  # type: ignore[method-assign]
        if room_id not in self._rooms:
            return 0
        return await super().prune_events(room_id, before, **options)


@found_by("test_pruning_stops_where_it_is_told_to")
class PrunesBehindTheYoung(InMemoryStore):
    async def prune_events(self, room_id: str, before: datetime, **options: Any) -> int:
        old = [each for each in self._record(room_id).events if each.created_at < before]
        latest = max((each.created_at for each in self._record(room_id).events), default=before)
        return await super().prune_events(
            room_id, latest + timedelta(1), limit=min(options.get("limit", 1000), len(old))
        )


@found_by("test_pruning_removes_the_oldest")
class PrunesAtTheTime(InMemoryStore):
    async def prune_events(self, room_id: str, before: datetime, **options: Any) -> int:
        return await super().prune_events(room_id, before + timedelta(microseconds=1), **options)


@found_by("test_all_that_hangs_on_a_pruned_event_goes_with_it")
class KeepsTheKeysOfThePruned(InMemoryStore):
    async def prune_events(self, room_id: str, before: datetime, **options: Any) -> int:
        self.kept = getattr(self, "kept", set()) | set(self._keys)
        return await super().prune_events(room_id, before, **options)

    async def check_idempotency(self, room_id: str, idempotency_key: str) -> bool:
        return (room_id, idempotency_key) in self.kept


@found_by("test_all_that_hangs_on_a_pruned_event_goes_with_it")
class KeepsTheMessagesOfThePruned(InMemoryStore):
    async def prune_events(self, room_id: str, before: datetime, **options: Any) -> int:
        rows = dict(self._ledger._rows)
        pruned = await super().prune_events(room_id, before, **options)
        self._ledger._rows.update(rows)
        return pruned


@found_by("test_read_marks_outlive_what_was_read")
class ForgetsMarksWithTheRead(Pruning):
    async def gone_wrong(self, room_id: str, pruned: int) -> None:
        self._record(room_id).marks = None


@found_by("test_what_is_left_can_be_amended_and_blocked_entries_go_too")
class LosesItsPlaceAfterPruning(Pruning):
    async def gone_wrong(self, room_id: str, pruned: int) -> None:
        record = self._record(room_id)
        record.events[:] = [
            each.replace(type=EventType.SYSTEM, content=TextContent(body="lost")) for each in record.events
        ]

    def _put_event(self, event: RoomEvent) -> None:
        self._events[event.id] = event


# -- homes ----------------------------------------------------------------------------------------


@found_by("test_each_new_holder_gets_a_higher_token")
class CountsNoHolders(InMemoryStore):
    async def take_home(self, *args: Any, **options: Any) -> HomeRecord:
        return replace(await super().take_home(*args, **options), token=1)


@found_by("test_one_worker_has_a_home_until_it_leaves")
class GivesAHomeToEveryone(InMemoryStore):
    async def take_home(self, room_id: str | None, name: str, worker_id: str, **options: Any) -> HomeRecord:
        holder = await self.get_home(room_id, name)
        if holder is not None and holder.worker_id is not None:
            await self.leave_home(room_id, name, holder.worker_id)
        return await super().take_home(room_id, name, worker_id, **options)


@found_by("test_a_free_lane_goes_to_the_home_of_its_channel")
class DeliversWhereItCommits(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        self._homes.holder = lambda *_args, **_options: None  # type: ignore[method-assign]
        return await super().commit(commit)


@found_by("test_agents_are_placed_with_a_home_of_the_room")
class PlacesNoAgents(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, agents=()))


@found_by("test_a_lane_is_yielded_to_the_holder_whole_and_in_order")
class YieldsNothing(InMemoryStore):
    async def yield_lane(self, room_id: str, channel_id: str, *_args: Any, **_options: Any) -> Any:
        return await self.get_home(room_id, channel_id)


@found_by("test_a_lane_of_a_lost_home_is_released_for_its_grace")
class GivesNoGrace(InMemoryStore):
    async def yield_lane(self, *args: Any, **options: Any) -> Any:
        return await super().yield_lane(*args, **{**options, "grace": 0.0})


# -- followers ------------------------------------------------------------------------------------


@found_by("test_a_follower_begins_after_the_index_it_names")
class SkipsAnEventForReaders(InMemoryStore):
    async def list_events(self, *args: Any, **options: Any) -> Any:
        events = await super().list_events(*args, **options)
        return events[1:] if options.get("reader") is not None else events


@found_by("test_the_loss_of_the_room_ends_a_follower[detached]")
class KeepsDetachedBindings(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, unbind=()))


# -- files ----------------------------------------------------------------------------------------


@found_by("test_references_go_with_redaction_retention_and_the_room")
class KeepsTheFilesOfErasedEvents(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        kept = {event_id: self._media.by_event.pop(event_id, set()) for event_id in commit.redact}
        result = await super().commit(commit)
        self._media.by_event |= kept
        return result


@found_by("test_a_refused_commit_adds_no_reference")
class RefersBeforeItCommits(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        self._media.use(commit.media)
        return await super().commit(commit)


@found_by("test_a_reference_keeps_a_file")
class ForgetsFilesInUse(InMemoryStore):
    async def forget_media(self, media_ids: Collection[str]) -> int:
        return len([self._media._rooms.pop(each) for each in media_ids if each in self._media._rooms])
