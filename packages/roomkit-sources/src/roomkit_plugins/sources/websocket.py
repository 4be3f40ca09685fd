"""Messages that come by a web socket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.models.enums import SourceStatus
from roomkit_plugins.sources.config import WebSocketSourceConfig, shown_url
from roomkit_plugins.sources.connected import ConnectedSource
from roomkit_plugins.sources.errors import SourceBrokenError, SourceNotConnectedError
from roomkit_plugins.sources.wire import parse_message
from roomkit_plugins.wire.connection import plain_headers
from roomkit_plugins.wire.sdk import needed

if TYPE_CHECKING:
    from pydantic import SecretStr
    from websockets.asyncio.client import ClientConnection

    from roomkit.abc.source import EmitCallback
    from roomkit.models.channel import RateLimit
    from roomkit.models.delivery import InboundMessage

__all__ = ["WebSocketSource"]

type MessageParser = Callable[[str | bytes], InboundMessage | None]
_PASSING = frozenset({408, 425, 429})


class WebSocketSource(ConnectedSource):
    """Takes the messages that a server sends over one web socket, in their order.

    Without a `parser` a message is a JSON object, see `roomkit_plugins.sources.wire`. `parser` returns the
    message of a frame, None for a frame that is not for a room; an exception of it is reported as
    `source_unparsed` and counted, and the connection stays. A message is handed over before the next one is
    read, so a kit that is slow slows the server down. Redirects are not followed. A web socket gives nothing
    again: messages sent while there was no connection are the server's to repeat, with the same
    `external_id`.
    """

    def __init__(
        self,
        url: str,
        channel_id: str,
        *,
        parser: MessageParser | None = None,
        headers: Mapping[str, str | SecretStr] | None = None,
        subprotocols: Sequence[str] = (),
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        close_timeout: float | None = 10.0,
        max_size: int | None = 1_048_576,
        origin: str | None = None,
        reconnect: bool = False,
        max_reconnect_backoff: float = 30.0,
        rate_limit: RateLimit | None = None,
    ) -> None:
        self._config = WebSocketSourceConfig(
            url=url,
            channel_id=channel_id,
            headers=headers or {},
            subprotocols=tuple(subprotocols),
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=close_timeout,
            max_size=max_size,
            origin=origin,
            reconnect=reconnect,
            max_reconnect_backoff=max_reconnect_backoff,
            rate_limit=rate_limit,
        )
        super().__init__(
            f"websocket:{shown_url(url)}",
            channel_id,
            reconnect=reconnect,
            max_backoff=max_reconnect_backoff,
            limit=rate_limit,
        )
        self._parser = parser or partial(parse_message, channel_id=channel_id)
        self._connection: ClientConnection | None = None

    async def send(self, data: str | bytes) -> None:
        """Send to the server. Raises SourceNotConnectedError while there is no connection."""
        if self._connection is None or self.status is not SourceStatus.CONNECTED:
            raise SourceNotConnectedError(
                f"cannot send to {self.name}: there is no connection; wait until its status is CONNECTED"
            )
        await self._connection.send(data)

    async def _connect(self, emit: EmitCallback) -> None:
        connect = await asyncio.to_thread(_connector, self._config)
        from websockets.exceptions import WebSocketException

        try:
            connection: ClientConnection = await self._unless_stopped(connect())
            self._connection = connection
            self._connected()
            await self._receive(connection, emit)
        except (WebSocketException, OSError) as error:
            raise _broken(self.name, error) from error
        finally:
            opened, self._connection = self._connection, None
            if opened is not None:
                await opened.close()

    async def _receive(self, connection: ClientConnection, emit: EmitCallback) -> None:
        while True:
            raw = await self._unless_stopped(connection.recv())
            message = self._read(partial(self._parser, raw), len(raw))
            if message is not None:
                await self._hand_over(message, emit)


def _connector(config: WebSocketSourceConfig) -> Callable[[], Any]:  # Any: the library's awaitable
    """Import the library and read the certificates, which blocks; return what connects."""
    with needed("websockets", by="WebSocketSource", distribution="roomkit-sources"):
        from websockets.asyncio.client import connect

    class WithoutRedirects(connect):
        """A redirect would take headers elsewhere, and the source to another server."""

        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    options: dict[str, Any] = {  # Any: the library has a type of its own for some of these texts
        "additional_headers": plain_headers(config.headers),
        "subprotocols": list(config.subprotocols) or None,
        "ping_interval": config.ping_interval,
        "ping_timeout": config.ping_timeout,
        "close_timeout": config.close_timeout,
        "max_size": config.max_size,
        "origin": config.origin,
    }
    if config.url.startswith("wss:"):
        options["ssl"] = ssl.create_default_context()
    return partial(WithoutRedirects, config.url, **options)


def _broken(name: str, error: Exception) -> SourceBrokenError:
    """Say why a connection is gone, without what the server said."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        is_final = status < 500 and status not in _PASSING
        return SourceBrokenError(
            f"{name} refused the connection ({status}): check its URL and headers", is_final=is_final
        )
    code = getattr(getattr(error, "rcvd", None), "code", None)
    closed = "" if code is None else f", close code {code}"
    return SourceBrokenError(
        f"{name} is not connected ({type(error).__name__}{closed}): it is tried again later"
    )
