"""The room, its timers, and the AI settings it carries."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import Field

from roomkit.models.ai import AITool
from roomkit.models.base import EMPTY, Json, Record, new_id, utcnow
from roomkit.models.enums import AgentResponsePolicy, AutoAttach, RoomStatus
from roomkit.models.values import Id, Int, Key, Text

__all__ = ["AIConfig", "Room", "RoomTimers"]


class RoomTimers(Record):
    """When an idle room is paused and closed; both count seconds from the last activity."""

    inactive_after_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    closed_after_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    last_activity_at: datetime | None = None


class AIConfig(Record):
    """Settings of one room's agents, over their own defaults; None leaves the default.

    Precedence, field by field: the binding's metadata, then this, then the channel's constructor.
    """

    system_prompt: Text | None = None
    temperature: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    max_tokens: Int | None = Field(default=None, gt=0)
    thinking_budget: Int | None = Field(default=None, ge=0)
    tools: tuple[AITool, ...] = ()
    response_schema: Json | None = None
    """The JSON Schema that answers fit, of type object; an empty one is none."""


_NO_TIMERS = RoomTimers()


class Room(Record):
    """One conversation.

    The store owns `event_count`, `latest_index` (-1 while the timeline is empty) and `version`: an
    `update_room` keeps its own values of these, and `timers.last_activity_at` unless another one is
    given. `version` rises with every change of the room, its bindings or its participants. `state` is
    where plugins keep what they know of the room, each under its own name; it never comes from outside.
    `detached_channels` were taken away on purpose: only an explicit attach brings them back. `auto_attach`
    is whether a message attaches the channel that it comes by.
    `merged_into` is the room that has this one's contents; `merged_from` are the rooms whose contents this
    one took over, directly. `is_interleaved` says that events of other rooms were moved here: the order of
    indexes is not that of time.
    `event_count` counts the events that are there: retention takes old ones out. They are kept for
    `retention_seconds`, None for as long as the room.
    """

    id: Id = Field(default_factory=new_id)
    organization_id: Key | None = None
    status: RoomStatus = RoomStatus.ACTIVE
    created_at: datetime = Field(default_factory=utcnow)
    updated_at: datetime = Field(default_factory=utcnow)
    closed_at: datetime | None = None
    timers: RoomTimers = _NO_TIMERS
    metadata: Json = EMPTY
    event_count: Int = Field(default=0, ge=0)
    latest_index: Int = Field(default=-1, ge=-1)
    version: Int = Field(default=0, ge=0)
    ai_config: AIConfig | None = None
    agent_response_policy: AgentResponsePolicy | None = None
    detached_channels: tuple[Key, ...] = ()
    auto_attach: AutoAttach = AutoAttach.KNOWN
    retention_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    state: Json = EMPTY
    merged_into: Key | None = None
    merged_from: tuple[Key, ...] = ()
    is_interleaved: bool = False

    def due(self, now: datetime) -> tuple[RoomStatus, float, float] | None:
        """Return the status the timers ask for at `now`, the seconds idle, and the seconds allowed.

        None while nothing is due. A room without messages yet is idle since its creation.
        """
        if not self.status.is_open:
            return None
        timers = self.timers
        idle = (now - (timers.last_activity_at or self.created_at)).total_seconds()
        closing, pausing = timers.closed_after_seconds, timers.inactive_after_seconds
        if closing is not None and idle >= closing:
            return RoomStatus.CLOSED, idle, closing
        if pausing is not None and idle >= pausing and self.status is RoomStatus.ACTIVE:
            return RoomStatus.PAUSED, idle, pausing
        return None

    def moved_activity(self, update: Room) -> datetime | None:
        """Return the last activity that an `update` of this room sets, None where it sets none.

        An update of a room that was read before its newest event moves the activity forward only: the
        event may have been activity that the update does not know of.
        """
        own, given = self.timers.last_activity_at, update.timers.last_activity_at
        if given is None or given == own:
            return None
        is_current = update.latest_index == self.latest_index
        return given if own is None or is_current or given > own else None

    @property
    def next_due(self) -> datetime | None:
        """When the timers are next due if no message arrives until then; None for never."""
        if not self.status.is_open:
            return None
        timers = self.timers
        pausing = timers.inactive_after_seconds if self.status is RoomStatus.ACTIVE else None
        waits = [seconds for seconds in (timers.closed_after_seconds, pausing) if seconds is not None]
        if not waits:
            return None
        try:
            return (timers.last_activity_at or self.created_at) + timedelta(seconds=min(waits))
        except OverflowError:  # beyond the calendar's end
            return None
