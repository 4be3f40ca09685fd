"""What a hook answers, and which triggers are gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from roomkit.models.enums import HookTrigger

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.models.task import Observation, Task

__all__ = ["GATES", "HookResult", "InjectedEvent"]

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
"""The triggers whose SYNC hooks may block or rewrite; on every other trigger hooks only observe."""


@dataclass(slots=True, frozen=True)
class InjectedEvent:
    """An event a hook adds to the timeline beside the one it saw.

    It is committed through the one write path, without running the gates again, and delivered to
    `target_channel_ids` (None: stored only). Intelligences do not answer it.
    """

    event: RoomEvent
    target_channel_ids: Sequence[str] | None = None


@dataclass(slots=True, frozen=True)
class HookResult:
    """A gate's verdict: go on, go on with `event` instead, or stop with a `reason`.

    The payload of `modify` has the type the gate was given. Side effects (`injected_events`,
    `tasks`, `observations`) are kept whatever the verdict. Raises ValueError for a modify without
    a payload and a block without a reason.
    """

    action: Literal["allow", "block", "modify"] = "allow"
    event: Any = None
    reason: str | None = None
    injected_events: Sequence[InjectedEvent] = ()
    tasks: Sequence[Task] = ()
    observations: Sequence[Observation] = ()

    def __post_init__(self) -> None:
        if self.action == "modify" and self.event is None:
            raise ValueError("a modify verdict needs the payload to go on with: HookResult.modify(event)")
        if self.action == "block" and not self.reason:
            raise ValueError("a block verdict needs a reason: HookResult.block('why')")
        if self.action not in ("allow", "block", "modify"):
            raise ValueError(f"unknown verdict {self.action!r}: use allow, block or modify")

    @classmethod
    def allow(cls, injected: Sequence[InjectedEvent] | None = None) -> HookResult:
        """Let the payload pass as it is."""
        return cls(injected_events=injected) if injected else _ALLOW

    @classmethod
    def block(
        cls,
        reason: str,
        injected: Sequence[InjectedEvent] | None = None,
        tasks: Sequence[Task] | None = None,
        observations: Sequence[Observation] | None = None,
    ) -> HookResult:
        """Stop the payload; `reason` is shown to its sender."""
        return cls(
            "block",
            reason=reason,
            injected_events=injected or (),
            tasks=tasks or (),
            observations=observations or (),
        )

    @classmethod
    def modify(cls, event: Any, injected: Sequence[InjectedEvent] | None = None) -> HookResult:
        """Go on with `event` in place of the payload; an empty value is a value."""
        return cls("modify", event=event, injected_events=injected or ())


_ALLOW = HookResult()
