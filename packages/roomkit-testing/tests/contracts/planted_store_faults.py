"""Stores with one fault each, and the contract test that must find it.

Here: records of rooms, people and tasks.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from planting import SteppedStore, planted

from roomkit.abc.errors import (
    DuplicateEventError,
    InvalidInputError,
)
from roomkit.abc.store import Commit, Committed, Completed, DeliveryQuery, HomeRecord
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import EMPTY
from roomkit.models.delivery import Delivery, DeliveryOutcome, DeliveryStatus
from roomkit.models.enums import ReceiptState
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


# -- fields -----------------------------------------------------------------------------------------


@found_by("test_every_field_of_an_event_is_kept")
class ForgetsAFieldOfEvents(InMemoryStore):
    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        for each in result.events:
            self._events[each.id] = each.replace(channel_data=each.channel_data.replace(extra=EMPTY))
        return result


@found_by("test_how_much_was_heard_is_kept_beside_the_event")
class ForgetsWhatWasHeardBefore(SteppedStore):
    async def commit(self, commit: Commit) -> Committed:
        for each in commit.heard:
            event = self._events[each.event_id]
            generation = (event.generation or Generation()).replace(heard=())
            self._put_event(self._record(commit.room_id), event.replace(generation=generation))
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
class ForgetsAFieldOfRows(SteppedStore):
    def _complete(self, outcomes: Sequence[DeliveryOutcome], *rest: Any) -> Completed:
        return super()._complete([replace(row, duration_ms=None) for row in outcomes], *rest)


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


# -- rooms, people, work ----------------------------------------------------------------------------


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
class SharesKeysBetweenOrganizations(SteppedStore):
    def _check_new(self, record: Any, entry: Any) -> None:
        for (_, taken), event_id in self._timelines._wide_keys.items():
            if entry.key_spans_rooms and taken == entry.event.idempotency_key:
                raise DuplicateEventError("taken", self._events[event_id])
        super()._check_new(record, entry)


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
    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> int:
        mark = await super().mark_read(room_id, channel_id, event_id)
        self._rooms[room_id].marks = {channel_id: self._events[event_id].index}
        return mark


@found_by("test_deleting_a_room_removes_all_that_belongs_to_it")
class LeavesTasksBehind(InMemoryStore):
    async def delete_room(self, room_id: str) -> bool:
        tasks = dict(self._tasks._tasks)
        deleted = await super().delete_room(room_id)
        self._tasks._tasks.update(tasks)
        return deleted


@found_by("test_a_tasks_id_is_one_rooms", "test_a_commit_with_another_rooms_task_writes_nothing")
class MovesTasks(SteppedStore):
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


# -- tenants ----------------------------------------------------------------------------------------

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


# -- rooms in memory --------------------------------------------------------------------------------


class Recalling(InMemoryStore):
    """A store that has the rooms in memory that were loaded."""

    def __init__(self) -> None:
        super().__init__()
        self._recalled: dict[str, Any] = {}

    async def load(self, room_id: str, *, recent: int = 0, key: str | None = None) -> Any:
        record = await super().load(room_id, recent=recent, key=key)
        if record is not None:
            self._recalled[room_id] = self._remembered(record)
        return record

    def _remembered(self, record: Any) -> Any:
        return record

    def recall(self, room_id: str, *, recent: int = 0) -> Any:
        return self._recalled.get(room_id)


@found_by("test_a_commit_brings_what_others_added_before_it[3]")
class RecallsTheMessagesThatItRead(Recalling):
    def _remembered(self, record: Any) -> Any:
        read = list(record.recent(1000))
        return Altered(record, recent=lambda limit: read[-limit:])


@found_by("test_a_commit_that_expects_no_version_leaves_nothing_outdated[person]")
class RecallsThePeopleThatItRead(Recalling):
    def _remembered(self, record: Any) -> Any:
        return Altered(record, participants=dict(record.participants))


@found_by("test_a_room_that_others_deleted_takes_no_commit")
class RecallsADeletedRoom(Recalling):
    """Deleted records are in memory still."""
