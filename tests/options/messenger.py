"""Messenger: what the Send API gets, which webhooks are taken, and what the channel lets out."""

from __future__ import annotations

import asyncio
from typing import Any

from roomkit import TextContent
from roomkit.abc.errors import ProviderError, WebhookRejected
from roomkit.models import RoomEvent
from roomkit.models.event import EventSource
from roomkit.plugins import default_manager
from roomkit_plugins.testing.simulators import MessengerSimulator, NeverAnswer
from tests.options.channels import made
from tests.options.kit import a_kit, say
from tests.options.mechanism import Change, Settings, Subject

__all__ = ["MESSENGER"]

_PSID = "7012345678901234"
_EVENT = RoomEvent(
    id="e1",
    room_id="r",
    source=EventSource(channel_id="messenger", channel_type="messenger", direction="outbound"),
    content=TextContent(body="hello"),
)


async def _provider(vendor: MessengerSimulator, settings: Settings) -> Any:  # Any: a component by its name
    """Make the provider of the simulated page; `{origin}` is the simulator's."""
    given = {**vendor.settings, **settings}
    filled = {
        name: value.replace("{origin}", vendor.origin) if isinstance(value, str) else value
        for name, value in given.items()
    }
    return await default_manager().acreate("messenger", "facebook", filled)


async def _sends(settings: Settings) -> object:
    """Return the request that comes by the simulator's socket."""
    async with MessengerSimulator(has_window=False) as vendor:
        provider = await _provider(vendor, settings)
        try:
            outcome = (await provider.send(_EVENT, _PSID)).success
        except ProviderError as error:
            outcome = str(error.error_code)
        await provider.close()
        requests = [
            (each.path, dict(each.query), each.headers.get("authorization")) for each in vendor.requests
        ]
        return requests, outcome


async def _waits(settings: Settings) -> object:
    async with MessengerSimulator(has_window=False) as vendor:
        vendor.play(NeverAnswer())
        provider = await _provider(vendor, settings)
        try:
            async with asyncio.timeout(60 if settings["timeout"] < 1 else 0.2):
                await provider.send(_EVENT, _PSID)
        except ProviderError as error:
            return str(error.error_code)
        except TimeoutError:
            return "still waiting"
        finally:
            await provider.close()
    return "answered"


async def _takes(settings: Settings) -> object:
    """Return what becomes of Meta's challenge, and of a signed message."""
    async with MessengerSimulator() as vendor:
        provider = await _provider(vendor, settings)
        said = {"sender": {"id": _PSID}, "message": {"mid": "m_1", "text": "hi"}}
        found = []
        for request in (vendor.challenge(), vendor.signed(vendor.body(said))):
            try:
                parts = await provider.webhook(request, channel_id="messenger")
                found.append([type(each).__name__ for each in parts])
            except WebhookRejected as error:
                found.append([str(error)[:20]])
        await provider.close()
        return found


async def _lets_out(settings: Settings) -> object:
    """Return what is sent within the window, and some hours after it, and why the rest is not."""
    channel = await made("messenger", settings, "messenger")
    async with a_kit({}) as kit:
        kit.register_channel(channel)
        await kit.attach_channel("r", "messenger", metadata={"facebook_user_id": _PSID})
        await kit.set_consent("messenger", _PSID, "revoked", purpose="marketing")
        await say(kit, "hello", "messenger", sender_id=_PSID)
        await kit.send_event("r", "system", TextContent(body="soon"))
        await asyncio.sleep(30 * 3600)  # virtual time
        await kit.send_event("r", "system", TextContent(body="late"))
        rows = await kit.list_deliveries("r", channel_id="messenger")
        carriers = [] if channel.provider is None else channel.provider.sent
        shown = [(each["event"].content.model_dump_json(), str(each["hints"])) for each in carriers]
        return shown, [(str(row.state), row.reason, row.error and row.error.code) for row in rows]


_MOCK: Settings = {"provider": "mock"}
MESSENGER = (
    Subject(
        "messenger:facebook",
        {
            "page_access_token": Change("another"),
            "page_id": Change("1"),
            "app_secret": Change("another", observe=_takes),
            "verify_token": Change("another", observe=_takes),
            "api_version": Change("v26.0"),
            "timeout": Change(0.05, {"timeout": 10.0}, _waits),
            "base_url": Change("{origin}/edge"),
        },
        _sends,
        real_time=True,
    ),
    Subject(
        "channel:messenger",
        {
            "provider": Change("mock"),
            "providers": Change(["mock"]),
            "human_agent": Change(True, _MOCK),
            "window_seconds": Change(200_000.0, _MOCK),
            "purpose": Change("marketing", _MOCK),
        },
        _lets_out,
    ),
)
