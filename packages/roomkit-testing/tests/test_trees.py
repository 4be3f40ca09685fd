"""Random trees of commands: two kits in memory pass, and each planted fault is found and named."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, override

import pytest

from roomkit.abc.store import Commit, Committed, Completed
from roomkit.kernel.commit import attempt, planner
from roomkit.models.delivery import DeliveryOutcome
from roomkit.models.enums import EventType
from roomkit.models.event import RoomEvent
from roomkit_plugins.testing.contracts.store.trees import TreesContract, TreeStage, kits_on
from roomkit_plugins.testing.mocks.channels import RecordingChannel
from roomkit_plugins.testing.mocks.store import SharedStore
from roomkit_plugins.testing.trees import Tree, TreeCommand, grow
from roomkit_plugins.testing.trees.commands import CARRIER


class TestTreesInMemory(TreesContract):
    """Two workers on one store in memory."""

    @pytest.fixture
    def factory(self) -> Callable[[], SharedStore]:
        return SharedStore


class LosesAnEvent(SharedStore):
    @override
    async def list_events(self, *args: Any, **kwargs: Any) -> list[RoomEvent]:
        return [each for each in await super().list_events(*args, **kwargs) if each.index != 8]


class ForgetsKeys(SharedStore):
    @override
    async def commit(self, commit: Commit) -> Committed:
        entries = [replace(each, event=each.event.replace(idempotency_key=None)) for each in commit.entries]
        return await super().commit(replace(commit, entries=entries))


class SwapsEvents(SharedStore):
    @override
    async def list_events(self, *args: Any, **kwargs: Any) -> list[RoomEvent]:
        events = await super().list_events(*args, **kwargs)
        said = [each.index for each in events if each.type is EventType.MESSAGE]
        for one, other in zip(said[::2], said[1::2], strict=False):
            events[one], events[other] = (
                events[other].replace(index=one),
                events[one].replace(index=other),
            )
        return events


class NeverEnds(SharedStore):
    @override
    async def complete(self, outcomes: Sequence[DeliveryOutcome], **kwargs: Any) -> Completed:
        kept = [each for each in outcomes if each.channel_id != CARRIER or each.event_index % 3]
        return await super().complete(kept, **kwargs)

    @override
    async def commit(self, commit: Commit) -> Committed:
        kept = [each for each in commit.completed if each.channel_id != CARRIER or each.event_index % 3]
        return await super().commit(replace(commit, completed=kept))


class BelievesAnyWorker(SharedStore):
    @override
    async def complete(self, outcomes: Sequence[DeliveryOutcome], **kwargs: Any) -> Completed:
        result = await super().complete(outcomes, **kwargs)
        for row in outcomes:
            if row.id in result.refused:
                self._ledger._rows[row.id] = row
        return result


class IgnoresChanges(SharedStore):
    """A change between a draft's reading of the room and its commit is overlooked."""

    @override
    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(replace(commit, expected_version=None))


class SendsToAll(SharedStore):
    @override
    async def commit(self, commit: Commit) -> Committed:
        entries = [
            replace(each, targets=[*each.targets, CARRIER])
            if each.event.visibility == "internal" and each.event.type is EventType.MESSAGE
            else each
            for each in commit.entries
        ]
        return await super().commit(replace(commit, entries=entries))


def _obeys_no_mute(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(attempt, "may_write", lambda binding: None)


def _obeys_no_ban(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planner, "may_speak", lambda record, event: None)


def _lets_anybody_edit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planner, "may_amend", lambda record, event, target: None)


def _nothing(patch: pytest.MonkeyPatch) -> None:
    """Leave the kernel as it is: the fault is the store's."""


@pytest.mark.parametrize(
    ("store", "plant", "kinds"),
    [
        (LosesAnEvent, _nothing, {"lost", "gap"}),
        (ForgetsKeys, _nothing, {"doubled"}),
        (SwapsEvents, _nothing, {"swapped", "out_of_order"}),
        (NeverEnds, _nothing, {"open"}),
        (BelievesAnyWorker, _nothing, {"fenced"}),
        (IgnoresChanges, _nothing, {"muted", "read_only", "not_attached", "after_close", "banned"}),
        (SendsToAll, _nothing, {"not_planned"}),
        (SharedStore, _obeys_no_mute, {"muted", "read_only"}),
        (SharedStore, _obeys_no_ban, {"banned", "not_attached"}),
        (SharedStore, _lets_anybody_edit, {"not_author", "amends_nothing"}),
    ],
)
async def test_a_planted_fault_is_found_and_named(
    store: type[SharedStore],
    plant: Callable[[pytest.MonkeyPatch], None],
    kinds: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A seeded run finds each, within fifty trees."""
    plant(monkeypatch)
    shared, haunted = store(), store is BelievesAnyWorker
    stage = TreeStage(shared, patience=3.0 if haunted else 0.5)
    for kit in kits_on([shared, shared]):
        stage.add(kit, RecordingChannel(CARRIER), {})
        await kit.start()
    with pytest.raises(AssertionError) as raised:
        await _check_many(stage, haunted=haunted)
    found = {line.partition(":")[0] for line in str(raised.value).splitlines()[1:]}
    assert found & kinds, raised.value
    for kit in stage.kits:
        await kit.close()


async def _check_many(stage: TreeStage, *, haunted: bool) -> None:
    for seed in range(50):
        branches = grow(random.Random(seed).choice, length=8)
        await stage.check(Tree.named(f"t{seed}", branches, haunted=haunted))


def test_a_command_travels_as_json() -> None:
    """Children, labels and all: other processes carry it out."""
    inner = TreeCommand(kind="mute", channel=CARRIER, inside="turn")
    (tree,) = Tree.named("t", ((TreeCommand(kind="say", answered=True, children=(inner,)),),)).branches
    assert TreeCommand.of_json(tree[0].as_json()) == tree[0]
    assert [each.label for each in tree[0].walk()] == ["t:0.0", "t:0.0.0"]


def test_a_seed_grows_the_same_tree_again() -> None:
    """So that a failure can be played again."""
    assert grow(random.Random(5).choice) == grow(random.Random(5).choice)
