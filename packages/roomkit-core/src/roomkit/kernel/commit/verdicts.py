"""Verdicts of gates, and the check of everything that a hook gives back."""

from __future__ import annotations

import asyncio
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import InvalidInputError
from roomkit.abc.records import checked
from roomkit.kernel.commit.registrations import HookFailure, HookRegistration
from roomkit.kernel.flow.effects import wrong_effect, wrong_keeping
from roomkit.kernel.flow.state import is_decision
from roomkit.kernel.runtime.deadline import Deadline
from roomkit.models.base import Record
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult, InjectedEvent
from roomkit.models.values import error_text

if TYPE_CHECKING:
    from roomkit.models.base import Json
    from roomkit.models.context import RoomContext
    from roomkit.models.hook import StateChange
    from roomkit.models.task import Observation, Task
    from roomkit.models.timer import Timer
    from roomkit.models.value import Value

__all__ = [
    "GateVerdict",
    "as_exception",
    "checked_payload",
    "checked_result",
    "failure_of",
    "kind_of",
    "late_verdict",
]


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


def failure_of(hook: HookRegistration, error: BaseException) -> HookFailure:
    """Return the failure of a hook that never waits: nothing cancelled it, whatever it raised."""
    cause = None if isinstance(error, asyncio.CancelledError) else as_exception(error)
    return HookFailure(hook.name, hook.trigger, error_text(error), cause=cause)


def late_verdict(hook: HookRegistration, deadline: Deadline) -> HookFailure:
    """Return the failure of a gate that was late. Raises TimeoutError if all of the message is."""
    if deadline.passed:
        raise TimeoutError
    return HookFailure(hook.name, hook.trigger, f"no verdict within {hook.timeout} s", timed_out=True)


def checked_result(
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


def kind_of(payload: Any) -> type:
    """Return the type that a gate's changed payload has to have."""
    return RoomEvent if isinstance(payload, RoomEvent) else type(payload)


def checked_payload(
    hook: HookRegistration, kind: type, result: HookResult
) -> tuple[HookResult | None, HookFailure | None]:
    """Return a gate's answer with the payload that it changed, or the fault in that."""
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


def as_exception(error: BaseException) -> Exception:
    """Return an error that a caller who catches Exception catches; the original is its cause."""
    if isinstance(error, Exception):
        return error
    wrapped = RuntimeError(error_text(error))
    wrapped.__cause__ = error
    return wrapped
