"""Mail: what providers are handed, and which words of a person opt out."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from typing import Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from roomkit import TextContent
from roomkit.abc.errors import ProviderError
from roomkit.models import RoomEvent
from roomkit.models.event import EventSource
from roomkit.plugins import default_manager
from roomkit_plugins.testing.simulators import MailServerSimulator, ReceivedMail
from tests.options.channels import made
from tests.options.kit import a_kit, say
from tests.options.mechanism import Change, Observe, Settings, Subject

__all__ = ["MAIL"]

_ANN = "ann@example.com"
_URL = "https://shop.example/webhooks/email/unsubscribe"


async def _handed(settings: Settings) -> object:
    """Return what a provider is handed for two messages, and what became of them."""
    channel = await made("email", settings, "email")
    async with a_kit({}) as kit:
        kit.register_channel(channel)
        await kit.attach_channel("r", "email", metadata={"email_address": _ANN})
        await kit.set_consent("email", _ANN, "revoked", purpose="marketing")
        await kit.send_event("r", "system", TextContent(body="hello"))
        rows = await kit.list_deliveries("r")
        sent = [] if channel.provider is None else channel.provider.sent
        shown = [(each["event"].content.body, each["hints"]) for each in sent]
        return shown, [(str(row.state), row.reason) for row in rows], sorted(channel.webhooks())


async def _opting_out(settings: Settings) -> object:
    channel = await made("email", settings, "email")
    async with a_kit({}) as kit:
        kit.register_channel(channel)
        await kit.attach_channel("r", "email", metadata={"email_address": _ANN})
        found = []
        for word in ("baja", "ruhe bitte"):
            await kit.set_consent("email", _ANN, "granted")
            await say(kit, word, "email", sender_id=_ANN)
            consent = await kit.consent("email", _ANN)
            found.append(None if consent is None else str(consent.state))
        return found


_MOCK: Settings = {"provider": "mock"}
_SIGNED: Settings = {**_MOCK, "secret": "s"}
EMAIL = Subject(
    "channel:email",
    {
        "from_address": Change("desk@shop.example", _MOCK),
        "subject": Change("Your order", _MOCK),
        "reply_address": Change("reply@in.shop.example", _SIGNED),
        "unsubscribe_url": Change(_URL, _SIGNED),
        "secret": Change("other", {**_SIGNED, "reply_address": "reply@in.shop.example"}),
        "purpose": Change("marketing", _MOCK),
        "provider": Change("mock"),
        "providers": Change(["mock"]),
        "languages": Change(["fr"], _MOCK, _opting_out),
        "stop_words": Change(["Ruhe, bitte"], _MOCK, _opting_out),
    },
    _handed,
)


# -- SMTP -----------------------------------------------------------------------------------------

_EVENT = RoomEvent(
    id="e1",
    room_id="r",
    source=EventSource(channel_id="web", channel_type="websocket"),  # type: ignore[arg-type]
    content=TextContent(body="hello"),
    created_at=datetime(2026, 11, 22, tzinfo=UTC),
)
_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


def _by_smtp(security: Literal["starttls", "tls", "none"], *, sends: int = 1) -> Observe:
    """Return an observation of what a mail server takes."""

    async def observe(settings: Settings) -> object:
        async with MailServerSimulator(security=security, users={"desk": "p", "sales": "p"}) as server:
            given = {
                "host": server.host,
                "port": server.port,
                "security": security,
                "ca_file": server.ca_file if security != "none" else None,
                "username": "desk",
                "password": "p",
                "from_email": "desk@shop.example",
                "local_hostname": "chat.shop.example",
                **settings,
            }
            known = {name: value for name, value in given.items() if value is not None}
            provider = await default_manager().acreate("email", "smtp", known)
            try:
                await asyncio.gather(
                    *(provider.send(_EVENT, _ANN, idempotency_key="k") for _ in range(sends))
                )
                outcome: object = "sent"
            except ProviderError as error:
                outcome = str(error.error_code), error.retryable
            await provider.close()
            heads = [
                (str(mail.message["From"]), str(mail.message["Subject"]), _signer(mail))
                for mail in server.mails
            ]
            return outcome, heads, server.logins, server.connections, server.names

    return observe


def _signer(mail: ReceivedMail) -> list[str]:
    """Return which key signed a mail; the rest of a signature has the time in it."""
    tags = str(mail.message["DKIM-Signature"] or "").split(";")
    return [tag.strip() for tag in tags if tag.strip()[:2] in ("d=", "s=")]


_PLAIN, _CROWD = _by_smtp("none"), _by_smtp("none", sends=6)
_DKIM: Settings = {"dkim_key": _KEY.decode(), "dkim_selector": "s1"}
SMTP = Subject(
    "email:smtp",
    {
        "host": Change("::1"),
        "port": Change(1),
        "security": Change("starttls"),
        "username": Change("sales"),
        "password": Change("wrong"),
        "ca_file": Change(ssl.get_default_verify_paths().openssl_cafile, observe=_by_smtp("tls")),
        "timeout": Change(0.000_001),
        "from_email": Change("sales@shop.example"),
        "from_name": Change("Shop"),
        "subject": Change("Your order"),
        "local_hostname": Change("other.shop.example"),
        "pool_size": Change(1, observe=_CROWD),
        "dkim_selector": Change("s2", _DKIM),
        "dkim_domain": Change("example.com", _DKIM),
        "dkim_key": Change(_KEY.decode().replace("A", "B", 3), _DKIM),
    },
    _PLAIN,
    real_time=True,
)

MAIL = (EMAIL, SMTP)
