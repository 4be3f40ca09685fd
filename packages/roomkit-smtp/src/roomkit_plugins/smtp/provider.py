"""E-mail by any mail server."""

from __future__ import annotations

import asyncio
from email.policy import SMTP as SMTP_POLICY
from email.policy import SMTPUTF8
from typing import TYPE_CHECKING, override

from roomkit.abc.email import EmailProvider
from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.models.delivery import ProviderResult
from roomkit_plugins.smtp.connections import SMTPConnections
from roomkit_plugins.smtp.errors import ORIGIN, refused
from roomkit_plugins.smtp.signing import signed
from roomkit_plugins.wire.mail.outbound import OutboundMail, outbound_mail

if TYPE_CHECKING:
    from aiosmtplib import SMTP

    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import EmailHints
    from roomkit_plugins.smtp.config import SMTPConfig
    from roomkit_plugins.smtp.connections import GivesToken

__all__ = ["SMTPProvider"]

_IN_A_THREAD = 100_000
"""Bytes of files from which on a mail is written in a worker thread."""


class SMTPProvider(EmailProvider):
    """Sends mail by a mail server (RFC 5321, 6409), and signs it by DKIM if the settings have a key.

    The message id of a delivery is its Message-ID, which is the same for each try. `token` returns an access
    token for a server that takes no passwords (XOAUTH2: Gmail, Microsoft 365); it is asked for each new
    connection. A mail whose recipient is refused is not sent; refused copies are in the result's metadata.
    """

    idempotent = False

    def __init__(self, config: SMTPConfig, *, token: GivesToken | None = None) -> None:
        if config.username is not None and config.password is None and token is None:
            raise InvalidInputError(
                f"mail server {config.host!r} has a username and no password: set SMTP_PASSWORD, or "
                "give SMTPConfig password or SMTPProvider token"
            )
        self._config = config
        self._connections = SMTPConnections(config, token)

    @property
    @override
    def name(self) -> str:
        return ORIGIN.provider

    @override
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: EmailHints | None = None,
    ) -> ProviderResult:
        config = self._config
        mail = outbound_mail(
            event,
            to,
            sender=config.sender,
            hints=hints,
            key=idempotency_key,
            origin=ORIGIN,
            subject=config.subject,
        )
        data = await self._written(mail)
        async with self._connections.one() as client:
            not_sent_to = await _envelope(client, mail, len(data))
            await _content(client, data)
        metadata = {"refused": not_sent_to} if not_sent_to else {}
        return ProviderResult(success=True, provider_message_id=mail.message_id, metadata=metadata)

    async def probe(self) -> str:
        """Return that the server takes the login; nothing is sent. See `SupportsProbe`."""
        config = self._config
        async with self._connections.one():
            who = f" as {config.username}" if config.username else ", without a login"
            return f"{config.host}:{config.server_port} takes connections ({config.security}){who}"

    @override
    async def close(self) -> None:
        await self._connections.close()

    async def _written(self, mail: OutboundMail) -> bytes:
        if self._config.dkim_key is None and sum(len(each.data) for each in mail.body.files) < _IN_A_THREAD:
            return _bytes_of(mail)
        return await asyncio.to_thread(lambda: signed(_bytes_of(mail), self._config))


def _bytes_of(mail: OutboundMail) -> bytes:
    return mail.mime().as_bytes(policy=SMTPUTF8 if _needs_utf8(mail) else SMTP_POLICY)


def _needs_utf8(mail: OutboundMail) -> bool:
    """Whether an address is in another script before its @, which only SMTPUTF8 carries (RFC 6531)."""
    return not all(each.isascii() for each in (mail.sender.address, *mail.recipients))


async def _envelope(client: SMTP, mail: OutboundMail, size: int) -> dict[str, str]:
    """Say who sends and who gets it; return the copies that were refused. Raises ProviderError."""
    from aiosmtplib import SMTPException, SMTPRecipientRefused, SMTPResponseException

    options, encoding = _options(client, mail, size)
    not_sent_to: dict[str, str] = {}
    try:
        await client.mail(mail.sender.address, options=options, encoding=encoding)
        await client.rcpt(mail.to.address, encoding=encoding)
        for copy in mail.recipients[1:]:
            try:
                await client.rcpt(copy, encoding=encoding)
            except SMTPRecipientRefused as error:
                not_sent_to[copy] = f"{error.code} {error.message}"
    except SMTPResponseException as error:
        step = "rcpt" if isinstance(error, SMTPRecipientRefused) else "mail"
        raise refused(step, error.code, error.message) from error
    except (SMTPException, OSError) as error:
        raise ORIGIN.not_reached(error) from error
    return not_sent_to


def _options(client: SMTP, mail: OutboundMail, size: int) -> tuple[list[str], str]:
    """Return what MAIL says besides, and how addresses are written. Raises ProviderError."""
    limit = client.esmtp_extensions.get("size", "")
    if limit.isdigit() and 0 < int(limit) < size:
        raise ORIGIN.refused(
            f"the mail has {size} bytes, and the mail server takes {limit}", error_code=ErrorCode.TOO_LONG
        )
    options = [f"SIZE={size}"] if client.supports_extension("size") else []
    if not _needs_utf8(mail):
        return options, "ascii"
    if not client.supports_extension("smtputf8"):
        raise ORIGIN.refused(
            "the mail server takes no addresses in other scripts (SMTPUTF8)",
            error_code=ErrorCode.INVALID_RECIPIENT,
        )
    return [*options, "SMTPUTF8"], "utf-8"


async def _content(client: SMTP, data: bytes) -> None:
    """Send the message. Raises ProviderError; after a broken connection it is not known who has it."""
    from aiosmtplib import SMTPException, SMTPResponseException, SMTPTimeoutError

    try:
        await client.data(data)
    except SMTPResponseException as error:
        raise refused("data", error.code, error.message) from error
    except SMTPTimeoutError as error:
        raise _unknown("did not answer in time", ErrorCode.TIMEOUT) from error
    except (SMTPException, OSError) as error:
        raise _unknown(f"broke off ({type(error).__name__})", ErrorCode.CONNECTION) from error


def _unknown(what: str, code: ErrorCode) -> ProviderError:
    return ProviderError(
        f"the mail server {what} after it was sent a mail", error_code=code, provider=ORIGIN.provider
    )
