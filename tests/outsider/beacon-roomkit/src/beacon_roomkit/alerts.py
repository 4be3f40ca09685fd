"""Urgent pages: the plugin's own table, trigger and route."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from roomkit.abc import Route
from roomkit.models import HookExecution, HookTrigger, RoomContext, RoomEvent, WebhookAnswer, WebhookRequest
from roomkit.models.content import text_of

if TYPE_CHECKING:
    from roomkit import RoomKit
    from roomkit.abc.services import Services


class BeaconConfig(BaseModel):
    """The table [beacon]."""

    urgent: str = Field("URGENT", description="The word that makes a page urgent.")


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


def status_route(services: Services) -> Route:
    """Return the route of the pagers' state."""

    async def status(request: WebhookRequest) -> WebhookAnswer:
        return WebhookAnswer(body=json.dumps({"plugin": services.namespace}), content_type="application/json")

    return Route(method="GET", path="/beacon/status", name="beacon status", handler=status)
