"""Urgent pages: the plugin's own table, trigger, timer and route."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from roomkit.abc import Route
from roomkit.models import (
    HookExecution,
    HookResult,
    HookTrigger,
    RoomContext,
    RoomEvent,
    Timer,
    WebhookAnswer,
    WebhookRequest,
)
from roomkit.models.content import text_of

if TYPE_CHECKING:
    from roomkit import RoomKit
    from roomkit.abc.services import Services


class BeaconConfig(BaseModel):
    """The table [beacon]."""

    urgent: str = Field("URGENT", description="The word that makes a page urgent.")
    answer_within: float = Field(
        300.0, gt=0, description="Seconds after which an unanswered urgent page is reported."
    )


@dataclass(frozen=True, slots=True)
class Page:
    """The payload of the trigger `on_page`."""

    room_id: str
    text: str


def watch(kit: RoomKit, services: Services, config: BeaconConfig) -> None:
    """Fire `on_page` for every urgent page."""

    @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, channel_types={"pager"}, name="beacon.watch")
    async def look(event: RoomEvent, context: RoomContext) -> None:
        text = text_of(event.content)
        if config.urgent in text:
            page = Page(event.room_id, text)
            await services.turns.observe(HookTrigger("on_page"), page, room_id=event.room_id)


def escalate(kit: RoomKit, services: Services, config: BeaconConfig) -> None:
    """Fire `on_page` once more for an urgent page that got no answer in time.

    The timer is set in the commit of the page, and cancelled after an answer, on whichever workers; one with
    this plugin fires it.
    """

    async def overdue(timer: Timer) -> datetime | None:
        assert timer.room_id is not None
        page = Page(timer.room_id, f"unanswered: {timer.data['text']}")
        await services.turns.observe(HookTrigger("on_page"), page, room_id=timer.room_id)
        return None

    services.timers.on("overdue", overdue)

    @kit.hook(HookTrigger.BEFORE_BROADCAST, name="beacon.escalate")
    async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
        text = text_of(event.content)
        if event.source.channel_type == "pager" and config.urgent in text:
            due = services.clock.now() + timedelta(seconds=config.answer_within)
            room_id = context.room.id
            timer = services.timers.make("overdue", due, id=room_id, room_id=room_id, data={"text": text})
            return HookResult.allow(timers=[timer])
        return HookResult.allow()

    @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, name="beacon.answered")
    async def answered(event: RoomEvent, context: RoomContext) -> None:
        if event.source.channel_type != "pager":
            await services.timers.cancel(event.room_id)


def status_route(services: Services) -> Route:
    """Return the route of the pagers' state."""

    async def status(request: WebhookRequest) -> WebhookAnswer:
        return WebhookAnswer(body=json.dumps({"plugin": services.namespace}), content_type="application/json")

    return Route(method="GET", path="/beacon/status", name="beacon status", handler=status)
