"""SMTP to aiosmtpd: encryption, logins, refusals, signatures, connections that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError

from roomkit.abc import ErrorCode, InvalidInputError, ProviderError
from roomkit.models import RoomEvent
from roomkit.models.content import MediaContent, TextContent
from roomkit.models.delivery import ProviderResult
from roomkit.models.event import EventSource
from roomkit.models.hints import EmailHints
from roomkit_plugins.smtp import SMTPConfig, SMTPProvider
from roomkit_plugins.smtp.errors import refused
from roomkit_plugins.testing.simulators import MailServerSimulator

PASSWORD = "canary-of-the-password"
type Configure = Callable[..., SMTPConfig]


async def send(provider: SMTPProvider, text: str = "hello", to: str = "ann@example.com", **hints: Any) -> Any:
    event = RoomEvent(
        room_id="r",
        source=EventSource(channel_id="web", channel_type="websocket"),  # type: ignore[arg-type]
        content=TextContent(body=text),
    )
    return await provider.send(event, to, idempotency_key=event.id, hints=EmailHints(**hints))


async def failure_of(provider: SMTPProvider, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await send(provider, **options)
    await provider.close()
    assert PASSWORD not in f"{caught.value!r} {vars(caught.value)}"
    return caught.value


@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
async def test_a_mail_goes_out_by_each_kind_of_connection(security: Any, configure_for: Configure) -> None:
    async with MailServerSimulator(security=security, users={"desk": PASSWORD}) as server:
        provider = SMTPProvider(configure_for(server))
        result = await send(provider, cc=("Ben <ben@example.com>",))
        await provider.close()
    (mail,) = server.mails
    assert (mail.sender, mail.recipients) == ("desk@shop.example", ("ann@example.com", "ben@example.com"))
    assert (mail.login, mail.is_encrypted) == ("desk", security != "none")
    assert (mail.text, mail.message["From"]) == ("hello", "Shop <desk@shop.example>")
    assert result == ProviderResult(success=True, provider_message_id=mail.message["Message-ID"])


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_of_another_authority_is_not_accepted(
    security: Any, configure_for: Configure
) -> None:
    """Nothing is sent, the password neither."""
    async with MailServerSimulator(security=security, users={"desk": PASSWORD}) as server:
        error = await failure_of(SMTPProvider(configure_for(server, ca_file=None)))
    assert (error.error_code, error.accepted) == (ErrorCode.CONNECTION, False)
    assert server.logins == []


async def test_a_server_without_starttls_gets_no_password(configure_for: Configure) -> None:
    async with MailServerSimulator(users={"desk": PASSWORD}) as server:
        error = await failure_of(SMTPProvider(configure_for(server, security="starttls", ca_file=None)))
    assert (error.error_code, error.accepted) == (ErrorCode.INVALID_REQUEST, False)
    assert server.logins == []


async def test_a_wrong_password_is_said_to_be_one(configure: Configure) -> None:
    error = await failure_of(SMTPProvider(configure(password="wrong")))
    assert (error.error_code, error.retryable, error.accepted) == (ErrorCode.AUTH, False, False)
    assert str(error).startswith("the mail server refused LOGIN (535)")


async def test_a_token_logs_in_and_is_asked_for_each_connection(
    server: MailServerSimulator, configure: Configure
) -> None:
    server.tokens["desk"] = "t1"

    async def token() -> str:
        return server.tokens["desk"]

    for _ in range(2):
        provider = SMTPProvider(configure(password=None), token=token)
        await send(provider)
        await provider.close()
        server.tokens["desk"] = "t2"
    assert server.logins == ["desk", "desk"]

    async def old() -> str:
        return "t1"

    assert (await failure_of(SMTPProvider(configure(), token=old))).error_code is ErrorCode.AUTH


@pytest.mark.parametrize(
    ("step", "reply", "code", "retryable"),
    [
        ("mail", "550 5.7.1 not yours", ErrorCode.PERMISSION, False),
        ("mail", "452 4.3.1 full", ErrorCode.OVERLOADED, True),
        ("rcpt", "550 5.1.1 no such user", ErrorCode.INVALID_RECIPIENT, False),
        ("rcpt", "550 unknown", ErrorCode.INVALID_RECIPIENT, False),
        ("rcpt", "450 4.2.0 greylisted", ErrorCode.RECIPIENT_RATE_LIMIT, True),
        ("data", "554 5.7.1 spam", ErrorCode.PERMISSION, False),
        ("data", "554 spam", ErrorCode.CONTENT_FILTER, False),
        ("data", "451 later", ErrorCode.SERVER, True),
        ("data", "421 4.7.0 too many mails", ErrorCode.RATE_LIMIT, True),
        ("data", "552 5.3.4 too big", ErrorCode.TOO_LONG, False),
    ],
)
async def test_a_refusal_is_classified(
    server: MailServerSimulator,
    configure: Configure,
    step: Any,
    reply: str,
    code: ErrorCode,
    retryable: bool,
) -> None:
    """And the server has not taken the mail; the next one goes out."""
    provider = SMTPProvider(configure())
    server.refuse(step, reply)
    with pytest.raises(ProviderError) as caught:
        await send(provider)
    error = caught.value
    assert (error.error_code, error.retryable, error.accepted) == (code, retryable, False)
    assert error.status_code == int(reply[:3])
    assert server.mails == []
    assert (await send(provider)).success
    await provider.close()


@pytest.mark.parametrize(
    ("reply", "said", "code", "vendor_code"),
    [
        (550, "5.1.1 no", ErrorCode.INVALID_RECIPIENT, "5.1.1"),
        (553, "no", ErrorCode.INVALID_RECIPIENT, "553"),
        (452, "4.2.2 full", ErrorCode.RECIPIENT_RATE_LIMIT, "4.2.2"),
        (550, "5.4.5 enough", ErrorCode.QUOTA, "5.4.5"),
        (535, "5.7.8 bad", ErrorCode.AUTH, "5.7.8"),
        (499, "?", ErrorCode.SERVER, "499"),
    ],
)
def test_an_enhanced_status_says_more_than_a_reply(
    reply: int, said: str, code: ErrorCode, vendor_code: str
) -> None:
    error = refused("rcpt", reply, said)
    assert (error.error_code, error.vendor_code) == (code, vendor_code)


async def test_a_refused_copy_is_said_and_the_mail_goes_out(
    server: MailServerSimulator, configure: Configure
) -> None:
    provider = SMTPProvider(configure())
    server.refuse("rcpt", "550 5.1.1 no such user", "ben@example.com")
    result = await send(provider, cc=("ben@example.com", "cem@example.com"))
    await provider.close()
    assert server.mails[0].recipients == ("ann@example.com", "cem@example.com")
    assert result.metadata == {"refused": {"ben@example.com": "550 5.1.1 no such user"}}


async def test_a_mail_that_is_too_big_is_not_sent(configure_for: Configure) -> None:
    async with MailServerSimulator(size_limit=2_000) as server:
        error = await failure_of(SMTPProvider(configure_for(server)), text="x" * 3_000)
    assert (error.error_code, error.accepted) == (ErrorCode.TOO_LONG, False)


async def test_an_address_in_another_script_is_carried(
    server: MailServerSimulator, configure: Configure
) -> None:
    provider = SMTPProvider(configure())
    await send(provider, to="jürgen@bücher.example")
    await provider.close()
    assert server.mails[0].recipients == ("jürgen@xn--bcher-kva.example",)
    assert server.mails[0].text == "hello"


async def test_a_signature_is_verified_by_dkim(server: MailServerSimulator, configure: Configure) -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record = b"v=DKIM1; k=rsa; p=" + b"".join(public.splitlines()[1:-1])
    asked: list[bytes] = []

    def dns(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name)
        return record

    provider = SMTPProvider(configure(dkim_key=private.decode(), dkim_selector="s1"))
    await send(provider, "hello, Ünï\n.\n.. dots", references=("<a@x.example>",))
    await provider.close()
    (mail,) = server.mails
    assert dkim.verify(mail.content, dnsfunc=dns)
    assert not dkim.verify(mail.content.replace(b"Subject: ", b"Subject: x"), dnsfunc=dns)
    assert asked[0] == b"s1._domainkey.shop.example."
    assert mail.text == "hello, Ünï\n.\n.. dots"


async def test_a_key_that_cannot_sign_sends_nothing(
    server: MailServerSimulator, configure: Configure
) -> None:
    error = await failure_of(SMTPProvider(configure(dkim_key="no key", dkim_selector="s1")))
    assert (error.error_code, error.accepted) == (ErrorCode.INVALID_REQUEST, False)
    assert server.mails == []


async def test_a_connection_is_kept_and_replaced_when_it_is_gone(
    server: MailServerSimulator, configure: Configure
) -> None:
    provider = SMTPProvider(configure())
    await send(provider)
    await send(provider)
    assert server.connections == 1
    server.drop_connections()
    assert (await send(provider)).success
    assert (server.connections, len(server.mails)) == (2, 3)
    await provider.close()


async def test_no_more_connections_than_configured(server: MailServerSimulator, configure: Configure) -> None:
    provider = SMTPProvider(configure(pool_size=2))
    await asyncio.gather(*(send(provider, str(number)) for number in range(8)))
    assert server.connections == 2
    assert {mail.text for mail in server.mails} == set(map(str, range(8)))
    await provider.close()


async def test_a_large_file_goes_along(server: MailServerSimulator, configure: Configure) -> None:
    provider = SMTPProvider(configure())
    content = MediaContent(
        url="data:application/pdf;base64," + "AAAA" * 100_000, mime_type="application/pdf", filename="a.pdf"
    )
    event = RoomEvent(
        room_id="r",
        source=EventSource(channel_id="web", channel_type="websocket"),  # type: ignore[arg-type]
        content=content,
    )
    await provider.send(event, "ann@example.com")
    await provider.close()
    (file,) = server.mails[0].message.iter_attachments()
    assert (file.get_filename(), len(file.get_content())) == ("a.pdf", 300_000)


async def test_a_probe_logs_in_and_sends_nothing(server: MailServerSimulator, configure: Configure) -> None:
    provider = SMTPProvider(configure())
    assert await provider.probe() == f"127.0.0.1:{server.port} takes connections (none) as desk"
    await provider.close()
    assert (server.logins, server.mails) == (["desk"], [])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"host": "mail.example\r\nX"}, "host"),
        ({"from_email": "desk"}, "is not one mail address|is not a mail address"),
        (
            {"host": "mail.example", "security": "none", "username": "u", "password": PASSWORD},
            "show the password",
        ),
        ({"dkim_key": "k"}, "both dkim_key and dkim_selector"),
        ({"local_hostname": "a b"}, "local_hostname"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        SMTPConfig(**{"host": "mail.example", "from_email": "desk@shop.example", **fields})
    assert PASSWORD not in str(caught.value)


def test_a_login_needs_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTP_PASSWORD", raising=False)
    config = SMTPConfig(host="mail.example", from_email="desk@shop.example", username="desk")
    with pytest.raises(InvalidInputError, match="SMTP_PASSWORD"):
        SMTPProvider(config)
