"""Teams: how the bot signs in, where its messages go, and whose activities are taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from roomkit import TextContent
from roomkit.abc.errors import ProviderError, RoomKitError, WebhookRejected
from roomkit.models import RoomEvent
from roomkit.models.event import EventSource
from roomkit.plugins import default_manager
from roomkit_plugins.testing.simulators import NeverAnswer, TeamsSimulator
from tests.options.channels import made
from tests.options.kit import a_kit
from tests.options.mechanism import Change, Settings, Subject

__all__ = ["TEAMS"]

_EVENT = RoomEvent(
    id="e1",
    room_id="r",
    source=EventSource(channel_id="teams", channel_type="teams", direction="outbound"),
    content=TextContent(body="hello"),
)


@cache
def _key() -> str:
    """Return a private key, as PEM."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


async def _provider(vendor: TeamsSimulator, name: str, settings: Settings) -> Any:  # Any: two classes
    """Make a provider of the simulated bot; `{origin}` is the simulator's."""
    given = {
        "app_id": vendor.app_id,
        "app_password": vendor.app_password,
        "service_urls": (vendor.origin,),
        "login_url": vendor.origin,
        "openid_url": vendor.openid_url,
        **settings,
    }
    filled = {
        option: value.replace("{origin}", vendor.origin).replace("{key}", _key())
        if isinstance(value, str)
        else value
        for option, value in given.items()
    }
    return await default_manager().acreate("teams", name, filled)


async def _sends(settings: Settings, *, name: str, hangs: bool = False) -> object:
    """Return the requests that come by the simulator's socket, and the outcome."""
    async with TeamsSimulator() as vendor:
        ann = vendor.person("Ann")
        if hangs:
            vendor.play(NeverAnswer())
        try:
            provider = await _provider(vendor, name, settings)
        except RoomKitError as error:
            return type(error).__name__
        try:
            async with asyncio.timeout(60 if settings.get("timeout", 10) < 1 else 20):
                await provider.references.save("a:ann", {"serviceUrl": vendor.origin})
                said = vendor.activity(ann, "message", text="hi")
                try:
                    taken = len(
                        await provider.webhook(vendor.signed(json.dumps(said).encode()), channel_id="t")
                    )
                except (WebhookRejected, ProviderError) as error:
                    taken = type(error).__name__  # type: ignore[assignment]
                work = provider.send(_EVENT, "a:ann")
                result = (
                    await asyncio.wait_for(work, 0.3) if hangs and "timeout" not in settings else await work
                ).success
        except ProviderError as error:
            result = str(error.error_code)
        except TimeoutError:
            result = "still waiting"
        await provider.close()
        shown = [(each.path, each.method, _shape_of(each.body)) for each in vendor.requests]
        return shown, taken, result


def _shape_of(body: bytes) -> object:
    """Return what a sign-in says without its assertion, which is of this moment."""
    text = body.decode()
    return text.partition("client_assertion=")[0]


async def _rooms(settings: Settings) -> object:
    """Return how deliveries end."""
    channel = await made("teams", settings, "teams")
    async with a_kit({}, channel) as kit:
        await kit.update_binding_metadata("r", "teams", {"teams_conversation_id": "a:ann"})
        await kit.send_event("r", "system", TextContent(body="hello"))
        return [(str(row.state), row.reason) for row in await kit.list_deliveries("r")]


_CERTIFICATE: Mapping[str, Any] = {
    "app_password": None,
    "certificate_thumbprint": "AB" * 20,
    "certificate_private_key": "{key}",
}


def _subject(name: str) -> Subject:
    sends = partial(_sends, name=name)
    return Subject(
        f"teams:{name}",
        {
            "app_id": Change("another-bot"),
            "app_password": Change("another"),
            "tenant_id": Change("t1"),
            "certificate_thumbprint": Change("CD" * 20, _CERTIFICATE, partial(_assertion, name=name)),
            "certificate_private_key": Change("no key", _CERTIFICATE, partial(_assertion, name=name)),
            "certificate_public": Change(
                "-----BEGIN CERTIFICATE-----YWJj-----END CERTIFICATE-----",
                _CERTIFICATE,
                partial(_assertion, name=name),
            ),
            "cloud": Change("gov"),
            "service_urls": Change(("{origin}/elsewhere",)),
            "login_url": Change("http://127.0.0.1:9"),
            "openid_url": Change("http://127.0.0.1:9"),
            "timeout": Change(0.05, observe=partial(_sends, name=name, hangs=True)),
        },
        sends,
        real_time=True,
    )


async def _assertion(settings: Settings, *, name: str) -> object:
    """Return the head of what the bot signs in by."""
    import jwt

    async with TeamsSimulator() as vendor:
        provider = await _provider(vendor, name, settings)
        try:
            await provider.probe()
        except ProviderError as error:
            return str(error.error_code)
        finally:
            await provider.close()
        body = next(each.body.decode() for each in vendor.requests if each.path.endswith("/token"))
        return jwt.get_unverified_header(body.partition("client_assertion=")[2].partition("&")[0])


TEAMS = (
    _subject("agents"),
    _subject("botframework"),
    Subject("channel:teams", {"provider": Change("mock"), "providers": Change(["mock"])}, _rooms),
)
