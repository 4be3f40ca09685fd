"""Stores with one fault each, and the contract test that must find it.

Here: erasure, moves and references to files.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from planting import SteppedStore, planted

from roomkit.abc.errors import (
    StaleRoomError,
)
from roomkit.abc.store import Commit, Committed, Move
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import TextContent
from roomkit.models.enums import EventType
from roomkit.models.event import RoomEvent
from roomkit_plugins.testing.contracts import ConversationStoreContract

pytestmark = pytest.mark.virtual_time  # a fault that hangs is found in no time

found_by = partial(planted, ConversationStoreContract)


# -- erasure ----------------------------------------------------------------------------------------


class Leaving(SteppedStore):
    """A store that leaves something of redacted events; `left` says what."""

    left: Callable[[RoomEvent, RoomEvent], RoomEvent]

    async def commit(self, commit: Commit) -> Committed:
        before = [self._events.get(event_id) for event_id in commit.redact]
        result = await super().commit(commit)
        for event in filter(None, before):
            after = type(self).left(event, self._events[event.id])
            self._put_event(self._record(commit.room_id), after)
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


# -- moves ------------------------------------------------------------------------------------------


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
class MovesWhatIsPending(SteppedStore):
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


class Pruning(SteppedStore):
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

    def _put_event(self, record: Any, event: RoomEvent) -> None:
        self._events[event.id] = event


# -- files ------------------------------------------------------------------------------------------


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
