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
    async def list_tasks(self, room_id: str, status: TaskStatus | None = None) -> list[Task]:
        """Return the tasks of a room."""

    @abstractmethod
    async def add_observation(self, observation: Observation) -> Observation:
        """Add, or replace the observation of that id."""

    @abstractmethod
    async def list_observations(self, room_id: str) -> list[Observation]:
        """Return the observations of a room."""
