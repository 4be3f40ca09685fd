"""Hooks as they are registered, and how they fail."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import HookRegistrationError
from roomkit.abc.namespaces import present_plugin
from roomkit.authoring.coroutines import may_wait
from roomkit.models.enums import (
    ChannelDirection,
    ChannelType,
    HookExecution,
    HookTrigger,
    is_one_of,
)
from roomkit.models.event import EventSource
from roomkit.models.hook import is_gate
from roomkit.models.values import error_text
from roomkit.models.vocabulary import declared

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext
    from roomkit.models.room import Room

__all__ = ["HookFailure", "HookFn", "HookRegistration"]

type HookFn = Callable[[Any, "RoomContext"], Awaitable[Any]]


@dataclass(slots=True, kw_only=True)
class HookRegistration:
    """One hook: what runs, when, in which order, and for which events.

    Filters are ANDed and tested on the event's source; None matches all, and a type of channels also those
    akin to it, as SMS matches MMS. Lower `priority` runs
    first, equal ones in order of registration. `on_error` is what a gate's failure means. `streams` is
    what a BEFORE_BROADCAST gate sees of an answer that is shown while it is generated: its segments, each
    with the end of the text released before, and the whole before it is committed; or only the whole, which
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
                f"hook {self.name!r}: when is not a plain function of a room; write `when=lambda room: ...`"
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


def _is_async(fn: object) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004  # the method is awaited
