"""The hook engine: gates in order under one deadline, observers beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from roomkit.abc.log import get_logger
from roomkit.authoring.coroutines import at_once
from roomkit.kernel.commit.registrations import HookFailure, HookRegistration
from roomkit.kernel.commit.verdicts import (
    GateVerdict,
    as_exception,
    checked_payload,
    checked_result,
    failure_of,
    kind_of,
    late_verdict,
)
from roomkit.kernel.runtime.deadline import Cause, Deadline, cause_of, ends_task
from roomkit.kernel.runtime.scope import Work
from roomkit.kernel.runtime.supervisor import Overdue
from roomkit.models.enums import HookTrigger
from roomkit.models.event import EventSource
from roomkit.models.hook import HookResult, is_gate
from roomkit.models.telemetry import Attr, SpanKind
from roomkit.models.values import error_text

if TYPE_CHECKING:
    from roomkit.abc.telemetry import TelemetryProvider
    from roomkit.kernel.flow.context import RecordContext, RoomlessContext
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.context import RoomContext

__all__ = ["NOT_SPECULATIVE", "HookEngine"]

NOT_SPECULATIVE = "not_speculative"
"""The reason for which nothing is prepared where a gate judges only committed messages."""

_log = get_logger("roomkit.hooks")
_ALLOW = HookResult.allow()


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
        was registered with `on_error="allow"`: then its answer is omitted.
        """
        verdict = GateVerdict(payload)
        kind = kind_of(payload)
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
                    failure = failure_of(hook, error)
                else:
                    if time() - started > hook.timeout:
                        result, failure = None, late_verdict(hook, deadline)
                    elif result is not _ALLOW:
                        result, failure = checked_result(hook, result, context)
            before, started = started, time()
            if result is _ALLOW:  # as nearly always
                verdict.ran.append((hook.name, "allow", (started - before) * 1000))
                continue
            if failure is None and result is not None and result.action == "modify":
                result, failure = checked_payload(hook, kind, result)
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
            return None, HookFailure(hook.name, hook.trigger, error_text(error), cause=as_exception(error))
        finally:
            late = deadline.leave(outer) or late
        if late:  # a gate that swallows its cancellation may return a verdict all the same
            return None, late_verdict(hook, deadline)
        return checked_result(hook, result, context)

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

        They may write nothing; other values that they return beside the verdict are the caller's to discard.
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
            return failure_of(hook, error)
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
            return HookFailure(hook.name, hook.trigger, error_text(error), cause=as_exception(error))
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
