"""Work that an agent gives to another one, done in a room of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import ChannelNotRegisteredError, InvalidInputError, RoomAlreadyExistsError
from roomkit.authoring.conversation import attributed
from roomkit.models.ai import AITool
from roomkit.models.base import EMPTY, new_id
from roomkit.models.content import text_of
from roomkit.models.enums import ChannelCategory, HookTrigger, TaskStatus
from roomkit.models.event import SYSTEM_CHANNEL_ID
from roomkit.models.task import Task
from roomkit_plugins.agents.delegated import ContextOnlyDelivery, DelegatedTaskResult, ImmediateDelivery
from roomkit_plugins.agents.desk import DESK, OPEN, OnComplete, TaskDesk, result_of
from roomkit_plugins.agents.kinds import check_kind, check_names
from roomkit_plugins.agents.notes import note_to
from roomkit_plugins.agents.state import NAMESPACE, get_conversation_state
from roomkit_plugins.ai.running import current_tool_call
from roomkit_plugins.ai.schema import thawed
from roomkit_plugins.ai.tools import RunnableTool

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.event import RoomEvent
    from roomkit_plugins.ai.channel import AIChannel

__all__ = [
    "DELEGATE_TOOL",
    "DelegateHandler",
    "DelegatedTask",
    "build_delegate_tool",
    "delegate",
    "setup_delegation",
]

NAME = "delegate_task"
MAX_DEPTH = 3
"""How deep tasks may be delegated from tasks."""
MAX_INHERITED = 50
_STRATEGIES = ImmediateDelivery | ContextOnlyDelivery
_LOOK_EVERY = 1.0
"""After how many seconds a task is read again that another worker may have ended."""


class DelegatedTask:
    """A delegated task. `status` and `result` are as they were when it was last read."""

    def __init__(self, kit: RoomKit, desk: TaskDesk, task: Task) -> None:
        self._kit = kit
        self._desk = desk
        self._task = task

    @property
    def id(self) -> str:
        """The id of the task, in `kit.list_tasks`, too."""
        return self._task.id

    @property
    def child_room_id(self) -> str:
        """The room in which it is done."""
        return str(self._task.metadata["child"])

    @property
    def parent_room_id(self) -> str:
        """The room that it came from."""
        return self._task.room_id

    @property
    def agent_id(self) -> str:
        """The agent that does it."""
        return self._task.assigned_to or ""

    @property
    def task(self) -> str:
        """The text of the task."""
        return self._task.description or ""

    @property
    def status(self) -> TaskStatus:
        """Whether it is done."""
        return self._task.status

    @property
    def result(self) -> DelegatedTaskResult | None:
        """What became of it; None until it has ended."""
        return None if self._task.status in OPEN else result_of(self._task)

    async def wait(self, timeout: float | None = None) -> DelegatedTaskResult:
        """Return what became of the task, once it has ended. Raises TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            ended = self._desk.waiting.setdefault(self.id, asyncio.Event())
            try:
                while (result := await self._read()) is None:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(ended.wait(), _LOOK_EVERY)
            finally:
                self._desk.waiting.pop(self.id, None)
        return result

    async def _read(self) -> DelegatedTaskResult | None:
        tasks = await self._kit.list_tasks(self.parent_room_id)
        self._task = next((each for each in tasks if each.id == self.id), self._task)
        return self.result

    async def cancel(self) -> bool:
        """Stop the task: its agent is interrupted, and no result is posted. False if it had ended before."""
        changed = await self._desk.finish(self.id, error="cancelled", cancelled=True)
        await self._read()
        return changed


async def delegate(
    kit: RoomKit,
    room_id: str,
    agent_id: str,
    task: str,
    *,
    context: Mapping[str, Any] | None = None,
    inherit: int = 0,
    notify: str | None = None,
    on_complete: OnComplete | None = None,
    delivery_strategy: ImmediateDelivery | ContextOnlyDelivery = ImmediateDelivery(),  # noqa: B008  # frozen
    schema: Mapping[str, Any] | None = None,
    within: timedelta = timedelta(minutes=15),
    key: str | None = None,
    on_behalf_of: str | None = None,
) -> DelegatedTask:
    """Have an agent do a task in a room of its own; the first thing that it answers there is the result.

    The agent reads the `task`, the `context` (JSON values), and the last `inherit` messages (at most 50) of
    the room that `notify` may see. `notify` is the agent of the room that gets the result, by default the one
    that has the conversation; `delivery_strategy` says whether it is asked at once. The result is posted
    once, also if workers are killed; `on_complete` is awaited only if this process ends the task. With
    `schema`, a JSON Schema of an object, another answer fails the task; so does none `within` that time. A
    `key` makes it one task however often it is delegated.

    Raises RoomNotFoundError, RoomClosedError, ChannelNotRegisteredError, and InvalidInputError for what
    cannot be stored, or for tasks from tasks more than 3 deep.
    """
    check_names("a task", "agent_id and task", (agent_id, task))
    check_kind("a task", "delivery_strategy", delivery_strategy, _STRATEGIES)
    check_kind("a task", "schema", schema, Mapping | None)
    _check_within(within)
    room = await kit.get_room(room_id)
    _check_agent(kit, agent_id)
    depth = ((room.state.get(NAMESPACE) or {}).get("task") or {}).get("depth", 0) + 1
    if depth > MAX_DEPTH:
        raise InvalidInputError(
            f"{task!r} cannot be delegated from room {room_id!r}: that is a task {MAX_DEPTH} deep; "
            "do it there"
        )
    notify = notify or get_conversation_state(room).active_agent_id
    _check_inherited(inherit, notify)
    desk = desk_of(kit)
    task_id = f"task-{key or new_id()}"
    made = Task(
        id=task_id,
        room_id=room_id,
        title=task[:100],
        description=task,
        assigned_to=agent_id,
        status=TaskStatus.IN_PROGRESS,
        created_at=kit.clock.now(),
        metadata={
            "child": task_id,
            "notify": notify,
            "asks": isinstance(delivery_strategy, ImmediateDelivery),
            "prompt": getattr(delivery_strategy, "prompt", None),
            "context": dict(context or {}),
            "schema": schema,
            "on_behalf_of": on_behalf_of,
        },
    )
    known = [each for each in await kit.list_tasks(room_id) if each.id == task_id]
    if known and known[0].status not in OPEN:
        return DelegatedTask(kit, desk, known[0])
    if on_complete is not None:
        desk.callbacks[task_id] = on_complete
    due = made.created_at + within
    await kit.services_of(NAMESPACE).timers.set(
        "overdue", due, id=task_id, room_id=room_id, data={"task": task_id}
    )
    if not known:
        made = await kit.add_task(made)
        await kit.services_of(NAMESPACE).turns.observe(HookTrigger.ON_TASK_DELEGATED, made, room_id=room_id)
    await _open_room(kit, made, room.organization_id, depth)
    words = [task, *await _context(kit, room_id, notify, inherit, context), *_form(schema)]
    note = note_to(agent_id, task_id, "\n\n".join(words), on_behalf_of=on_behalf_of, key=f"task:{task_id}")
    await kit.send_event(task_id, SYSTEM_CHANNEL_ID, note, wait="committed")
    return DelegatedTask(kit, desk, made)


def desk_of(kit: RoomKit) -> TaskDesk:
    """Return the channel that takes results back, which the plugin has registered."""
    desk = kit.get_channel(DESK)
    if not isinstance(desk, TaskDesk):
        raise ChannelNotRegisteredError(
            f"tasks cannot be delegated: channel {DESK!r} is not registered; start the kit with the "
            "plugin 'agents' installed"
        )
    return desk


def _check_within(within: timedelta) -> None:
    check_kind("a task", "within", within, timedelta)
    if within <= timedelta():
        raise InvalidInputError(f"a task cannot be done within {within}: give it some time")


def check_terms(owner: str, within: timedelta, inherit: int, schemas: Mapping[str, object]) -> None:
    """Check how tasks are to be delegated. Raises InvalidInputError."""
    _check_within(within)
    check_kind(owner, "inherit", inherit, int)
    _check_count(inherit)
    check_kind(owner, "schemas", schemas, Mapping)
    for agent_id, schema in schemas.items():
        check_kind(owner, f"the schema of {agent_id!r} in schemas", schema, Mapping)


def _check_count(inherit: int) -> None:
    if not 0 <= inherit <= MAX_INHERITED:
        raise InvalidInputError(f"a task inherits 0 to {MAX_INHERITED} messages, not {inherit}")


def _check_inherited(inherit: int, notify: str | None) -> None:
    _check_count(inherit)
    if inherit and notify is None:
        raise InvalidInputError(
            "a task inherits messages that `notify` may see, and no agent has the conversation: give notify"
        )


def _check_agent(kit: RoomKit, agent_id: str) -> None:
    channel = kit.get_channel(agent_id)
    if channel is None or channel.category is not ChannelCategory.INTELLIGENCE:
        raise ChannelNotRegisteredError(
            f"no agent {agent_id!r} is registered to do the task: register_channel first"
        )


async def _open_room(kit: RoomKit, task: Task, organization_id: str | None, depth: int) -> None:
    """Make the room of a task, with its agent; one that is there stays as it is."""
    about = {"parent_room_id": task.room_id}
    with suppress(RoomAlreadyExistsError):
        await kit.create_room(task.id, about, organization_id=organization_id)
    for channel_id in (DESK, task.assigned_to or ""):
        await kit.attach_channel(task.id, channel_id)
    own = {"id": task.id, "agent": task.assigned_to, "depth": depth}
    await kit.change_state(
        task.id, NAMESPACE, lambda state: {**(state or {}), "task": own, "strategy": task.id}
    )


async def _context(
    kit: RoomKit, room_id: str, notify: str | None, inherit: int, context: Mapping[str, Any] | None
) -> Sequence[str]:
    words = []
    if context:
        words.append(f"Context: {json.dumps(dict(context), ensure_ascii=False, default=str)}")
    if inherit > 0 and notify is not None:
        said = [
            attributed(each.source.participant_id or each.source.channel_id, text_of(each.content))
            for each in await _newest_messages(kit, room_id, notify, inherit)
        ]
        words.append("The conversation so far:\n" + "\n".join(said))
    return words


async def _newest_messages(kit: RoomKit, room_id: str, reader: str, count: int) -> list[RoomEvent]:
    """Return the newest messages with a text that a channel may see, oldest first."""
    found: list[RoomEvent] = []
    before = None
    while len(found) < count:
        page = await kit.get_timeline(room_id, before_index=before, as_channel=reader, newest_first=True)
        if not page:
            break
        found += [each for each in page if each.is_history and text_of(each.content)]
        before = page[-1].index
    return found[:count][::-1]


def _form(schema: Mapping[str, Any] | None) -> Sequence[str]:
    if schema is None:
        return ()
    return (f"Answer with one JSON object and nothing else. Its schema: {json.dumps(dict(schema))}",)


# -- the tool -------------------------------------------------------------------------------------


def _tool(agent: Mapping[str, Any], about: str) -> AITool:
    return AITool(
        name=NAME,
        description=f"Give a task to another agent. You get its result later; continue without it.{about}",
        parameters={
            "type": "object",
            "properties": {
                "agent": agent,
                "task": {"type": "string", "description": "What to do, with all that is needed for it."},
                "context": {"type": "object", "description": "Facts for the task."},
            },
            "required": ["agent", "task"],
        },
    )


DELEGATE_TOOL = _tool({"type": "string", "description": "The id of the agent."}, "")
"""The tool by which an agent gives a task to any registered agent."""


def build_delegate_tool(targets: Sequence[tuple[str, str | None]]) -> AITool:
    """Return the tool for these agents, each with what it does; without any, `DELEGATE_TOOL`."""
    if not targets:
        return DELEGATE_TOOL
    described = "".join(f"\n- {agent_id}: {about or 'no description'}" for agent_id, about in targets)
    return _tool({"type": "string", "enum": [agent_id for agent_id, _ in targets]}, described)


class DelegateHandler:
    """Delegates what agents ask for by `delegate_task`.

    `notify` is the agent that gets the results, by default the one that calls. The other agent reads the last
    `inherit` messages that it may see. `schemas` has JSON Schemas by agents: the shapes of their results. A
    task is not delegated on behalf of a person whose role the tool policy of the other agent restricts, as no
    person is in its room. Raises InvalidInputError.
    """

    def __init__(
        self,
        kit: RoomKit,
        *,
        notify: str | None = None,
        delivery_strategy: ImmediateDelivery | ContextOnlyDelivery | None = None,
        within: timedelta = timedelta(minutes=15),
        inherit: int = 0,
        schemas: Mapping[str, Mapping[str, Any]] = EMPTY,
    ) -> None:
        check_kind("DelegateHandler", "notify", notify, str | None)
        check_kind("DelegateHandler", "delivery_strategy", delivery_strategy, _STRATEGIES | None)
        check_terms("DelegateHandler", within, inherit, schemas)
        self._kit = kit
        self._notify = notify
        self._delivery = delivery_strategy or ImmediateDelivery()
        self._within = within
        self._inherit = inherit
        self._schemas = schemas

    async def handle(
        self,
        room_id: str,
        calling_agent_id: str,
        arguments: Mapping[str, Any],
        *,
        role: str | None = None,
        on_behalf_of: str | None = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Delegate as the tool's arguments say; return the answer for the model. Raises as `delegate`.

        With a `key` the same arguments make one task, however often they are handled.
        """
        agent_id = arguments["agent"]
        policy = getattr(self._kit.get_channel(agent_id), "tool_policy", None)
        if policy is not None and (role or "member") in policy.role_overrides:
            return {"status": "refused", "reason": f"{agent_id} may not work for a person of role {role}"}
        made = await delegate(
            self._kit,
            room_id,
            agent_id,
            arguments["task"],
            context=arguments.get("context"),
            inherit=self._inherit,
            schema=self._schemas.get(agent_id),
            notify=self._notify or calling_agent_id,
            delivery_strategy=self._delivery,
            within=self._within,
            on_behalf_of=on_behalf_of,
            key=None if key is None else _key_of(key, room_id, calling_agent_id, arguments),
        )
        return {
            "status": "delegated",
            "task_id": made.id,
            "child_room_id": made.child_room_id,
            "agent_id": made.agent_id,
        }


def _key_of(*parts: object) -> str:
    """Return the key of a task by what it was given for: the same for a turn that is re-run."""
    said = json.dumps(thawed(parts), sort_keys=True, default=str)
    return sha256(said.encode(errors="surrogatepass")).hexdigest()[:32]


def setup_delegation(channel: AIChannel, handler: DelegateHandler, *, tool: AITool | None = None) -> None:
    """Offer an agent the tool `delegate_task`, with `handler` to perform it.

    Raises InvalidInputError if it has one already.
    """
    names = [getattr(getattr(each, "definition", each), "name", None) for each in channel.extra_tools]
    if NAME in names:
        raise InvalidInputError(
            f"{channel.channel_id!r} has the tool {NAME!r} already: give it to an agent once"
        )

    async def run(name: str, arguments: dict[str, Any]) -> str:
        use = current_tool_call()
        answer = await handler.handle(
            use.room_id,
            use.channel_id,
            arguments,
            role=use.role,
            on_behalf_of=use.participant_id,
            key=use.event_id,
        )
        return json.dumps(answer)

    channel.extra_tools.append(RunnableTool(tool or DELEGATE_TOOL, run))
