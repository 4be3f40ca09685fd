"""Tasks that a program adds and changes: seen by observers, and no concurrent change is lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from roomkit.abc.errors import InvalidInputError, RoomClosedError, RoomNotFoundError, TaskNotFoundError
from roomkit.models import EventType, HookResult, HookTrigger, Task, TaskStatus

pytestmark = pytest.mark.virtual_time
MADE = datetime(2030, 1, 1, tzinfo=UTC)
CREATED, UPDATED = HookTrigger.ON_TASK_CREATED, HookTrigger.ON_TASK_UPDATED


def task(**fields: Any) -> Task:
    return Task(**{"id": "t1", "room_id": "r1", "title": "call back", "created_at": MADE, **fields})


def done(found: Task) -> Task:
    return found.replace(status=TaskStatus.COMPLETED)


def counted(found: Task) -> Task:
    return found.replace(metadata={"n": found.metadata.get("n", 0) + 1})


async def test_observers_see_a_task_added_and_changed(stage: Any) -> None:
    """Once each; a change that changes nothing is none."""
    created, updated = stage.observe(CREATED), stage.observe(UPDATED)
    assert await stage.kit.add_task(task()) == task()
    assert (await stage.kit.update_task("t1", done)).status is TaskStatus.COMPLETED
    await stage.kit.update_task("t1", done)
    assert await stage.kit.list_tasks("r1") == [done(task())]
    assert [event.type for event in (*created, *updated)] == [EventType.TASK_CREATED, EventType.TASK_UPDATED]
    assert {event.content.data["task_id"] for event in (*created, *updated)} == {"t1"}
    assert await stage.timeline(messages=False) == []


async def test_no_concurrent_change_of_a_task_is_lost(stage: Any) -> None:
    """Also beside messages of its room."""
    await stage.socket("alice")
    await stage.kit.add_task(task())
    changes = [stage.kit.update_task("t1", counted) for _ in range(40)]
    await asyncio.gather(*changes, *(stage.say() for _ in range(5)))
    assert (await stage.kit.list_tasks("r1"))[0].metadata == {"n": 40}


async def test_a_gate_changes_a_task_of_its_room(stage: Any) -> None:
    await stage.socket("alice")
    await stage.kit.add_task(task())

    async def gate(event: Any, context: Any) -> HookResult:
        await stage.kit.update_task("t1", done)
        return HookResult.allow()

    stage.kit.hook(HookTrigger.BEFORE_BROADCAST)(gate)
    updated = stage.observe(UPDATED)
    result = await stage.say()
    await stage.idle()
    assert not result.blocked
    assert len(updated) == 1


async def test_what_cannot_be_is_refused(stage: Any) -> None:
    """The error says what to do; nothing is stored."""
    kit = stage.kit
    with pytest.raises(RoomNotFoundError):
        await kit.add_task(task(room_id="r9"))
    with pytest.raises(TaskNotFoundError, match="list_tasks"):
        await kit.update_task("t1", done)
    await kit.add_task(task())
    with pytest.raises(InvalidInputError, match="exists already"):
        await kit.add_task(task(title="another"))
    with pytest.raises(InvalidInputError, match="another id or room"):
        await kit.update_task("t1", lambda found: found.replace(id="t2"))
    with pytest.raises(InvalidInputError, match="has to be Task"):
        await kit.update_task("t1", lambda found: None)
    await kit.close_room("r1")
    with pytest.raises(RoomClosedError):
        await kit.add_task(task(id="t2"))
    assert await kit.list_tasks("r1") == [task()]
    await kit.update_task("t1", done)
    assert await kit.list_tasks("r1") == [done(task())]


async def test_an_organization_changes_its_own_tasks_alone(stage: Any) -> None:
    """Another's task is as one that is not there."""
    kit = stage.kit
    await kit.create_room("a1", organization_id="a")
    added = await kit.for_organization("a").add_task(task(room_id="a1"))
    with pytest.raises(TaskNotFoundError):
        await kit.for_organization("b").update_task(added.id, done)
    with pytest.raises(RoomNotFoundError):
        await kit.for_organization("b").add_task(task(id="t2", room_id="a1"))
    assert (await kit.for_organization("a").update_task(added.id, done)).status is TaskStatus.COMPLETED
