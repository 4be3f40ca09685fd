"""WhatsApp: what the Cloud API gets, which webhooks are taken, and what the channel lets out."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from roomkit import MediaContent, TextContent
from roomkit.abc.errors import ProviderError, WebhookRejected
from roomkit.models import RoomEvent
from roomkit.models.event import EventSource
from roomkit.plugins import default_manager
from roomkit_plugins.testing.simulators import NeverAnswer, WhatsAppSimulator
from tests.options.channels import made
from tests.options.kit import ANN, a_kit, say
from tests.options.mechanism import Change, Settings, Subject

__all__ = ["WHATSAPP"]

_FILE = MediaContent(url="data:text/plain,hello", mime_type="text/plain")


def _event(content: Any) -> RoomEvent:
    source = EventSource(channel_id="whatsapp", channel_type="whatsapp", direction="outbound")
    return RoomEvent(id="e1", room_id="r", source=source, content=content)


async def _provider(vendor: WhatsAppSimulator, settings: Settings) -> Any:  # Any: a component by its name
    """Make the provider of the simulated account; `{origin}` is the simulator's."""
    given = {**vendor.settings, **settings}
    filled = {
        name: value.replace("{origin}", vendor.origin) if isinstance(value, str) else value
        for name, value in given.items()
    }
    return await default_manager().acreate("whatsapp", "cloud", filled)


async def _sends(settings: Settings) -> object:
    """Return the requests that come by the simulator's socket."""
    async with WhatsAppSimulator(has_window=False) as vendor:
        provider = await _provider(vendor, settings)
        outcomes = []
        for content in (TextContent(body="hello"), _FILE):
            try:
                outcomes.append((await provider.send(_event(content), ANN)).success)
            except ProviderError as error:
                outcomes.append(str(error.error_code))
        await provider.close()
        requests = [
            (each.path, dict(each.query), each.headers.get("authorization")) for each in vendor.requests
        ]
        return requests, outcomes


async def _waits(settings: Settings) -> object:
    async with WhatsAppSimulator(has_window=False) as vendor:
        vendor.play(NeverAnswer())
        provider = await _provider(vendor, settings)
        try:
            async with asyncio.timeout(60 if settings["timeout"] < 1 else 0.2):
                await provider.send(_event(TextContent(body="hello")), ANN)
        except ProviderError as error:
            return str(error.error_code)
        except TimeoutError:
            return "still waiting"
        finally:
            await provider.close()
    return "answered"


async def _takes(settings: Settings) -> object:
    """Return what becomes of Meta's challenge, and of a status."""
    async with WhatsAppSimulator() as vendor:
        provider = await _provider(vendor, settings)
        status = {"statuses": [{"id": "wamid.1", "status": "sent"}]}
        entry = {"id": vendor.waba_id, "changes": [vendor.change("messages", status)]}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
        found = []
        for request in (vendor.challenge(), vendor.signed(body)):
            try:
                parts = await provider.webhook(request, channel_id="whatsapp")
                found.append([type(each).__name__ for each in parts])
            except WebhookRejected as error:
                found.append([str(error)[:20]])
        await provider.close()
        return found


async def _lets_out(settings: Settings) -> object:
    """Return what is sent within the window, and some hours after it, and why the rest is not."""
    channel = await made("whatsapp", settings, "whatsapp")
    async with a_kit({}, channel) as kit:
        await kit.set_consent("phone", ANN, "revoked", purpose="marketing")
        await say(kit, "hello", "whatsapp", sender_id=ANN)
        await kit.send_event("r", "system", TextContent(body="soon"))
        await asyncio.sleep(30 * 3600)  # virtual time
        await kit.send_event("r", "system", TextContent(body="late"))
        rows = await kit.list_deliveries("r", channel_id="whatsapp")
        carriers = [] if channel.provider is None else channel.provider.sent
        shown = [each["event"].content.model_dump_json() for each in carriers]
        return shown, [(str(row.state), row.reason, row.error and row.error.code) for row in rows]


_MOCK: Settings = {"provider": "mock"}
WHATSAPP = (
    Subject(
        "whatsapp:cloud",
        {
            "access_token": Change("another"),
            "phone_number_id": Change("1"),
            "app_secret": Change("another", observe=_takes),
            "verify_token": Change("another", observe=_takes),
            "waba_id": Change("1", observe=_takes),
            "api_version": Change("v26.0"),
            "auto_upload": Change(False),
            "timeout": Change(0.05, {"timeout": 10.0}, _waits),
            "base_url": Change("{origin}/edge"),
        },
        _sends,
        real_time=True,
    ),
    Subject(
        "channel:whatsapp",
        {
            "provider": Change("mock"),
            "providers": Change(["mock"]),
            "template": Change("follow_up", _MOCK),
            "template_language": Change("de", {**_MOCK, "template": "follow_up"}),
            "window_seconds": Change(200_000.0, _MOCK),
            "purpose": Change("marketing", _MOCK),
        },
        _lets_out,
    ),
)
