"""Telnyx: what its API gets, and which webhooks are taken."""

from __future__ import annotations

import asyncio
from typing import Any

from roomkit import TextContent
from roomkit.abc.errors import ProviderError, WebhookRejected
from roomkit.models import RoomEvent
from roomkit.models.event import EventSource
from roomkit.plugins import default_manager
from roomkit_plugins.testing.simulators import NeverAnswer, TelnyxSimulator
from tests.options.kit import ANN
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["TELNYX"]

_HOOK = "https://chat.example.org/webhooks/sms"
_RECEIPT = b'{"data": {"event_type": "message.sent", "payload": {"id": "m", "to": [{"status": "sent"}]}}}'


async def _made(kind: str, telnyx: TelnyxSimulator, settings: Settings) -> Any:  # Any: of two roles
    given = {"api_key": telnyx.api_key, "base_url": telnyx.origin, **settings}
    filled = {
        name: value.replace("{origin}", telnyx.origin) if isinstance(value, str) else value
        for name, value in given.items()
    }
    return await default_manager().acreate(kind, "telnyx", filled)


def _sends(kind: str) -> Observe:
    """Return an observation of the request that comes by the socket of Telnyx's simulator."""

    async def observe(settings: Settings) -> object:
        async with TelnyxSimulator() as telnyx:
            provider = await _made(kind, telnyx, settings)
            source = EventSource(channel_id="sms", channel_type="sms", direction="outbound")
            sent = RoomEvent(id="e1", room_id="r", source=source, content=TextContent(body="hello"))
            try:
                result = (await provider.send(sent, ANN)).success
            except ProviderError as error:
                result = str(error.error_code)
            await provider.close()
            return [
                (each.path, each.body, each.headers.get("authorization")) for each in telnyx.requests
            ], result

    return observe


def _waits(kind: str) -> Observe:
    async def observe(settings: Settings) -> object:
        async with TelnyxSimulator() as telnyx:
            telnyx.play(NeverAnswer())
            provider = await _made(kind, telnyx, settings)
            source = EventSource(channel_id="sms", channel_type="sms", direction="outbound")
            sent = RoomEvent(id="e1", room_id="r", source=source, content=TextContent(body="hello"))
            try:
                async with asyncio.timeout(60 if settings["timeout"] < 1 else 0.2):
                    await provider.send(sent, ANN)
            except ProviderError as error:
                return str(error.error_code)
            except TimeoutError:
                return "still waiting"
            finally:
                await provider.close()
        return "answered"

    return observe


def _verifies(kind: str) -> Observe:
    async def observe(settings: Settings) -> object:
        async with TelnyxSimulator() as telnyx:
            provider = await _made(kind, telnyx, settings)
            try:
                return len(await provider.webhook(telnyx.signed(_RECEIPT), channel_id="sms"))
            except WebhookRejected as error:
                return str(error)[:20]
            finally:
                await provider.close()

    return observe


def _subject(kind: str, base: dict[str, Any], changes: dict[str, Change]) -> Subject:
    common = {
        "api_key": Change("another"),
        "public_key": Change(TelnyxSimulator().public_key, observe=_verifies(kind)),
        "webhook_url": Change(_HOOK),
        "timeout": Change(0.05, {"timeout": 10.0}, _waits(kind)),
        "base_url": Change("{origin}/edge"),
    }
    return Subject(f"{kind}:telnyx", {**common, **changes}, _sends(kind), base, real_time=True)


TELNYX = (
    _subject(
        "sms",
        {"from_number": "+14375550999"},
        {
            "from_number": Change("+14375550111"),
            "messaging_profile_id": Change("40018a2b-1111-4222-8333-444455556666"),
            "webhook_failover_url": Change(f"{_HOOK}2", {"webhook_url": _HOOK}),
        },
    ),
    _subject(
        "rcs",
        {"agent_id": "acme_agent", "messaging_profile_id": "40018a2b-1111-4222-8333-444455556666"},
        {
            "agent_id": Change("other"),
            "messaging_profile_id": Change("other"),
            "fallback_from": Change("+14375550999"),
        },
    ),
)
