"""The hook engine: gates in order under one deadline, observers beside each other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from roomkit.abc.errors import HookRegistrationError, InvalidInputError
from roomkit.abc.log import get_logger
from roomkit.abc.namespaces import present_plugin
from roomkit.abc.records import checked
from roomkit.authoring.coroutines import at_once, may_wait
from roomkit.kernel.flow.effects import wrong_effect, wrong_keeping
from roomkit.kernel.flow.state import is_decision
from roomkit.kernel.runtime.deadline import Cause, Deadline, cause_of, ends_task
from roomkit.kernel.runtime.scope import Work
from roomkit.kernel.runtime.supervisor import Overdue
from roomkit.models.base import Record
from roomkit.models.enums import (
    ChannelDirection,
    ChannelType,
    HookExecution,
    HookTrigger,
    is_one_of,
)
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.hook import HookResult, InjectedEvent, is_gate
from roomkit.models.telemetry import Attr, SpanKind
from roomkit.models.values import error_text
from roomkit.models.vocabulary import declared

if TYPE_CHECKING:
    from roomkit.abc.telemetry import TelemetryProvider
    from roomkit.kernel.flow.context import RecordContext, RoomlessContext
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.base import Json
    from roomkit.models.context import RoomContext
    from roomkit.models.hook import StateChange
    from roomkit.models.room import Room
    from roomkit.models.task import Observation, Task
    from roomkit.models.timer import Timer
    from roomkit.models.value import Value

__all__ = ["NOT_SPECULATIVE", "GateVerdict", "HookEngine", "HookFailure", "HookRegistration"]

NOT_SPECULATIVE = "not_speculative"
"""The reason for which nothing is prepared where a gate judges only committed messages."""

_log = get_logger("roomkit.hooks")
_ALLOW = HookResult.allow()

type HookFn = Callable[[Any, "RoomContext"], Awaitable[Any]]


@dataclass(slots=True, kw_only=True)
class HookRegistration:
    """One hook: what runs, when, in which order, and for which events.

    Filters are ANDed and tested on the event's source; None matches all, and a type of channels also those
    akin to it, as SMS matches MMS. Lower `priority` runs
    first, equal ones in order of registration. `on_error` is what a gate's failure means. `streams` is
    what a BEFORE_BROADCAST gate sees of an answer that is shown while it is generated: its segments, each
    with the end of what was released before, and the whole before it is committed; or only the whole, which
    no recipient then sees before. `plugin` is the one that registered it, whose name is before its own.
    `when` says whether it runs in a room at all: a pure function, which only looks. Without `speculative` it
    is not asked about messages that are not committed, and no answer to those that it judges is prepared.
    """

    trigger: HookTrigger
    fn: HookFn
    execution: HookExecution = HookExecution.SYNC
    priority: int = 0
    name: str = ""
    timeout: float = 30.0
    channel_types: Collection[ChannelType] | None = None
    channel_ids: Collection[str] | None = None
    directions: Collection[ChannelDirection] | None = None
    on_error: Literal["block", "allow"] = "block"
    streams: Literal["segments", "whole"] = "segments"
    when: Callable[[Room], bool] | None = None
    speculative: bool = True
    plugin: str | None = None
    may_wait: bool = field(init=False, default=True)
    """Whether a deadline can cut it; then it runs in a task of its own, which can be left behind."""

    def __post_init__(self) -> None:
        self.name = self.name or getattr(self.fn, "__name__", type(self.fn).__name__)
        self.plugin = self.plugin or present_plugin.get()
        if self.plugin is not None:
            self.name = f"{self.plugin}.{self.name}"
        when: object = self.when
        if when is not None and (not callable(when) or _is_async(when)):
            raise HookRegistrationError(
                f"hook {self.name!r}: when is no plain function of a room; write `when=lambda room: ...`"
            )
        try:
            self.trigger = declared(HookTrigger, self.trigger)
            self.execution = declared(HookExecution, self.execution)
            for each in self.channel_types or ():
                declared(ChannelType, each)
            for direction in self.directions or ():
                declared(ChannelDirection, direction)
        except ValueError as error:
            raise HookRegistrationError(f"hook {self.name!r} would never run: {error}") from None
        if not _is_async(self.fn):
            raise HookRegistrationError(
                f"hook {self.name!r} on {self.trigger} is not a coroutine function: write `async def`"
            )
        if self.execution is HookExecution.ASYNC and is_gate(self.trigger):
            raise HookRegistrationError(
                f"hook {self.name!r}: {self.trigger} is a gate, where an ASYNC hook would never run; "
                "register it as SYNC, or observe AFTER_BROADCAST"
            )
        if self.timeout <= 0:
            raise HookRegistrationError(f"hook {self.name!r} has the timeout {self.timeout}; give it seconds")
        if self.on_error not in ("block", "allow"):
            raise HookRegistrationError(
                f"hook {self.name!r}: on_error is 'block' or 'allow', not {self.on_error!r}"
            )
        if self.streams not in ("segments", "whole"):
            raise HookRegistrationError(
                f"hook {self.name!r}: streams is 'segments' or 'whole', not {self.streams!r}"
            )
        if self.streams == "whole" and self.trigger is not HookTrigger.BEFORE_BROADCAST:
            raise HookRegistrationError(
                f"hook {self.name!r}: streams='whole' is for BEFORE_BROADCAST, and not for {self.trigger}"
            )
        self.may_wait = may_wait(self.fn)

    def applies(self, context: RoomContext) -> bool | HookFailure:
        """Return whether it runs in the context's room, or why that cannot be said; never without a room."""
        if self.when is None:
            return True
        if not context.room_id:
            return False
        try:
            return bool(self.when(context.room))
        except Exception as error:  # noqa: BLE001  # a plugin's function may raise anything: the hook failed
            return HookFailure(self.name, self.trigger, error_text(error), cause=error)

    def matches(self, source: EventSource) -> bool:
        """Return whether the filters let an event of that source through."""
        return (
            (self.channel_types is None or is_one_of(source.channel_type, self.channel_types))
            and (self.channel_ids is None or source.channel_id in self.channel_ids)
            and (self.directions is None or source.direction in self.directions)
        )


@dataclass(slots=True, frozen=True)
class HookFailure:
    """A hook that raised, ran out of time or returned something other than a verdict."""

    hook: str
    trigger: HookTrigger
    error: str
    timed_out: bool = False
    cause: Exception | None = None

    @property
    def detail(self) -> str | Exception:
        """What to log: the exception of the hook's own code, whose text the log withholds, or our text."""
        return self.error if self.cause is None or self.timed_out else self.cause


@dataclass(slots=True)
class GateVerdict:
    """What the gates made of a payload. Side effects are kept whatever the verdict."""

    payload: Any
    allowed: bool = True
    reason: str | None = None
    blocked_by: str | None = None
    injected_events: list[InjectedEvent] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    state: list[tuple[str, StateChange]] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    failures: list[HookFailure] = field(default_factory=list)
    ran: list[tuple[str, str, float]] = field(default_factory=list)
    """(hook, verdict, milliseconds) of each gate, in order, for the trace of the event."""

    @property
    def keeps(self) -> bool:
        """Whether there is any state, value or timer to store."""
        return bool(self.state or self.values or self.timers)

    def is_outdated(self, seen: Json | None, now: Json) -> bool:
        """Return whether a gate decided on a room's state that is another now; None: it may have seen any."""
        return any(
            is_decision(change) and (seen is None or seen.get(name) != now.get(name))
            for name, change in self.state
        )


def _is_async(fn: object) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004  # the method is what is awaited


class HookEngine:
    """Registers hooks and runs them.

    Selections are compiled once per (trigger, source) and forgotten when a registration changes;
    with no hook for a trigger, `has_hooks` is one dict look-up.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        events: FrameworkEvents,
        telemetry: TelemetryProvider | None = None,
        suppressed: Collection[HookTrigger] = (),
    ) -> None:
        self._supervisor = supervisor
        self._events = events
        self._telemetry = telemetry
        """Put around every hook but those of the `suppressed` triggers; None while it is off."""
        self._suppressed = suppressed
        self._global: dict[HookTrigger, list[HookRegistration]] = {}
        self._rooms: dict[str, list[HookRegistration]] = {}
        self._compiled: dict[tuple[Any, ...], tuple[HookRegistration, ...]] = {}

    def _call(
        self, hook: HookRegistration, payload: Any, context: RoomContext, seconds: float | None = None
    ) -> Awaitable[Any]:
        """Return what runs the hook; with `seconds`, Overdue is raised when it is late."""
        work: Awaitable[Any]
        if self._telemetry is None or hook.trigger in self._suppressed:
            work = hook.fn(payload, context)
        else:
            work = self._traced(self._telemetry, hook, payload, context)
        if not hook.may_wait:
            return work
        return self._supervisor.call(work, f"hook {hook.name} on {hook.trigger}", seconds)

    async def _traced(
        self, telemetry: TelemetryProvider, hook: HookRegistration, payload: Any, context: RoomContext
    ) -> Any:
        kind = SpanKind.HOOK_SYNC if is_gate(hook.trigger) else SpanKind.HOOK_ASYNC
        attributes = {Attr.HOOK_NAME: hook.name, Attr.HOOK_TRIGGER: str(hook.trigger)}
        room_id = _room_of(context)
        with telemetry.span(kind, f"{kind}.{hook.name}", attributes=attributes, room_id=room_id) as span:
            result = await hook.fn(payload, context)
            telemetry.set_attribute(span, Attr.HOOK_RESULT, getattr(result, "action", "done"))
            return result

    # -- registration -------------------------------------------------------------------------

    def register(self, registration: HookRegistration) -> None:
        """Add a hook for every room."""
        self._global.setdefault(registration.trigger, []).append(registration)
        self._compiled.clear()

    def unregister(self, name: str) -> bool:
        """Remove the first global hook of that name; False when there is none."""
        for registrations in self._global.values():
            for registration in registrations:
                if registration.name == name:
                    registrations.remove(registration)
                    self._compiled.clear()
                    return True
        return False

    def add_room_hook(self, room_id: str, registration: HookRegistration) -> None:
        """Add a hook for one room; it goes with the room."""
        self._rooms.setdefault(room_id, []).append(registration)

    def remove_room_hook(self, room_id: str, name: str) -> bool:
        """Remove the first hook of that name from the room; False when there is none."""
        registrations = self._rooms.get(room_id, [])
        for registration in registrations:
            if registration.name == name:
                registrations.remove(registration)
                if not registrations:
                    del self._rooms[room_id]
                return True
        return False

    def forget_room(self, room_id: str) -> None:
        """Drop the hooks of a room that is over."""
        self._rooms.pop(room_id, None)

    def has_hooks(self, trigger: HookTrigger, room_id: str | None = None) -> bool:
        """Return whether anything at all is registered for the trigger."""
        if self._global.get(trigger):
            return True
        return room_id in self._rooms and any(
            registration.trigger is trigger for registration in self._rooms[room_id]
        )

    def has_hooks_anywhere(self, trigger: HookTrigger) -> bool:
        """Return whether anything is registered for the trigger, for all rooms or for one."""
        return bool(self._global.get(trigger)) or any(
            registration.trigger is trigger for own in self._rooms.values() for registration in own
        )

    def select(
        self, trigger: HookTrigger, room_id: str | None, source: EventSource | None
    ) -> tuple[HookRegistration, ...]:
        """Return the hooks to run, in order: global ones before the room's at equal priority."""
        general = self._global.get(trigger)
        own = self._rooms.get(room_id) if room_id is not None and self._rooms else None
        if not general and not own:
            return ()
        if own:
            candidates = [*(general or ()), *(hook for hook in own if hook.trigger is trigger)]
            return _ordered(candidates, source)
        if source is None:
            return _ordered(general or (), None)
        key = (trigger, source.channel_type, source.channel_id, source.direction)
        compiled = self._compiled.get(key)
        if compiled is None:
            if len(self._compiled) > 4096:
                self._compiled.clear()
            compiled = self._compiled[key] = _ordered(general or (), source)
        return compiled

    # -- gates --------------------------------------------------------------------------------

    async def run_gates(
        self,
        hooks: Sequence[HookRegistration],
        payload: Any,
        context: RoomContext,
        deadline: Deadline,
    ) -> GateVerdict:
        """Put `payload` to each gate in order; the first that blocks, or fails, ends it.

        Each gate sees what the ones before made of the payload. A gate that raises, is late, or
        answers with anything but a HookResult (or with a payload of another kind) blocks, unless it
        was registered with `on_error="allow"`: then its answer is left out.
        """
        verdict = GateVerdict(payload)
        kind = _kind(payload)
        time = asyncio.get_running_loop().time
        started = time()
        for hook in hooks:
            applies = True if hook.when is None else hook.applies(context)
            if applies is False:
                continue
            result: HookResult | None = None
            failure: HookFailure | None = None
            if applies is not True:
                failure = applies
            elif hook.may_wait or self._telemetry is not None:
                result, failure = await self._ask(hook, verdict.payload, context, deadline)
            else:  # no deadline can cut it
                try:
                    result = await hook.fn(verdict.payload, context)
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:  # noqa: BLE001  # a hook may raise anything
                    failure = _failure_of(hook, error)
                else:
                    if time() - started > hook.timeout:
                        result, failure = None, _late(hook, deadline)
                    elif result is not _ALLOW:
                        result, failure = _checked_result(hook, result, context)
            before, started = started, time()
            if result is _ALLOW:  # as nearly always
                verdict.ran.append((hook.name, "allow", (started - before) * 1000))
                continue
            if failure is None and result is not None and result.action == "modify":
                result, failure = _checked_payload(hook, kind, result)
            if failure is not None:
                result = None
                verdict.failures.append(failure)
                self._failed(failure, _room_of(context))
            action = self._apply(hook, result, verdict)
            verdict.ran.append((hook.name, action, (started - before) * 1000))
            if not verdict.allowed:
                break
        return verdict

    async def _ask(
        self, hook: HookRegistration, payload: Any, context: RoomContext, deadline: Deadline
    ) -> tuple[HookResult | None, HookFailure | None]:
        late, outer = False, deadline.enter(hook.timeout)
        try:
            result = await self._call(hook, payload, context)
        except asyncio.CancelledError as error:
            match cause_of(error, deadline):
                case Cause.FAILED:
                    return None, HookFailure(hook.name, hook.trigger, error_text(error))
                case Cause.STOPPED:
                    raise
            late = True
        except BaseException as error:  # a hook may raise anything: it becomes a HookFailure
            if ends_task(error):
                raise
            return None, HookFailure(hook.name, hook.trigger, error_text(error), cause=_as_exception(error))
        finally:
            late = deadline.leave(outer) or late
        if late:  # a gate that swallows its cancellation may return a verdict all the same
            return None, _late(hook, deadline)
        return _checked_result(hook, result, context)

    def _apply(self, hook: HookRegistration, result: HookResult | None, verdict: GateVerdict) -> str:
        if result is None:
            if hook.on_error == "allow":
                return "failed"
            verdict.allowed = False
            verdict.blocked_by = hook.name
            verdict.reason = "hook_timeout" if verdict.failures[-1].timed_out else "hook_failed"
            return "failed"
        if result.injected_events:
            verdict.injected_events.extend(result.injected_events)
        if result.tasks:
            verdict.tasks.extend(result.tasks)
        if result.observations:
            verdict.observations.extend(result.observations)
        if result.state:
            verdict.state.extend(result.state.items())
        if result.values:
            verdict.values.extend(result.values)
        if result.timers:
            verdict.timers.extend(result.timers)
        if result.action == "modify":
            verdict.payload = result.event
        elif result.action == "block":
            verdict.allowed = False
            verdict.reason = result.reason
            verdict.blocked_by = hook.name
        return result.action

    async def rehearse(
        self,
        hooks: Sequence[HookRegistration],
        payload: Any,
        context: RecordContext | RoomlessContext,
        deadline: Deadline,
    ) -> GateVerdict:
        """Put the payload of a message that is not committed to its gates; blocked where one allows no such.

        They may write nothing meanwhile; what they return beside the verdict is the caller's to discard.
        """
        for hook in hooks:
            if not hook.speculative and hook.applies(context) is not False:
                return GateVerdict(payload, allowed=False, reason=NOT_SPECULATIVE, blocked_by=hook.name)
        context.speculative = True
        with Work(context.room_id, speculative=True):
            return await self.run_gates(hooks, payload, context, deadline)

    # -- observers ----------------------------------------------------------------------------

    async def observe(
        self, trigger: HookTrigger, payload: Any, context: RoomContext, source: EventSource | None = None
    ) -> list[HookFailure]:
        """Show `payload` to every observer of `trigger`, concurrently; return the failures.

        Returns when all have finished or run out of their time. Their answers are ignored.
        """
        room_id = _room_of(context)
        hooks = self.select(trigger, room_id, source)
        if not hooks:
            return []
        if len(hooks) == 1:
            return self._noted([await self._show(hooks[0], payload, context)], room_id)
        tasks = [
            self._supervisor.start(self._show(hook, payload, context), f"hook {hook.name} on {trigger}")
            for hook in hooks
        ]
        return self._noted([await task for task in tasks], room_id)

    def never_waits(self, trigger: HookTrigger, room_id: str, source: EventSource | None) -> bool:
        """Return whether no observer that an event has can wait: then `observe_at_once` may be called."""
        return self._telemetry is None and not any(
            hook.may_wait for hook in self.select(trigger, room_id, source)
        )

    def observe_at_once(
        self, trigger: HookTrigger, payload: Any, context: RoomContext, source: EventSource | None = None
    ) -> list[HookFailure]:
        """Do what `observe` does, in this step of the loop."""
        room_id = _room_of(context)
        hooks = self.select(trigger, room_id, source)
        return self._noted([self._show_at_once(hook, payload, context) for hook in hooks], room_id)

    def _show_at_once(self, hook: HookRegistration, payload: Any, context: RoomContext) -> HookFailure | None:
        if hook.when is not None and (applies := hook.applies(context)) is not True:
            return applies or None
        try:
            at_once(hook.fn(payload, context))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # a hook may raise anything: it becomes a HookFailure
            return _failure_of(hook, error)
        return None

    def _noted(self, outcomes: Iterable[HookFailure | None], room_id: str | None) -> list[HookFailure]:
        """Report the failures among the outcomes of hooks, and return them."""
        failures = [failure for failure in outcomes if failure is not None]
        for failure in failures:
            self._failed(failure, room_id)
        return failures

    async def _show(self, hook: HookRegistration, payload: Any, context: RoomContext) -> HookFailure | None:
        if hook.when is not None and (applies := hook.applies(context)) is not True:
            return applies or None
        try:
            await self._call(hook, payload, context, hook.timeout)
        except asyncio.CancelledError as error:
            if cause_of(error) is Cause.STOPPED:
                raise
            return HookFailure(hook.name, hook.trigger, error_text(error))
        except Overdue as error:
            detail = f"not done within {hook.timeout} s"
            return HookFailure(hook.name, hook.trigger, detail, timed_out=True, cause=error)
        except BaseException as error:  # a hook may raise anything: it becomes a HookFailure
            if ends_task(error):
                raise
            return HookFailure(hook.name, hook.trigger, error_text(error), cause=_as_exception(error))
        return None

    def _failed(self, failure: HookFailure, room_id: str | None) -> None:
        _log.warning("hook %s on %s failed: %s", failure.hook, failure.trigger, failure.detail)
        self._events.emit(
            "hook_timeout" if failure.timed_out else "hook_error",
            room_id=room_id,
            hook=failure.hook,
            trigger=failure.trigger,
            error=failure.error,
        )


def _ordered(
    registrations: Sequence[HookRegistration], source: EventSource | None
) -> tuple[HookRegistration, ...]:
    chosen = [hook for hook in registrations if source is None or hook.matches(source)]
    chosen.sort(key=lambda hook: hook.priority)
    return tuple(chosen)


def _room_of(context: RoomContext) -> str | None:
    return context.room_id or None


def _failure_of(hook: HookRegistration, error: BaseException) -> HookFailure:
    """Return the failure of a hook that never waits: nothing cancelled it, whatever it raised."""
    cause = None if isinstance(error, asyncio.CancelledError) else _as_exception(error)
    return HookFailure(hook.name, hook.trigger, error_text(error), cause=cause)


def _late(hook: HookRegistration, deadline: Deadline) -> HookFailure:
    """Return the failure of a gate that was late. Raises TimeoutError if all of the message is."""
    if deadline.passed:
        raise TimeoutError
    return HookFailure(hook.name, hook.trigger, f"no verdict within {hook.timeout} s", timed_out=True)


def _checked_result(
    hook: HookRegistration, result: object, context: RoomContext
) -> tuple[HookResult | None, HookFailure | None]:
    """Return a gate's answer, or the fault in it."""
    if not isinstance(result, HookResult):
        return None, HookFailure(
            hook.name,
            hook.trigger,
            f"answered with {type(result).__name__}, not HookResult: return HookResult.allow(), "
            ".modify(...) or .block(...)",
        )
    if (
        result.injected_events
        or result.tasks
        or result.observations
        or result.state
        or result.values
        or result.timers
    ):
        return _checked_effects(hook, result, context)
    return result, None


def _checked_effects(
    hook: HookRegistration, result: HookResult, context: RoomContext
) -> tuple[HookResult | None, HookFailure | None]:
    wrong = (
        wrong_effect(result.tasks, result.observations)
        or _wrong_injection(result.injected_events)
        or wrong_keeping(result, context)
    )
    if wrong is None:
        return result, None
    return None, HookFailure(hook.name, hook.trigger, f"the HookResult cannot be stored: its {wrong}")


def _wrong_injection(given: object) -> str | None:
    if not isinstance(given, list | tuple):
        return f"injected_events are {type(given).__name__}, not a list"
    for each in given:
        if not isinstance(each, InjectedEvent) or not isinstance(each.event, RoomEvent):
            return f"injected_events have {type(each).__name__}, not only InjectedEvent of a RoomEvent"
        try:
            checked(each.event, RoomEvent, "in injected_events")
        except InvalidInputError as error:
            return str(error)
    return None


def _kind(payload: Any) -> type:
    return RoomEvent if isinstance(payload, RoomEvent) else type(payload)


def _checked_payload(
    hook: HookRegistration, kind: type, result: HookResult
) -> tuple[HookResult | None, HookFailure | None]:
    payload = result.event
    if isinstance(payload, kind):
        if not isinstance(payload, Record):
            return result, None
        try:
            whole = checked(payload, Record, "of the modified payload")
        except InvalidInputError as error:
            return None, HookFailure(hook.name, hook.trigger, str(error))
        return result if whole is payload else replace(result, event=whole), None
    return None, HookFailure(
        hook.name,
        hook.trigger,
        f"modified the payload into {type(payload).__name__}; it is {kind.__name__} here",
    )


def _as_exception(error: BaseException) -> Exception:
    """Return an error that a caller who catches Exception catches; the original is its cause."""
    if isinstance(error, Exception):
        return error
    wrapped = RuntimeError(error_text(error))
    wrapped.__cause__ = error
    return wrapped
