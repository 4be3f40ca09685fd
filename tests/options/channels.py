"""Channels and carriers: what reaches a socket or a vendor, and what a person's words do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from roomkit import TextContent
from roomkit.abc.errors import ProviderError, WebhookRejected
from roomkit.models import RCSHints, RoomEvent, SMSHints
from roomkit.models.event import EventSource
from roomkit.plugins import default_manager
from roomkit_plugins.testing.simulators import NeverAnswer, TwilioSimulator
from roomkit_plugins.websocket import WebSocketChannel
from tests.options.kit import ANN, a_kit, say
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["CHANNELS"]

_SERVICE = "MG" + "0" * 32
_KEY_HEADER = "x-twilio-webhooks-signature-settings"


async def made(name: str, settings: Settings, channel_id: str) -> Any:  # Any: channels of several classes
    """Make a channel as a configuration file does."""
    return await default_manager().acreate("channel", name, settings, channel_id=channel_id)


# -- web sockets -----------------------------------------------------------------------------------


def _connected(send: Callable[[str, Any], Awaitable[None]]) -> Observe:
    """Return an observation of a connection after five events and three seconds."""

    async def observe(settings: Settings) -> object:
        channel = await made("websocket", settings, "ws")
        assert isinstance(channel, WebSocketChannel)
        async with a_kit({}, channel) as kit:
            channel.register_connection("c1", send, room_id="r")
            for number in range(5):
                await kit.send_event("r", "system", TextContent(body=str(number)), wait="committed")
                await asyncio.sleep(0.1)  # virtual time
            await asyncio.sleep(3)  # virtual time
            return channel.info

    return observe


async def _hangs(connection_id: str, frame: object) -> None:
    await asyncio.sleep(60)  # virtual time


def _fails_at_first() -> Observe:
    async def observe(settings: Settings) -> object:
        failures = iter([ConnectionError("broken")])

        async def send(connection_id: str, frame: object) -> None:
            for failure in failures:
                raise failure

        return await _connected(send)(settings)

    return observe


WEBSOCKET = Subject(
    "channel:websocket",
    {
        "send_timeout": Change(1.0, observe=_connected(_hangs)),
        "backlog": Change(2, observe=_connected(_hangs)),
        "max_failures": Change(1, observe=_fails_at_first()),
    },
)


# -- SMS and RCS -----------------------------------------------------------------------------------


def _sending(kind: str) -> Observe:
    """Return an observation of what carriers are handed for long and short messages."""

    async def observe(settings: Settings) -> object:
        channel = await made(kind, settings, kind)
        async with a_kit({}, channel) as kit:
            await kit.set_consent("phone", ANN, "revoked", purpose="marketing")
            await kit.send_event("r", "system", TextContent(body="word " * 100))
            rows = await kit.list_deliveries("r")
            carriers = [each for each in (channel.provider,) if each is not None]
            shown = [
                (each["event"].content.body, each.get("from"), each.get("fallback"))
                for carrier in carriers
                for each in carrier.sent
            ]
            return shown, [(str(row.state), row.reason) for row in rows]

    return observe


def _hearing(kind: str) -> Observe:
    """Return an observation of which words of a person opt out."""

    async def observe(settings: Settings) -> object:
        channel = await made(kind, settings, kind)
        async with a_kit({}, channel) as kit:
            found = []
            for word in ("baja", "ruhe bitte"):
                await kit.set_consent("phone", ANN, "granted")
                await say(kit, word, kind, sender_id=ANN)
                consent = await kit.consent("phone", ANN)
                found.append(None if consent is None else str(consent.state))
            return found

    return observe


async def _is_tried(settings: Settings) -> object:
    """Return how often a telephone without RCS is written to by RCS."""
    channel = await made("rcs", settings, "rcs")
    channel.provider.simulate_fallback = True
    async with a_kit({}, channel) as kit:
        await kit.send_event("r", "system", TextContent(body="hello"))
        return len(channel.provider.calls)


_MOCK: Settings = {"provider": "mock"}
_CONSENT = {
    "purpose": Change("marketing", _MOCK),
    "provider": Change("mock"),
    "providers": Change(["mock"]),
}


def _words(kind: str) -> dict[str, Change]:
    return {
        "languages": Change(["fr"], _MOCK, _hearing(kind)),
        "stop_words": Change(["Ruhe, bitte"], _MOCK, _hearing(kind)),
    }


SMS = Subject(
    "channel:sms",
    {
        "from_number": Change("+14375550000", _MOCK),
        "from_numbers": Change(["+14375550000"], _MOCK),
        "max_segments": Change(1, _MOCK),
        **_CONSENT,
        **_words("sms"),
    },
    _sending("sms"),
)
RCS = Subject(
    "channel:rcs",
    {
        "fallback": Change(False, _MOCK),
        "check_capability": Change(
            False,
            {**_MOCK, "fallback": False},
            _is_tried,
        ),
        **_CONSENT,
        **_words("rcs"),
    },
    _sending("rcs"),
)


# -- Twilio ----------------------------------------------------------------------------------------


def _event() -> RoomEvent:
    source = EventSource(channel_id="sms", channel_type="sms", direction="outbound")
    return RoomEvent(id="e1", room_id="r", source=source, content=TextContent(body="hello"))


def _account(twilio: TwilioSimulator, settings: Settings) -> dict[str, Any]:
    """Return the settings of a simulated account, with the given ones over them."""
    given = {
        "account_sid": twilio.account_sid,
        "auth_token": twilio.auth_token,
        "base_url": twilio.origin,
        **settings,
    }
    filled = {
        name: value.replace("{origin}", twilio.origin) if isinstance(value, str) else value
        for name, value in given.items()
    }
    return {name: value for name, value in filled.items() if value is not None}


def _twilio_sends(kind: str, hints: SMSHints | RCSHints | None = None) -> Observe:
    """Return an observation of the request that comes by the socket of Twilio's simulator."""

    async def observe(settings: Settings) -> object:
        async with TwilioSimulator(messaging_services=(_SERVICE,)) as twilio:
            provider: Any = await default_manager().acreate(kind, "twilio", _account(twilio, settings))
            try:
                sent = (await provider.send(_event(), ANN, hints=hints)).success
            except ProviderError as error:
                sent = str(error.error_code)
            await provider.close()
            requests = [(each.path, each.body, each.headers.get("authorization")) for each in twilio.requests]
            return requests, sent

    return observe


def _twilio_waits(kind: str) -> Observe:
    async def observe(settings: Settings) -> object:
        async with TwilioSimulator(messaging_services=(_SERVICE,)) as twilio:
            twilio.play(NeverAnswer())
            provider: Any = await default_manager().acreate(kind, "twilio", _account(twilio, settings))
            try:
                async with asyncio.timeout(60 if settings["timeout"] < 1 else 0.2):
                    await provider.send(_event(), ANN)
            except ProviderError as error:
                return str(error.error_code)
            except TimeoutError:
                return "still waiting"
            finally:
                await provider.close()
        return "answered"

    return observe


def _twilio_verifies(kind: str, url: str, key: str | None = None) -> Observe:
    """Return an observation of whether a webhook is taken that was signed for `url`.

    With `key` the auth token is taken for the secret of that shared key.
    """

    async def observe(settings: Settings) -> object:
        async with TwilioSimulator(messaging_services=(_SERVICE,)) as twilio:
            form = {"MessageSid": "SM" + "0" * 32, "Body": "hi", "From": ANN, "To": twilio.numbers[0]}
            signed = twilio.signed(form.items(), url)
            named = {} if key is None else {_KEY_HEADER: f"algorithm=HMAC_SHA1, key={key}"}
            seen = replace(
                signed, url="https://inside.example/webhooks/sms", headers={**signed.headers, **named}
            )
            provider: Any = await default_manager().acreate(kind, "twilio", _account(twilio, settings))
            try:
                found = await provider.webhook(seen, channel_id="sms")
            except WebhookRejected as error:
                return str(error)[:20]
            finally:
                await provider.close()
            return len(found)

    return observe


def _twilio(kind: str) -> dict[str, Change]:
    number = {"from_number": "+14375550999"} if kind == "sms" else {}
    key = {"api_key_sid": "SK" + "0" * 32, "api_key_secret": "key"}
    inside, outside = "https://inside.example/webhooks/sms", "https://chat.example.org/webhooks/sms"
    return {
        "account_sid": Change("AC" + "1" * 32, number),
        "auth_token": Change("other", number),
        "from_number": Change("+14375550111", number),
        "api_key_sid": Change("SK" + "1" * 32, {**number, **key}),
        "api_key_secret": Change("another", {**number, **key}),
        "public_url": Change("https://chat.example.org", number, _twilio_verifies(kind, outside)),
        "status_callback_url": Change("https://chat.example.org/status", number),
        "webhook_keys": Change(
            {"K1": "simulated-auth-token"}, number, _twilio_verifies(kind, inside, key="K1")
        ),
        "timeout": Change(0.05, {**number, "timeout": 10.0}, _twilio_waits(kind)),
        "base_url": Change("{origin}/edge", number),
    }


TWILIO_SMS = Subject(
    "sms:twilio",
    {**_twilio("sms"), "messaging_service_sid": Change(_SERVICE, {"from_number": "+14375550999"})},
    _twilio_sends("sms"),
    real_time=True,
)
_ALONE = _twilio_sends("rcs", RCSHints(fallback=False))
TWILIO_RCS = Subject(
    "rcs:twilio",
    {
        **_twilio("rcs"),
        "messaging_service_sid": Change("MG" + "1" * 32),
        "sender_id": Change("acme_agent", observe=_ALONE),
    },
    _twilio_sends("rcs"),
    {"messaging_service_sid": _SERVICE},
    real_time=True,
)

CHANNELS = (WEBSOCKET, SMS, RCS, TWILIO_SMS, TWILIO_RCS)
