"""Carriers with a JSON API: what it gets, how long it is waited for, and which webhooks are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from roomkit import RoomKit, SMSChannel, TextContent
from roomkit.abc.errors import ProviderError, WebhookRejected
from roomkit.models import RoomEvent
from roomkit.models.event import EventSource
from roomkit.models.webhook import WebhookRequest
from roomkit.plugins import default_manager
from roomkit_plugins.sinch import SinchConfig
from roomkit_plugins.testing.simulators import (
    NeverAnswer,
    SinchSimulator,
    TelnyxSimulator,
    VoiceMeUpSimulator,
)
from roomkit_plugins.voicemeup import VoiceMeUpConfig, VoiceMeUpSMSProvider
from tests.options.kit import ANN
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["CARRIERS"]

_HOOK = "https://chat.example.org/webhooks/sms"
_EVENT = RoomEvent(
    id="e1",
    room_id="r",
    source=EventSource(channel_id="sms", channel_type="sms", direction="outbound"),
    content=TextContent(body="hello"),
)


@dataclass(frozen=True)
class _Carrier:
    """How a carrier's provider is made for its simulator, and what its webhook looks like."""

    kind: str
    name: str
    simulator: Callable[[], Any]
    account: Callable[[Any], Mapping[str, Any]]
    webhook: Callable[[Any], WebhookRequest]

    async def made(self, vendor: Any, settings: Settings) -> Any:  # Any: providers of several roles
        """Make the provider; `{origin}` is the simulator's, and None leaves a setting out."""
        given = {**self.account(vendor), **settings}
        filled = {
            name: value.replace("{origin}", vendor.origin) if isinstance(value, str) else value
            for name, value in given.items()
            if value is not None
        }
        return await default_manager().acreate(self.kind, self.name, filled)

    def sends(self) -> Observe:
        """Return an observation of the requests that come by the simulator's socket."""

        async def observe(settings: Settings) -> object:
            async with self.simulator() as vendor:
                provider = await self.made(vendor, settings)
                try:
                    result = (await provider.send(_EVENT, ANN)).success
                except ProviderError as error:
                    result = str(error.error_code)
                await provider.close()
                requests = [
                    (each.path, each.body, each.headers.get("authorization")) for each in vendor.requests
                ]
                return requests, result

        return observe

    def waits(self) -> Observe:
        """Return an observation of how long an answer is waited for."""

        async def observe(settings: Settings) -> object:
            async with self.simulator() as vendor:
                vendor.play(NeverAnswer())
                provider = await self.made(vendor, settings)
                try:
                    async with asyncio.timeout(60 if settings["timeout"] < 1 else 0.2):
                        await provider.send(_EVENT, ANN)
                except ProviderError as error:
                    return str(error.error_code)
                except TimeoutError:
                    return "still waiting"
                finally:
                    await provider.close()
            return "answered"

        return observe

    def verifies(self) -> Observe:
        """Return an observation of whether a webhook is taken."""

        async def observe(settings: Settings) -> object:
            async with self.simulator() as vendor:
                provider = await self.made(vendor, settings)
                try:
                    return len(await provider.webhook(self.webhook(vendor), channel_id="sms"))
                except WebhookRejected as error:
                    return str(error)[:20]
                finally:
                    await provider.close()

        return observe

    def subject(self, base: Settings, changes: Mapping[str, Change]) -> Subject:
        common = {
            "timeout": Change(0.05, {"timeout": 10.0}, self.waits()),
            "base_url": Change("{origin}/edge"),
        }
        return Subject(f"{self.kind}:{self.name}", {**common, **changes}, self.sends(), base, real_time=True)


def _telnyx(kind: str) -> _Carrier:
    body = b'{"data": {"event_type": "message.sent", "payload": {"id": "m", "to": [{"status": "sent"}]}}}'
    return _Carrier(
        kind,
        "telnyx",
        TelnyxSimulator,
        lambda vendor: {"api_key": vendor.api_key, "base_url": vendor.origin},
        lambda vendor: vendor.signed(body),
    )


_TELNYX_SMS, _TELNYX_RCS = _telnyx("sms"), _telnyx("rcs")
_PROFILE = "40018a2b-1111-4222-8333-444455556666"
_SINCH = _Carrier(
    "sms",
    "sinch",
    SinchSimulator,
    lambda vendor: {
        "service_plan_id": vendor.service_plan_id,
        "api_token": vendor.api_token,
        "base_url": vendor.origin,
        "auth_url": vendor.origin,
    },
    lambda vendor: vendor.signed(b'{"type": "mo_text", "id": "m", "from": "14165550123", "body": "hi"}'),
)
_KEY: Settings = {
    "project_id": "simulated-project",
    "key_id": "simulated-key",
    "key_secret": "simulated-key-secret",
}


_VOICEMEUP = _Carrier(
    "sms",
    "voicemeup",
    VoiceMeUpSimulator,
    lambda vendor: {
        "username": vendor.username,
        "auth_token": vendor.auth_token,
        "base_url": vendor.origin,
    },
    lambda vendor: vendor.signed(b'{"sms_hash": "h", "source_number": "15145550123", "message": "hi"}'),
)
_TOKEN: Settings = {"webhook_token": "simulated-webhook-token"}


def _waits_for_parts(count: int) -> Observe:
    """Return an observation of whether an MMS is received soon after so many of its two parts."""

    async def observe(settings: Settings) -> object:
        given = {"username": "u", "auth_token": "t", **settings}
        provider = VoiceMeUpSMSProvider(VoiceMeUpConfig.model_validate(given))
        async with RoomKit() as kit, VoiceMeUpSimulator() as vendor:
            kit.register_channel(SMSChannel("sms", provider=provider))
            before = kit.clock.now()
            for request in vendor.parts_of(ANN, "look", [("image/png", b"x")])[:count]:
                await kit.process_webhook(request, "sms")
            dues = [timer.due_at - before for timer in await kit.store.find_timers()]
        return [due.total_seconds() < 30 for due in sorted(dues)]

    return observe


async def _environment(settings: Settings) -> object:
    return VoiceMeUpConfig.model_validate({"username": "u", "auth_token": "t", **settings}).api_url


async def _address(settings: Settings) -> object:
    """Return where messages would be posted to: the vendor's own hosts are asked by no test."""
    return SinchConfig(service_plan_id="p", api_token="t", region=settings.get("region", "us")).api_url


def _of_telnyx(carrier: _Carrier) -> dict[str, Change]:
    return {
        "api_key": Change("another"),
        "public_key": Change(TelnyxSimulator().public_key, observe=carrier.verifies()),
        "webhook_url": Change(_HOOK),
    }


CARRIERS = (
    _TELNYX_SMS.subject(
        {"from_number": "+14375550999"},
        {
            **_of_telnyx(_TELNYX_SMS),
            "from_number": Change("+14375550111"),
            "messaging_profile_id": Change(_PROFILE),
            "webhook_failover_url": Change(f"{_HOOK}2", {"webhook_url": _HOOK}),
        },
    ),
    _TELNYX_RCS.subject(
        {"agent_id": "acme_agent", "messaging_profile_id": _PROFILE},
        {
            **_of_telnyx(_TELNYX_RCS),
            "agent_id": Change("other"),
            "messaging_profile_id": Change("other"),
            "fallback_from": Change("+14375550999"),
        },
    ),
    _SINCH.subject(
        {"from_number": "+14375550999"},
        {
            "service_plan_id": Change("other"),
            "api_token": Change("another"),
            "project_id": Change("other", _KEY),
            "key_id": Change("other", _KEY),
            "key_secret": Change("another", _KEY),
            "from_number": Change("+14375550111"),
            "webhook_secret": Change("simulated-webhook-secret", observe=_SINCH.verifies()),
            "callback_url": Change(_HOOK),
            "region": Change("eu", observe=_address),
            "auth_url": Change("{origin}/elsewhere", _KEY),
        },
    ),
    _VOICEMEUP.subject(
        {"from_number": "+15145550999"},
        {
            "username": Change("another"),
            "auth_token": Change("another"),
            "from_number": Change("+15145550111"),
            "webhook_token": Change("simulated-webhook-token", observe=_VOICEMEUP.verifies()),
            "webhook_networks": Change(["203.0.113.0/24"], _TOKEN, _VOICEMEUP.verifies()),
            "mms_timeout": Change(300.0, {"mms_timeout": 5.0, **_TOKEN}, _waits_for_parts(1)),
            "mms_quiet": Change(
                60.0, {"mms_quiet": 1.0, "mms_timeout": 300.0, **_TOKEN}, _waits_for_parts(2)
            ),
            "environment": Change("sandbox", observe=_environment),
        },
    ),
)
