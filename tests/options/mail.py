"""Mail: what providers are handed, and which words of a person opt out."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from roomkit import TextContent
from roomkit.abc.errors import ProviderError
from roomkit.models import DeliveryStatus, InboundMessage, InboundResult, RoomEvent, SourceStatus
from roomkit.models.event import EventSource
from roomkit.plugins import default_manager
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.simulators import MailboxSimulator, MailServerSimulator, ReceivedMail
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


# -- IMAP -----------------------------------------------------------------------------------------


def _letter(number: int, sender: str, text: str = "hello") -> bytes:
    return (
        "Authentication-Results: mx.shop.example; spf=pass\r\n"
        f"From: {sender}\r\nMessage-ID: <m{number}@example.com>\r\n\r\n{text}\r\n"
    ).encode()


_BOUNCE = (
    b"From: daemon@example.com\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n"
    b"Final-Recipient: rfc822; ann@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b\r\n"
    b"Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <d1@shop.example>\r\n\r\n--b--\r\n"
)


def _by_imap(security: Literal["tls", "none"], *, idles: int = 1) -> Observe:
    """Return an observation of what a source reads, until it waits for the `idles`th time, or has failed."""

    async def observe(settings: Settings) -> object:
        users = {"desk": "p", "sales": "p"}
        async with MailboxSimulator(users=users, security=security) as mailbox:
            mailbox.deliver(_letter(1, "ann@example.com"))
            mailbox.deliver(_letter(2, "sales@shop.example", "x" * 2_000))
            mailbox.deliver(_BOUNCE)
            source = await default_manager().acreate("source", "imap", _imap_settings(mailbox, settings))
            emitted: list[object] = []

            async def emit(part: object) -> InboundResult:
                emitted.append(part)
                return InboundResult()

            running = asyncio.create_task(source.start(emit))
            with suppress(TimeoutError):
                seconds = 2 if idles > 1 else 30
                await until(
                    lambda: source.status in _FAILED or mailbox.commands.count("IDLE") >= idles, seconds
                )
            status = str(source.status)
            await source.stop()
            with suppress(ProviderError):
                await running
            folder = [(mail.uid, sorted(mail.flags)) for mail in mailbox.mails]
            return (
                status,
                list(map(_shown, emitted)),
                folder,
                [(name, mail.uid) for name, mail in mailbox.moved],
                mailbox.commands[:40],
                source.name,
            )

    return observe


_FAILED = (SourceStatus.ERROR, SourceStatus.RECONNECTING)


def _imap_settings(mailbox: MailboxSimulator, settings: Settings) -> Settings:
    given = {
        "channel_id": "mail",
        "host": mailbox.host,
        "port": mailbox.port,
        "security": mailbox.security,
        "ca_file": mailbox.ca_file if mailbox.security == "tls" else None,
        "username": "desk",
        "password": "p",
        "begin": "all",
        **settings,
    }
    return {name: value for name, value in given.items() if value is not None}


def _shown(part: object) -> object:
    """Return what tells parts apart."""
    if isinstance(part, InboundMessage):
        return part.channel_id, part.external_id, part.content.type, part.extra.get("authentication")
    assert isinstance(part, DeliveryStatus)
    return part.channel_id, part.provider, part.message_id


IMAP = Subject(
    "source:imap",
    {
        "channel_id": Change("other"),
        "host": Change("::1"),
        "port": Change(1),
        "security": Change("tls"),
        "username": Change("sales"),
        "password": Change("wrong"),
        "ca_file": Change(ssl.get_default_verify_paths().openssl_cafile, observe=_by_imap("tls")),
        "timeout": Change(0.000_001),
        "mailbox": Change("Nowhere"),
        "begin": Change("new"),
        "poll_seconds": Change(0.01, observe=_by_imap("none", idles=3)),
        "processed": Change("seen"),
        "move_to": Change("Elsewhere", {"processed": "move", "move_to": "Done"}),
        "max_bytes": Change(1_000),
        "provider": Change("ours"),
        "own_addresses": Change(["sales@shop.example"]),
        "authserv_id": Change("mx.shop.example"),
    },
    _by_imap("none"),
    real_time=True,
)

MAIL = (EMAIL, SMTP, IMAP)
