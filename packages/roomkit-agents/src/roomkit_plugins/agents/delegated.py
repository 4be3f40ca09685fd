"""Delegated tasks: what becomes of them, and how their results come back."""

from __future__ import annotations

from dataclasses import dataclass

from roomkit.models.base import EMPTY, Json, Record
from roomkit.models.enums import TaskStatus
from roomkit.models.values import Key, Reference, Text
from roomkit_plugins.agents.kinds import check_kind

__all__ = ["ContextOnlyDelivery", "DelegatedTaskResult", "ImmediateDelivery"]


class DelegatedTaskResult(Record):
    """What became of a delegated task; the payload of ON_TASK_COMPLETED.

    `output` is what the agent answered, and `data` that as a JSON object where it is one. Of a task that
    failed, `error` says why. `duration_ms` counts from the delegation.
    """

    task_id: Reference
    child_room_id: Key
    parent_room_id: Key
    agent_id: Key
    status: TaskStatus = TaskStatus.COMPLETED
    output: Text | None = None
    data: Json | None = None
    error: Text | None = None
    duration_ms: float = 0.0
    metadata: Json = EMPTY


@dataclass(slots=True, frozen=True)
class ImmediateDelivery:
    """The agent that delegated is asked once the result is there; `prompt` says what to do with it."""

    prompt: str | None = None

    def __post_init__(self) -> None:
        check_kind("ImmediateDelivery", "prompt", self.prompt, str | None)


@dataclass(slots=True, frozen=True)
class ContextOnlyDelivery:
    """The result waits in the history of the agent that delegated, until it is asked the next time."""
