"""Tasks and observations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.enums import TaskStatus
    from roomkit.models.task import Observation, Task

__all__ = ["WorkStore"]


class WorkStore(ABC):
    """The tasks and observations of rooms."""

    @abstractmethod
    async def add_task(self, task: Task) -> Task:
        """Add, or replace the task of that id. Raises StoreError when it is another room's."""

    @abstractmethod
    async def get_task(self, task_id: str, *, organization_id: str | None = None) -> Task | None:
        """Return a task."""

    @abstractmethod
    async def update_task(self, task: Task) -> Task:
        """Replace an existing task. Raises StoreError when there is none."""

    @abstractmethod
    async def list_tasks(
        self,
        room_id: str,
        status: TaskStatus | None = None,
        *,
        limit: int | None = None,
        after: str | None = None,
    ) -> list[Task]:
        """Return a page of a room's tasks in order of insertion, all of them without a limit.

        `after` is the id of the last task of the page before, whatever its status. Raises StoreError when
        the room has no such task. An unknown room has none.
        """

    @abstractmethod
    async def add_observation(self, observation: Observation) -> Observation:
        """Add, or replace the observation of that id."""

    @abstractmethod
    async def list_observations(
        self, room_id: str, *, limit: int | None = None, after: str | None = None
    ) -> list[Observation]:
        """Return a page of a room's observations, as `list_tasks` does."""
