"""The in-memory store's tasks."""

from __future__ import annotations

from roomkit.abc.errors import InvalidInputError, StoreError
from roomkit.abc.store import Commit
from roomkit.memory.pages import page_after
from roomkit.memory.rooms import StoredRoom
from roomkit.models.enums import TaskStatus
from roomkit.models.task import Observation, Task

__all__ = ["TaskTable"]


class TaskTable:
    """Tasks by id; a room's record has the ids of its own, in order of creation."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}  # bound: the tasks of the rooms

    def get(self, task_id: str) -> Task | None:
        """Return a task."""
        return self._tasks.get(task_id)

    def of_room(
        self, record: StoredRoom | None, status: TaskStatus | None, limit: int | None, after: str | None
    ) -> list[Task]:
        """Return a page of the tasks of a room that have that status, or of all of them."""
        ids = (record.tasks if record is not None else None) or ()
        left = page_after((self._tasks[task_id] for task_id in ids), "task", None, after)
        return page_after((each for each in left if status in (None, each.status)), "task", limit, None)

    def check(self, commit: Commit) -> None:
        """Raise the errors that the tasks and observations of a commit can have."""
        _check_kinds(commit)
        for task in commit.tasks:
            self._check_room(task)

    def put(self, record: StoredRoom, task: Task) -> None:
        """Add a task, or replace the room's task of that id. Raises StoreError: it is another room's."""
        self._check_room(task)
        if task.id not in self._tasks:
            if record.tasks is None:
                record.tasks = []  # bound: the tasks of the room
            record.tasks.append(task.id)
        self._tasks[task.id] = task

    def replace(self, task: Task) -> None:
        """Replace a task. Raises StoreError: there is none of that id, or it is another room's."""
        if task.id not in self._tasks:
            raise StoreError(f"no task {task.id!r}: add_task first")
        self._check_room(task)
        self._tasks[task.id] = task

    def forget(self, record: StoredRoom) -> None:
        """Remove the tasks of a room that is deleted."""
        for task_id in record.tasks or ():
            self._tasks.pop(task_id, None)

    def move_room(self, source: StoredRoom, into: StoredRoom) -> None:
        """Make the tasks of one room another's."""
        for task_id in source.tasks or ():
            into.tasks = into.tasks or []  # bound: the tasks of the room
            into.tasks.append(task_id)
            self._tasks[task_id] = self._tasks[task_id].replace(room_id=into.room_id)
        source.tasks = None

    def _check_room(self, task: Task) -> None:
        known = self._tasks.get(task.id)
        if known is not None and known.room_id != task.room_id:
            raise StoreError(f"task {task.id!r} is another room's, not {task.room_id!r}'s: use another id")


def _check_kinds(commit: Commit) -> None:
    for given, kind in ((commit.tasks, Task), (commit.observations, Observation)):
        for each in given:
            if not isinstance(each, kind):
                raise InvalidInputError(
                    f"a commit to room {commit.room_id!r} has {type(each).__name__} in place of "
                    f"{kind.__name__}; nothing was stored"
                )
