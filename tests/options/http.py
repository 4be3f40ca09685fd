"""The HTTP channel and its provider: the requests posted, and the webhooks taken."""

from __future__ import annotations

import asyncio
from typing import Any

from roomkit import LocationContent, TextContent
from roomkit.abc.errors import ProviderError, RoomKitError, WebhookRejected
from roomkit.models import RoomEvent
from roomkit.models.event import EventSource
from roomkit.plugins import default_manager
from roomkit_plugins.testing.simulators import NeverAnswer, WebhookSimulator
from tests.options.kit import a_kit
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["HTTP"]

_MOCK: Settings = {"provider": "mock"}
_OTHER = "http://127.0.0.1:9/hooks"


async def _channel_sends(settings: Settings) -> object:
    """Return what the carrier is handed of a place, and what became of it."""
    channel: Any = await default_manager().acreate("channel", "http", settings, channel_id="http")
    async with a_kit({}, channel) as kit:
        await kit.update_binding_metadata("r", "http", {"recipient_id": "user"})
        await kit.send_event("r", "system", LocationContent(latitude=1, longitude=2, label="here"))
        rows = await kit.list_deliveries("r")
        sent = [] if channel.provider is None else channel.provider.sent
        return [each["event"].content for each in sent], [(str(row.state), row.reason) for row in rows]


async def _provider(system: WebhookSimulator, settings: Settings) -> Any:  # Any: made by name
    given = {"webhook_url": system.url, "allow_private_hosts": True, **settings}
    return await default_manager().acreate("http", "webhook", given)


async def _sends(settings: Settings) -> object:
    """Return the requests that a system gets, without the times of day."""
    source = EventSource(channel_id="bot", channel_type="ai", direction="outbound")
    event = RoomEvent(id="e1", room_id="r", source=source, content=TextContent(body="hello"))
    async with WebhookSimulator(secret=None) as system:
        try:
            provider = await _provider(system, settings)
            result = (await provider.send(event, "user")).success, provider.name, provider.idempotent
            await provider.close()
        except RoomKitError as error:
            result = str(getattr(error, "error_code", type(error).__name__)), "", False
        signatures = [
            len(request.headers.get("x-roomkit-signature-v2", "").split("v1=")) for request in system.requests
        ]
        return result, signatures, [request.headers.get("x-team") for request in system.requests]


async def _waits(settings: Settings) -> object:
    source = EventSource(channel_id="bot", channel_type="ai", direction="outbound")
    event = RoomEvent(id="e1", room_id="r", source=source, content=TextContent(body="hello"))
    async with WebhookSimulator(secret=None) as system:
        system.play(NeverAnswer())
        provider = await _provider(system, settings)
        try:
            async with asyncio.timeout(60 if settings["timeout"] < 1 else 0.2):
                await provider.send(event, "user")
        except ProviderError as error:
            return str(error.error_code)
        except TimeoutError:
            return "still waiting"
        finally:
            await provider.close()
    return "answered"


def _verifies(secret: str, age: float = 0) -> Observe:
    """Return an observation of whether a webhook is taken that was signed so long ago."""

    async def observe(settings: Settings) -> object:
        system = WebhookSimulator(secret=secret)
        request = system.signed(b'{"sender_id": "u", "body": "hi"}')
        stamped = system.signed(request.body, request.received_at - age)
        given = {"webhook_url": "https://system.example/hooks", **settings}
        provider: Any = await default_manager().acreate("http", "webhook", given)
        try:
            return len(await provider.webhook(stamped, channel_id="http"))
        except WebhookRejected as error:
            return str(error)[:40]
        finally:
            await provider.close()

    return observe


HTTP = (
    Subject(
        "channel:http",
        {
            "media_types": Change(["text", "location"], _MOCK),
            "provider": Change("mock"),
            "providers": Change(["mock"]),
        },
        _channel_sends,
    ),
    Subject(
        "http:webhook",
        {
            "webhook_url": Change(_OTHER),
            "secret": Change("s1", observe=_verifies("s1")),
            "previous_secret": Change("s0", {"secret": "s1"}, _verifies("s0")),
            "timeout": Change(0.3, {"timeout": 60.0}, _waits),
            "headers": Change({"X-Team": "blue"}),
            "allow_private_hosts": Change(False),
            "tolerance": Change(600.0, {"secret": "s1"}, _verifies("s1", age=450)),
            "idempotent": Change(True),
            "name": Change("other"),
        },
        _sends,
        real_time=True,
    ),
)
