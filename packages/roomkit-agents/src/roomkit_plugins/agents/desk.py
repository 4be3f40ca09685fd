"""The channel that takes the results of delegated tasks back to the rooms that they came from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.channel import Channel
from roomkit.abc.errors import RoomClosedError, TaskNotFoundError
from roomkit.abc.log import get_logger
from roomkit.models.base import freeze
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import text_of
from roomkit.models.enums import ChannelType, HookTrigger, TaskStatus
from roomkit.models.event import SYSTEM_CHANNEL_ID
from roomkit_plugins.agents.delegated import DelegatedTaskResult
from roomkit_plugins.agents.notes import note_to
from roomkit_plugins.agents.state import NAMESPACE
from roomkit_plugins.ai.schema import check_arguments

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.ai import AITool
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent
    from roomkit.models.task import Task
    from roomkit.models.timer import Timer

__all__ = ["DESK", "TaskDesk", "result_of"]

DESK = "agent-tasks"
"""The id of the channel in rooms of delegated tasks."""
OPEN = (TaskStatus.PENDING, TaskStatus.IN_PROGRESS)
_log = get_logger("roomkit.agents")

type OnComplete = Callable[[DelegatedTaskResult], Awaitable[None]]


class TaskDesk(Channel):
    """Takes an agent's answer in the room of its task as the result of that.

    It is a recipient like any other: the ledger has the delivery, and another worker retries it if this one
    is killed. The first answer counts.
    """

    channel_type = ChannelType(NAMESPACE)

    def __init__(self, kit: RoomKit) -> None:
        super().__init__(DESK)
        self._kit = kit
        self.waiting: dict[str, asyncio.Event] = {}  # bound: the tasks that this process waits for
        self.callbacks: dict[str, OnComplete] = {}  # bound: the open tasks that this process delegated

    @override
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Make an event of a message; none comes this way."""
        return self.event_of(message, context)

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        """Take the answer of the task's agent as its result."""
        task = (context.room.state.get(NAMESPACE) or {}).get("task")
        if task is None or event.source.channel_id != task["agent"] or event.visibility != "all":
            return ChannelOutput.skipped("no_result")
        await self.finish(task["id"], answer=text_of(event.content))
        return ChannelOutput.empty()

    async def overdue(self, timer: Timer) -> datetime | None:
        """Fail a task that has no result in time, and stop its agent."""
        with suppress(TaskNotFoundError):  # erased with its room
            await self.finish(timer.data["task"], error="no result in time")
        return None

    async def finish(
        self, task_id: str, *, answer: str | None = None, error: str | None = None, cancelled: bool = False
    ) -> bool:
        """End a task; False if it had ended before. Its result is posted once, however often it is ended."""
        now = self._kit.clock.now()
        changed = False

        def end(task: Task) -> Task:
            nonlocal changed
            changed = task.status in OPEN
            return _ended(task, now, answer, error, cancelled=cancelled) if changed else task

        task = await self._kit.update_task(task_id, end)
        await self._report(task)
        if changed:
            await self._notify(task)
        if task_id in self.waiting:
            self.waiting[task_id].set()
        return changed

    async def _report(self, task: Task) -> None:
        """Post the result to the room that the task came from, and end the room of the task."""
        about = task.metadata
        await self._kit.services_of(NAMESPACE).timers.cancel(task.id)
        if task.status is not TaskStatus.CANCELLED and about.get("notify"):
            note = note_to(
                about["notify"],
                task.room_id,
                _words(task),
                asks=about["asks"],
                on_behalf_of=about.get("on_behalf_of"),
                key=f"task:{task.id}",
            )
            try:
                await self._kit.send_event(task.room_id, SYSTEM_CHANNEL_ID, note, wait="committed")
            except RoomClosedError:
                _log.warning("task %s: its room %s is closed and gets no result", task.id, task.room_id)
        with suppress(RoomClosedError):
            await self._kit.services_of(NAMESPACE).turns.interrupt(about["child"], reason="cancelled")
            await self._kit.close_room(about["child"])

    async def _notify(self, task: Task) -> None:
        result = result_of(task)
        await self._kit.services_of(NAMESPACE).turns.observe(
            HookTrigger.ON_TASK_COMPLETED, result, room_id=task.room_id
        )
        callback = self.callbacks.pop(task.id, None)
        if callback is not None:
            await callback(result)


def _ended(task: Task, now: datetime, answer: str | None, error: str | None, *, cancelled: bool) -> Task:
    data = _object(answer)
    error = error or _unfit(task, data)
    status = TaskStatus.CANCELLED if cancelled else TaskStatus.FAILED if error else TaskStatus.COMPLETED
    took = (now - task.created_at).total_seconds() * 1000
    made = {"output": answer, "data": data, "error": error, "duration_ms": took}
    return task.replace(status=status, metadata=freeze({**task.metadata, **made}))


def _object(answer: str | None) -> Mapping[str, Any] | None:
    """Return the JSON object that an answer is, also in a fenced block; None if it is none."""
    text = (answer or "").strip()
    if text.startswith("```"):
        text = text.partition("\n")[2].rpartition("```")[0]
    try:
        found = json.loads(text)
        return found if isinstance(found, dict) else None
    except ValueError:
        return None


def _unfit(task: Task, data: Mapping[str, Any] | None) -> str | None:
    """Return why an answer does not fit the schema of its task; None if it does."""
    schema = task.metadata.get("schema")
    if schema is None:
        return None
    if data is None:
        return "the answer is no JSON object"
    problems = check_arguments(_as_tool(schema), data)
    return "; ".join(problems) or None


def _as_tool(schema: Mapping[str, Any]) -> AITool:
    from roomkit.models.ai import AITool

    return AITool(name="result", description="", parameters=schema)


def _words(task: Task) -> str:
    about = task.metadata
    if task.status is TaskStatus.FAILED:
        outcome = f"failed: {about['error']}"
    else:
        outcome = f"has this result: {about['output']}"
    then = f" {about['prompt']}" if about.get("prompt") else ""
    return f"[The task that {task.assigned_to} was given, {task.description!r}, {outcome}]{then}"


def result_of(task: Task) -> DelegatedTaskResult:
    """Return what became of a task that has ended."""
    about = task.metadata
    return DelegatedTaskResult(
        task_id=task.id,
        child_room_id=about["child"],
        parent_room_id=task.room_id,
        agent_id=task.assigned_to or "",
        status=task.status,
        output=about.get("output"),
        data=about.get("data"),
        error=about.get("error"),
        duration_ms=about.get("duration_ms", 0.0),
        metadata=about.get("context", {}),
    )
