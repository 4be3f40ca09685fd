"""Messages that come as server-sent events."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from roomkit.abc.errors import StoreError
from roomkit.abc.log import get_logger
from roomkit_plugins.sources.bounded import OVERSIZED, BoundedAnswer
from roomkit_plugins.sources.config import SSESourceConfig, shown_url
from roomkit_plugins.sources.connected import ConnectedSource
from roomkit_plugins.sources.errors import SourceBrokenError
from roomkit_plugins.sources.wire import parse_event
from roomkit_plugins.wire.connection import plain_headers
from roomkit_plugins.wire.request_log import unlogged
from roomkit_plugins.wire.sdk import needed
from roomkit_plugins.wire.tls import shared_context

if TYPE_CHECKING:
    import httpx2
    from pydantic import SecretStr

    from roomkit.abc.source import EmitCallback
    from roomkit.models.channel import RateLimit
    from roomkit.models.delivery import InboundMessage

__all__ = ["SSESource"]

type EventParser = Callable[[str, str, str], InboundMessage | None]

_log = get_logger("roomkit.sources")
_LARGEST_EVENT = 1_048_576
_PASSING = frozenset({408, 425, 429})


class SSESource(ConnectedSource):
    """Takes the events that a server sends, in their order, and goes on after the last one that is stored.

    Without a `parser` an event named `message`, `msg` or `chat`, or without a name, is a JSON object, see
    `roomkit_plugins.sources.wire`; others are ignored. `parser(event, data, id)` returns the message of an
    event, None for one that is not for a room; what it raises is reported as `source_unparsed` and counted. A
    message without `external_id` gets the event's id, which also makes a redelivery recognisable.

    `last_event_id` is kept with the kit's values once its event is stored, and sent when the source connects
    again, here or on another worker. An event is handed over before the next one is read. A server that
    answers 204 has ended the stream for good. Redirects are not followed. An event of more than 1 MiB is
    reported as `source_unparsed`, and the stream goes on after it.
    """

    def __init__(
        self,
        url: str,
        channel_id: str,
        *,
        parser: EventParser | None = None,
        headers: Mapping[str, str | SecretStr] | None = None,
        params: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        last_event_id: str | None = None,
        reconnect: bool = False,
        max_reconnect_backoff: float = 30.0,
        rate_limit: RateLimit | None = None,
    ) -> None:
        self._config = SSESourceConfig(
            url=url,
            channel_id=channel_id,
            headers=headers or {},
            params=params or {},
            timeout=timeout,
            last_event_id=last_event_id,
            reconnect=reconnect,
            max_reconnect_backoff=max_reconnect_backoff,
            rate_limit=rate_limit,
        )
        super().__init__(
            f"sse:{shown_url(url)}",
            channel_id,
            reconnect=reconnect,
            max_backoff=max_reconnect_backoff,
            limit=rate_limit,
        )
        self._parser = parser or (lambda event, data, _: parse_event(event, data, channel_id))
        self.last_event_id = last_event_id
        """The last event whose message is stored; None before the first."""

    async def start(self, emit: EmitCallback) -> None:
        """Go on after the last event that is stored. See `SourceProvider.start`."""
        await self._load_position()
        await super().start(emit)

    async def _connect(self, emit: EmitCallback) -> None:
        client = await asyncio.to_thread(_client, self._config)
        import httpx2

        async with client:
            try:
                await self._follow(client, emit)
            except httpx2.HTTPError as error:
                raise SourceBrokenError(
                    f"{self.name} is not connected ({type(error).__name__}): it is tried again later"
                ) from error

    async def _follow(self, client: httpx2.AsyncClient, emit: EmitCallback) -> None:
        """Ask for the stream and read it. Returns if the server has nothing more to say."""
        position = {} if self.last_event_id is None else {"Last-Event-ID": self.last_event_id.encode()}
        request = client.build_request("GET", self._config.url, headers=position)  # type: ignore[arg-type]
        with unlogged():
            answer = await self._unless_stopped(self._answered(client, request))
        try:
            if answer.status_code == 204:
                return
            self._check(answer)
            _probe_silent_peer(answer)
            self._connected()
            await self._receive(answer, emit)
        finally:
            await answer.aclose()
        raise SourceBrokenError(f"{self.name} ended the stream: it is asked for again later")

    async def _answered(self, client: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
        """Return the answer once its head is there; only what follows may take any time."""
        seconds = self._config.timeout
        try:
            async with asyncio.timeout(seconds):
                return await client.send(request, stream=True)
        except TimeoutError as late:
            raise SourceBrokenError(
                f"{self.name} did not answer within {seconds:g} s: it is tried again later"
            ) from late

    def _check(self, answer: httpx2.Response) -> None:
        status = answer.status_code
        if status != 200:
            is_final = status < 500 and status not in _PASSING
            raise SourceBrokenError(
                f"{self.name} refused the stream ({status}): check its URL and headers", is_final=is_final
            )
        if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/event-stream":
            raise SourceBrokenError(
                f"{self.name} answers with something else than text/event-stream: check its URL",
                is_final=True,
            )

    async def _receive(self, answer: httpx2.Response, emit: EmitCallback) -> None:
        import httpx2

        bounded: Any = BoundedAnswer(answer, _LARGEST_EVENT)  # Any: what the library reads of an answer
        events: AsyncIterator[httpx2.ServerSentEvent] = aiter(httpx2.EventSource(bounded, None))
        before = ""
        while (event := await self._unless_stopped(anext(events, None))) is not None:
            if event.retry is not None:
                self._wait_at_first(event.retry)
            # The library repeats the id of an event for those after it that have none.
            own_id, before = event.id if event.id != before else "", event.id
            if event.event == OVERSIZED:
                self._report_unparsed(ValueError(f"it has more than {_LARGEST_EVENT} bytes"), int(event.data))
            elif event.data:
                await self._take(event, own_id, emit)
            if own_id:
                await self._keep_position(own_id)

    async def _take(self, event: httpx2.ServerSentEvent, own_id: str, emit: EmitCallback) -> None:
        parse = partial(self._parser, event.event, event.data, own_id)
        message = self._read(parse, len(event.data.encode()))
        if message is None:
            return
        if own_id:
            message = message.replace(
                external_id=message.external_id or own_id,
                idempotency_key=message.idempotency_key or message.external_id or own_id,
            )
        await self._hand_over(message, emit)

    # -- the position in the stream -----------------------------------------------------------

    @property
    def _key(self) -> tuple[str, str, str]:
        stream = shown_url(self._config.url)
        if self._config.params:  # streams of one URL; what is secret in them does not leave the digest
            stream += "?" + urlencode(sorted(self._config.params.items()))
        return "last-event-id", self._config.channel_id, sha256(stream.encode()).hexdigest()[:32]

    async def _load_position(self) -> None:
        if self.services is None:
            return
        kept = await self.services.values.get(*self._key)
        if kept is not None:
            self.last_event_id = str(kept.data["id"])

    async def _keep_position(self, event_id: str) -> None:
        """Keep the position, after what it covers; without it the events come again, and are recognised."""
        self.last_event_id = event_id
        if self.services is None:
            return
        try:
            await self.services.values.put(*self._key, data={"id": event_id}, fence=self.home)
        except StoreError as error:
            _log.warning("the position of source %s was not kept: %s", self.name, error)


def _probe_silent_peer(answer: httpx2.Response) -> None:
    """Have TCP notice a server that is gone without a word: a stream may be silent for any time."""
    line = answer.extensions["network_stream"].get_extra_info("socket")
    for level, name, value in _PROBES:
        if (option := getattr(socket, name, None)) is not None:  # not each system has each
            line.setsockopt(level, option, value)


_PROBES = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 60),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
)
"""Two minutes without a sign of the server: RFC 9293 section 3.8.4, with times of a web socket's order."""


def _client(config: SSESourceConfig) -> httpx2.AsyncClient:
    """Import the library and make its client, which blocks."""
    with needed("httpx2", by="SSESource", distribution="roomkit-sources"):
        import httpx2

    headers = {**plain_headers(config.headers), "Accept": "text/event-stream", "Cache-Control": "no-store"}
    return httpx2.AsyncClient(
        verify=shared_context(httpx2.create_ssl_context),
        headers=headers,
        params=dict(config.params) or None,
        follow_redirects=False,
        timeout=httpx2.Timeout(None, connect=config.timeout),
    )
