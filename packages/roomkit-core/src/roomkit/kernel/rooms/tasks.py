"""The tasks of a room."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError, TaskNotFoundError
from roomkit.abc.records import checked
from roomkit.kernel.flow.notes import note
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.rooms.checks import check_open
from roomkit.models.enums import EventType, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.task import Task

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.rooms.changes import RoomChanges


__all__ = ["RoomTasks"]


class RoomTasks:
    """Adds and changes tasks, and shows them to the observers."""

    def __init__(
        self, *, store: ConversationStore, clock: Clock, writer: Writer, changes: RoomChanges
    ) -> None:
        self._store = store
        self._clock = clock
        self._writer = writer
        self._changes = changes

    async def add(self, task: Task) -> Task:
        """Add a task to an open room, and show it to the observers."""

        async def work() -> None:
            check_open(await self._changes.room(task.room_id), f"task {task.id!r} cannot be added")
            if await self._store.get_task(task.id) is not None:
                raise InvalidInputError(f"task {task.id!r} exists already: update_task changes it")
            await self._put_task(task, None)

        await self._writer.exclusively(task.room_id, work)
        await self._changes.observe(HookTrigger.ON_TASK_CREATED, _task_note(task, EventType.TASK_CREATED))
        return task

    async def update(self, task_id: str, fn: Callable[[Task], Task]) -> Task:
        """Replace a task by what `fn` makes of it, and show it to the observers if it changed."""
        known = await self._task(task_id)
        before, after = await self._changes.retried(
            known.room_id, partial(self._replace_task, known, fn), f"task {task_id!r}"
        )
        if after != before:
            await self._changes.observe(
                HookTrigger.ON_TASK_UPDATED, _task_note(after, EventType.TASK_UPDATED)
            )
        return after

    async def _task(self, task_id: str) -> Task:
        found = await self._store.get_task(task_id)
        if found is None:
            raise TaskNotFoundError(f"no task {task_id!r}: list_tasks shows those of a room")
        return found

    async def _replace_task(self, known: Task, fn: Callable[[Task], Task]) -> tuple[Task, Task]:
        room = await self._changes.room(
            known.room_id
        )  # before the task, whose later changes make this version stale
        before = await self._task(known.id)
        after = checked(fn(before), Task, f"made of task {known.id!r} by update_task")
        if (after.id, after.room_id) != (before.id, before.room_id):
            raise InvalidInputError(f"task {known.id!r} cannot get another id or room: add_task adds another")
        if after != before:
            await self._put_task(after, room.version)
        return before, after

    async def _put_task(self, task: Task, version: int | None) -> None:
        commit = QuietCommit(
            room_id=task.room_id, at=self._clock.now(), expected_version=version, tasks=(task,)
        )
        await self._store.commit(commit)


def _task_note(task: Task, kind: EventType) -> RoomEvent:
    """Return the event that observers of tasks are shown; it is not stored."""
    return note(task.room_id, kind, str(kind), task.title, task_id=task.id, task_title=task.title)
