"""What a carrier's provider adds to the request that it makes."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol, override
from urllib.parse import urlsplit

import httpx2

from benchmarks.harness import Case, contest
from benchmarks.report import Effort, Figure, Findings
from benchmarks.world import ROOM
from roomkit.abc.sms import SMSProvider
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit_plugins.sinch import SinchConfig, SinchSMSProvider
from roomkit_plugins.telnyx import TelnyxConfig, TelnyxSMSProvider
from roomkit_plugins.testing.simulators import SinchSimulator, TelnyxSimulator, TwilioSimulator
from roomkit_plugins.twilio import TwilioConfig, TwilioSMSProvider

__all__ = ["providers"]

_MOST = 1.15
"""What a provider's message may cost, in requests of the same bytes."""
_TO = "+14165550123"
_SPAWN = multiprocessing.get_context("spawn")


class _Provider(Protocol):
    """How a carrier's provider is made: for an account of a simulator, at an origin."""

    def __call__(self, vendor: Any, origin: str, client: httpx2.AsyncClient | None, /) -> SMSProvider: ...


def _twilio(vendor: TwilioSimulator, origin: str, client: httpx2.AsyncClient | None) -> SMSProvider:
    config = TwilioConfig.model_validate(
        {
            "account_sid": vendor.account_sid,
            "auth_token": vendor.auth_token,
            "from_number": vendor.numbers[0],
            "base_url": origin,
        }
    )
    return TwilioSMSProvider(config, http_client=client)


def _telnyx(vendor: TelnyxSimulator, origin: str, client: httpx2.AsyncClient | None) -> SMSProvider:
    config = TelnyxConfig.model_validate(
        {"api_key": vendor.api_key, "from_number": vendor.numbers[0], "base_url": origin}
    )
    return TelnyxSMSProvider(config, http_client=client)


def _sinch(vendor: SinchSimulator, origin: str, client: httpx2.AsyncClient | None) -> SMSProvider:
    config = SinchConfig.model_validate(
        {
            "service_plan_id": vendor.service_plan_id,
            "api_token": vendor.api_token,
            "from_number": vendor.numbers[0],
            "base_url": origin,
        }
    )
    return SinchSMSProvider(config, http_client=client)


_CARRIERS: Mapping[str, tuple[Callable[[], Any], _Provider]] = {
    "Twilio": (TwilioSimulator, _twilio),
    "Telnyx": (TelnyxSimulator, _telnyx),
    "Sinch": (SinchSimulator, _sinch),
}


async def providers(effort: Effort) -> Findings:
    """The CPU of a message by each carrier, against a request of the same bytes by the HTTP client alone.

    Twilio's is made by its SDK, which is measured by itself, too.
    """
    figures = []
    for name, (simulator, provider) in _CARRIERS.items():
        exchange = await _recorded(simulator, provider)
        async with _answering(exchange.answer) as origin, httpx2.AsyncClient() as client:
            ours = provider(exchange.vendor, origin, None)
            ways = {"ours": _sending(ours), "httpx2": exchange.posting(client, origin)}
            if name == "Twilio":
                ways["its SDK"] = _by_twilios_sdk(exchange.vendor, origin, client)
            cases = {way: Case(run, effort.items(300)) for way, run in ways.items()}
            found = await contest(cases, effort.rounds(12))
            await ours.close()
        for way in [*ways][1:]:
            floor = found[way].best
            aim = floor * _MOST if way is [*ways][-1] else None
            figures.append(
                Figure(
                    f"message by {name}, against its request by {way}", found["ours"].best, "µs", floor, aim
                )
            )
    return Findings(figures)


def _sending(provider: SMSProvider) -> Callable[[int], Awaitable[None]]:
    source = EventSource(channel_id="web", channel_type=ChannelType.WEBSOCKET, participant_id="ann")
    event = RoomEvent(room_id=ROOM, source=source, content=TextContent(body="See you at ten."), index=7)

    async def send(items: int) -> None:
        for number in range(items):
            result = await provider.send(event, _TO, idempotency_key=f"delivery-{number}")
            assert result.success
            assert result.provider_message_id

    return send


# -- the same request by hand ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A request as a provider makes it, and a vendor's answer, byte for byte."""

    vendor: Any
    path: str
    headers: Mapping[str, str]
    body: bytes
    answer: bytes

    def posting(self, client: httpx2.AsyncClient, origin: str) -> Callable[[int], Awaitable[None]]:
        """Return what sends the request so many times, and reads each answer."""
        url = f"{origin}{self.path}"

        async def post(items: int) -> None:
            for _ in range(items):
                answer = await client.post(url, headers=self.headers, content=self.body)
                answer.raise_for_status()

        return post


class _Recorder(httpx2.AsyncHTTPTransport):
    """Connections that remember the last request and its answer."""

    request: httpx2.Request
    answer: bytes

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.request = request
        response = await super().handle_async_request(request)
        body = await response.aread()
        head = [f"HTTP/1.1 {response.status_code} OK"]
        head += [
            f"{name}: {value}"
            for name, value in response.headers.items()
            if name not in ("content-length", "transfer-encoding", "connection")
        ]
        self.answer = "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body
        return httpx2.Response(response.status_code, headers=response.headers, content=body, request=request)


async def _recorded(simulator: Callable[[], Any], provider: _Provider) -> _Exchange:
    """Return the exchange of one message with a carrier's simulator, which checks it."""
    async with simulator() as vendor:
        recorder = _Recorder()
        async with httpx2.AsyncClient(transport=recorder) as client:
            ours = provider(vendor, vendor.origin, client)
            await _sending(ours)(1)
            await ours.close()
    request = recorder.request
    headers = {name: value for name, value in request.headers.items() if name not in _OF_CONNECTION}
    return _Exchange(vendor, urlsplit(str(request.url)).path, headers, request.content, recorder.answer)


_OF_CONNECTION = ("host", "content-length", "connection")


def _by_twilios_sdk(
    vendor: TwilioSimulator, origin: str, client: httpx2.AsyncClient
) -> Callable[[int], Awaitable[None]]:
    """Return what sends the same message by the SDK alone, over the same HTTP client."""
    from twilio.http import AsyncHttpClient
    from twilio.http.response import Response
    from twilio.rest import Client

    class Connections(AsyncHttpClient):  # type: ignore[misc]  # the SDK is not typed
        def __init__(self) -> None:
            self.is_async = True

        async def request(
            self, method: str, url: str, params: Any = None, data: Any = None, *rest: Any, **given: Any
        ) -> Any:
            answer = await client.request(
                method, url, params=params, data=data, headers=given["headers"], auth=given["auth"]
            )
            return Response(answer.status_code, answer.text, dict(answer.headers))

    sdk = Client(vendor.account_sid, vendor.auth_token, http_client=Connections())
    sdk.api.base_url = origin

    async def send(items: int) -> None:
        for _ in range(items):
            sent = await sdk.messages.create_async(to=_TO, from_=vendor.numbers[0], body="See you at ten.")
            assert sent.sid

    return send


# -- the other end, in a process of its own ----------------------------------------------------


@asynccontextmanager
async def _answering(answer: bytes) -> AsyncIterator[str]:
    """Answer every request alike, at no cost to the process that is measured; gives the origin."""
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_answer_all, args=(theirs, answer), daemon=True)
    process.start()
    theirs.close()
    try:
        yield f"http://127.0.0.1:{await asyncio.to_thread(ours.recv)}"
    finally:
        process.kill()
        await asyncio.to_thread(process.join)
        ours.close()


def _answer_all(pipe: Connection, answer: bytes) -> None:
    asyncio.run(_serve(pipe, answer))


async def _serve(pipe: Connection, answer: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answering(answer), "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _Answering(asyncio.Protocol):
    """One connection: an answer for each request, once its body is there."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._read = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, rest = self._read.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if len(rest) < length:
                return
            self._read = rest[length:]
            self._transport.write(self._answer)
