"""Connections to a mail server: made when they are needed, kept for a while, one message at a time on each.

aiosmtplib speaks the protocol. It is well kept, native to asyncio, and lets each command be sent by itself,
by which it is known how far a message came; the stdlib's smtplib would take a thread for each connection.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.smtp.errors import ORIGIN, refused

if TYPE_CHECKING:
    from aiosmtplib import SMTP

    from roomkit_plugins.smtp.config import MailServerConfig, SMTPConfig

__all__ = ["GivesToken", "SMTPConnections", "tls_context"]

type GivesToken = Callable[[], Awaitable[str]]
"""Returns an access token (OAuth 2) that is valid now."""

_IDLE = 60.0
"""Seconds after which an unused connection is not used again: servers close them after some minutes."""


def tls_context(config: MailServerConfig) -> ssl.SSLContext:
    """Return the certificates that a server is verified by. Blocks: call it in a worker thread."""
    return ssl.create_default_context(cafile=config.ca_file)


class SMTPConnections:
    """The connections of one account, at most `pool_size` at once."""

    def __init__(self, config: SMTPConfig, token: GivesToken | None) -> None:
        self._config = config
        self._token = token
        self._free = asyncio.Semaphore(config.pool_size)
        self._idle: list[tuple[SMTP, float]] = []  # bound: pool_size
        self._context: ssl.SSLContext | None = None
        self._closed = False

    @asynccontextmanager
    async def one(self) -> AsyncIterator[SMTP]:
        """Lend a connection that is logged in; it is closed if its use raises. Raises ProviderError."""
        if self._closed:
            raise ORIGIN.refused("the provider is closed", error_code=ErrorCode.CONNECTION)
        async with self._free:
            client = await self._kept() or await self._made()
            try:
                yield client
            except BaseException:
                client.close()
                raise
            self._give_back(client)

    async def close(self) -> None:
        """Close the connections; those in use when they are returned. Idempotent."""
        self._closed = True
        while self._idle:
            client, _ = self._idle.pop()
            with suppress(Exception):  # a goodbye that fails changes nothing
                async with asyncio.timeout(1):
                    await client.quit()
            client.close()

    def _give_back(self, client: SMTP) -> None:
        if self._closed:
            client.close()
        else:
            self._idle.append((client, time.monotonic()))

    async def _kept(self) -> SMTP | None:
        """Return a connection that is still there, and has nothing of the last message."""
        while self._idle:
            client, used_at = self._idle.pop()
            if time.monotonic() - used_at < _IDLE:
                try:
                    await client.rset()
                except Exception:  # noqa: BLE001  # whatever it is, the connection is of no more use
                    client.close()
                    continue
                except BaseException:
                    client.close()
                    raise
                return client
            client.close()
        return None

    async def _made(self) -> SMTP:
        from aiosmtplib import SMTP, SMTPException

        config = self._config
        if self._context is None:
            self._context = await asyncio.to_thread(tls_context, config)
        client = SMTP(
            hostname=config.host,
            port=config.server_port,
            local_hostname=config.local_hostname,
            timeout=config.timeout,
            use_tls=config.security == "tls",
            start_tls=config.security == "starttls",
            tls_context=self._context,
        )
        try:
            await client.connect()
            await self._log_in(client)
        except (SMTPException, OSError) as error:
            client.close()
            raise _not_connected(error) from error
        except BaseException:
            client.close()
            raise
        return client

    async def _log_in(self, client: SMTP) -> None:
        from aiosmtplib import SMTPAuthenticationError, SMTPResponseException

        config = self._config
        if config.username is None:
            return
        try:
            if self._token is not None:
                await client.auth_xoauth2(config.username, await self._token())
            elif config.password is not None:
                await client.login(config.username, config.password.get_secret_value())
        except (SMTPAuthenticationError, SMTPResponseException) as error:
            raise refused("login", error.code, error.message) from error


def _not_connected(error: Exception) -> ProviderError:
    """Return the error for a connection that was not made: the server has nothing."""
    from aiosmtplib import SMTPResponseException

    if isinstance(error, SMTPResponseException):
        return refused("connect", error.code, error.message)
    if (reason := _tls_failure(error)) is not None:
        return ProviderError(
            f"the mail server's certificate is not accepted ({reason}): check host, security and ca_file",
            error_code=ErrorCode.CONNECTION,
            provider=ORIGIN.provider,
            accepted=False,
        )
    if isinstance(error, OSError):
        return ORIGIN.not_reached(error)
    return ORIGIN.refused(f"the mail server cannot do what the settings ask: {error}; check security")


def _tls_failure(error: BaseException | None) -> str | None:
    """Return why TLS failed, if that is among the causes of an error."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error.reason or type(error).__name__
        error = error.__cause__
    return None
