"""What a hook answers, and which triggers are gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from roomkit._dataclasses import dataclass
from roomkit.models.base import EMPTY, Json
from roomkit.models.enums import HookTrigger
from roomkit.models.vocabulary import about

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.models.task import Observation, Task
    from roomkit.models.timer import Timer
    from roomkit.models.value import Value

__all__ = ["GATES", "HookResult", "InjectedEvent", "StateChange", "is_gate"]

GATES: frozenset[HookTrigger] = frozenset(
    {
        HookTrigger.BEFORE_BROADCAST,
        HookTrigger.BEFORE_TOOL_USE,
        HookTrigger.ON_INVOKE,
        HookTrigger.ON_TRANSCRIPTION,
        HookTrigger.BEFORE_TTS,
        HookTrigger.BEFORE_BRIDGE_AUDIO,
        HookTrigger.ON_REALTIME_TOOL_CALL,
    }
)
"""The core's triggers whose SYNC hooks may block or rewrite; `is_gate` knows plugins' own, too."""


def is_gate(trigger: HookTrigger) -> bool:
    """Return whether SYNC hooks on a trigger may block or rewrite; on any other, hooks only observe."""
    return trigger in GATES or about(HookTrigger, trigger).get("gate") is True


@dataclass(slots=True, frozen=True)
class InjectedEvent:
    """An event a hook adds to the timeline beside the one it saw.

    It is committed through the one write path, without running the gates again, and delivered to
    `target_channel_ids` (None: stored only). Intelligences do not answer it.
    """

    event: RoomEvent
    target_channel_ids: Sequence[str] | None = None


type StateChange = Callable[[Json | None], Json | None] | Mapping[str, Any] | None
"""A change of a room's state under one namespace: a pure function of the state, or the new state itself."""


@dataclass(slots=True, frozen=True)
class HookResult:
    """A gate's verdict: go on, go on with `event` instead, or stop with a `reason`.

    The payload of `modify` has the type the gate was given. Side effects (`injected_events`, `tasks`,
    `observations`, `state`, `values`, `timers`) are kept whatever the verdict. Raises ValueError for a
    modify without a payload and a block without a reason.

    `state` changes `Room.state` by namespace, in the event's commit. A *function* is synchronous, pure and
    takes a few milliseconds at most; it gets the state under its namespace, None for none, and is applied
    to the state as it is at the commit, again whenever that is retried. A *value* is a decision on what the
    gate saw: if another worker has changed that namespace in between, the gates run again. None removes.
    After eight tries the write raises StaleRoomError, and nothing is stored. `values` are put and `timers`,
    of this room or of none, are set in the same commit.
    """

    action: Literal["allow", "block", "modify"] = "allow"
    event: Any = None
    reason: str | None = None
    injected_events: Sequence[InjectedEvent] = ()
    tasks: Sequence[Task] = ()
    observations: Sequence[Observation] = ()
    state: Mapping[str, StateChange] = EMPTY
    values: Sequence[Value] = ()
    timers: Sequence[Timer] = ()

    def __post_init__(self) -> None:
        if self.action == "modify" and self.event is None:
            raise ValueError("a modify verdict needs the payload to go on with: HookResult.modify(event)")
        if self.action == "block" and not self.reason:
            raise ValueError("a block verdict needs a reason: HookResult.block('why')")
        if self.action not in ("allow", "block", "modify"):
            raise ValueError(f"unknown verdict {self.action!r}: use allow, block or modify")

    @classmethod
    def allow(
        cls,
        injected: Sequence[InjectedEvent] | None = None,
        *,
        state: Mapping[str, StateChange] = EMPTY,
        values: Sequence[Value] = (),
        timers: Sequence[Timer] = (),
    ) -> HookResult:
        """Let the payload pass as it is."""
        if injected or state or values or timers:
            return cls(injected_events=injected or (), state=state, values=values, timers=timers)
        return _ALLOW

    @classmethod
    def block(
        cls,
        reason: str,
        injected: Sequence[InjectedEvent] | None = None,
        tasks: Sequence[Task] | None = None,
        observations: Sequence[Observation] | None = None,
        *,
        state: Mapping[str, StateChange] = EMPTY,
        values: Sequence[Value] = (),
        timers: Sequence[Timer] = (),
    ) -> HookResult:
        """Stop the payload; `reason` is shown to its sender."""
        return cls(
            "block",
            reason=reason,
            injected_events=injected or (),
            tasks=tasks or (),
            observations=observations or (),
            state=state,
            values=values,
            timers=timers,
        )

    @classmethod
    def modify(
        cls,
        event: Any,
        injected: Sequence[InjectedEvent] | None = None,
        *,
        state: Mapping[str, StateChange] = EMPTY,
        values: Sequence[Value] = (),
        timers: Sequence[Timer] = (),
    ) -> HookResult:
        """Go on with `event` in place of the payload; an empty value is a value."""
        return cls(
            "modify", event=event, injected_events=injected or (), state=state, values=values, timers=timers
        )


_ALLOW = HookResult()
