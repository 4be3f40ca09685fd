"""A server under load: a thousand sockets, ten thousand webhooks, and vendors that hang and fail.

What must hold is asserted: each message is in its timeline once, each delivery in the ledger, and each socket
has each event once, whatever happens between. How fast it was is reported.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import quote

import httpx2

from benchmarks.loaded_server import KEY, FailingVendor, HangingVendor, Serving, served, settings
from benchmarks.report import Effort, Figure, Findings
from benchmarks.socket_clients import Crowd, DistantCrowd
from benchmarks.socket_servers import KEY as SOCKET_KEY
from benchmarks.socket_servers import SOCKET, server
from benchmarks.world import ROOM
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing.simulators import TwilioSimulator

__all__ = ["backlog", "broadcasting", "load"]

_PEOPLE = 200
_MESSAGES = 10
"""What a person writes at least: there are fewer people where there are fewer messages."""
_CONNECTIONS = 8
_RATE = 100
"""Webhooks a second while times are taken; at a rate faster than they are served, a queue is measured."""
_GOAL = 20.0
_FLAT = 3_000.0
"""Bytes that a message may add to the server's memory while its room's recent events are few."""
_WAITING = 1_000.0
"""Bytes that it may add once they are fifty, which is as many as are kept at hand."""
_AT_HAND = 50
_SOCKET = f"/v1/rooms/{ROOM}/socket?channel_id=web&participant_id={{}}"
_FLOOR = "Starlette by hand"
_OURS = "RoomKit's application"


async def broadcasting(effort: Effort) -> Findings:
    """The CPU of a message to a thousand sockets, against a loop over Starlette's sockets in the same run."""
    size = effort.items(1000)
    async with AsyncExitStack() as stack:
        ours, floor = [await stack.enter_async_context(server(name)) for name in (_OURS, _FLOOR)]
        crowds = (
            (ours, Crowd(ours.port, size, target=SOCKET, key=SOCKET_KEY), True),
            (floor, Crowd(floor.port, size), False),
        )
        best = [float("inf")] * 2
        messages = max(2, effort.items(1000) // 40)
        for turn in range(effort.rounds(8) + 1):
            for place, (each, crowd, acknowledged) in enumerate(crowds):
                before = each.spent().all
                await asyncio.to_thread(crowd.say, messages, acknowledged=acknowledged)
                spent = (each.spent().all - before) / messages / size * 1e6
                best[place] = min(best[place], spent) if turn else best[place]
        for _, crowd, _ in crowds:
            crowd.close()
    name = f"1 to {size:,}, per socket, the application of roomkit-server"
    return Findings([Figure(name, best[0], "µs", best[1], best[1] * 1.3)])


async def load(effort: Effort) -> Findings:
    """Webhooks and sockets at a server that is stopped in the middle, while two vendors hang and fail."""
    async with _configured() as (vendor, file):
        run = _Run(vendor, file, messages=effort.items(10_000), sockets=effort.items(1000))
        return Findings(await run.all())


async def backlog(effort: Effort) -> Findings:
    """The memory of a webhook at a server in use whose vendors are down: nothing is left to be cached."""
    async with _configured() as (vendor, file):
        run = _Run(vendor, file, messages=effort.items(6000), sockets=0, people=10)
        return Findings([Figure("memory of a waiting webhook", await run.grown(), "bytes", aim=_WAITING)])


@asynccontextmanager
async def _configured() -> AsyncIterator[tuple[TwilioSimulator, Path]]:
    """Give a vendor that works, and the configuration of a server with two more that do not."""
    with tempfile.TemporaryDirectory() as folder:
        async with TwilioSimulator() as vendor, HangingVendor() as hanging, FailingVendor() as failing:
            origins = {"sms": vendor.origin, "hanging": hanging.origin, "failing": failing.origin}
            file = Path(folder, "roomkit.toml")
            await asyncio.to_thread(file.write_text, settings(vendor, origins))
            yield vendor, file


@dataclass(slots=True)
class _Run:
    """One run: the messages sent, and those found."""

    vendor: TwilioSimulator
    file: Path
    messages: int
    sockets: int
    people: int = 0
    """How many write; there are fewer where there are fewer messages."""
    figures: list[Figure] = field(default_factory=list)
    rooms: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.people = min(self.people or _PEOPLE, self.messages // _MESSAGES)

    async def all(self) -> list[Figure]:
        """Do it all."""
        half = self.messages // 2
        async with served(self.file) as first:
            await self._prepare(first)
            unanswered = await self._paced(first, range(half))
        async with served(self.file) as second:
            await self._hurried(second, [*unanswered, *range(half, self.messages)])
            await self._check(second)
            began = time.perf_counter()
            assert await second.stop() == 143
            self.figures.append(Figure("SIGTERM with vendors down", time.perf_counter() - began, "s"))
        return self.figures

    async def grown(self) -> float:
        """Return the bytes that a webhook adds once the recent events of its room are at hand."""
        async with served(self.file) as serving:
            await self._prepare(serving)
            full = min(self.people * _AT_HAND * 2, self.messages // 2)
            await _post_all(serving.port, [self._webhook(serving, each) for each in range(full)])
            before = serving.resident()
            rest = range(full, self.messages)
            assert all(await _post_all(serving.port, [self._webhook(serving, each) for each in rest]))
            return (serving.resident() - before) / len(rest)

    # -- phases -------------------------------------------------------------------------------

    async def _prepare(self, serving: Serving) -> None:
        """Make a room for each person, and one for the sockets."""
        async with _client(serving) as client:
            await _done(client.post("/v1/rooms", json={"room_id": ROOM}))
            await _done(client.put(f"/v1/rooms/{ROOM}/channels/web", json={}))
            for number in range(self.people):
                room = f"room-{number}"
                await _done(client.post("/v1/rooms", json={"room_id": room}))
                for channel in ("sms", "hanging", "failing"):
                    body = {"metadata": {"phone_number": _number(number)}}
                    await _done(client.put(f"/v1/rooms/{room}/channels/{channel}", json=body))
                self.rooms.append(room)

    async def _paced(self, serving: Serving, numbers: Sequence[int]) -> list[int]:
        """Send webhooks at a steady rate while sockets chat; return those that SIGTERM left unanswered."""
        crowd = await asyncio.to_thread(DistantCrowd, serving.port, self.sockets, target=_SOCKET, key=KEY)
        warm = max(1, len(numbers) // 10)
        await _post_all(serving.port, [self._webhook(serving, each) for each in numbers[:warm]])
        resident, cpu = serving.resident(), serving.cpu()
        measured = numbers[warm:-warm]
        chat = asyncio.create_task(self._chat(crowd, seconds=len(measured) / _RATE))
        took = await _post_paced(serving.port, [self._webhook(serving, each) for each in measured])
        refused = [each for each, seconds in zip(measured, took, strict=True) if seconds is None]
        said = await chat
        grown = (serving.resident() - resident) / len(measured)
        busy = (serving.cpu() - cpu) / len(measured) * 1e6
        assert await asyncio.to_thread(crowd.frames) == said * self.sockets, (
            "a socket lacks an event, or has one twice"
        )
        last = numbers[-warm:]
        answers = asyncio.create_task(
            _post_all(serving.port, [self._webhook(serving, each) for each in last], is_cut=True)
        )
        await asyncio.sleep(0.1)  # another process is stopped in the middle of it
        began = time.perf_counter()
        assert await serving.stop() == 143
        ended = time.perf_counter() - began
        unanswered = [each for each, ok in zip(last, await answers, strict=True) if not ok]
        await asyncio.to_thread(crowd.close)
        self._report([each for each in took if each is not None], grown, busy)
        self.figures += [
            Figure("webhooks answered with 503", len(refused), f"of {len(measured)}"),
            Figure("SIGTERM under load", ended, "s"),
            Figure("webhooks that it left unanswered", len(unanswered), "of " + str(len(last))),
            Figure(f"events that {self.sockets:,} sockets had, each once", said * self.sockets, "frames"),
        ]
        return [*refused, *unanswered]

    async def _chat(self, crowd: DistantCrowd, seconds: float) -> int:
        """Have the room of the sockets talk, once a second; return how often."""
        said = 0
        while said <= seconds:
            await asyncio.to_thread(crowd.say, 1)
            await asyncio.sleep(1.0)  # a steady load
            said += 1
        return said

    async def _hurried(self, serving: Serving, numbers: Sequence[int]) -> None:
        """Send the rest as fast as it is answered, every tenth twice, as vendors do after an outage."""
        wanted = [*numbers, *numbers[::10]]
        began = time.perf_counter()
        answers = await _post_all(serving.port, [self._webhook(serving, each) for each in wanted])
        assert all(answers), "a server that runs left a webhook unanswered"
        rate = len(wanted) / (time.perf_counter() - began)
        self.figures.append(Figure("webhooks a second, as fast as they are answered", rate, "a second"))

    async def _check(self, serving: Serving) -> None:
        """Find each message once, and a row for each of its deliveries."""
        texts: Counter[str] = Counter()
        rows: Counter[str] = Counter()
        async with _client(serving) as client:
            for room in self.rooms:
                async for event in _pages(client, f"/v1/rooms/{quote(room)}/events"):
                    if event["type"] == "message":
                        texts[event["content"]["body"]] += 1
                async for row in _pages(client, "/v1/deliveries", room_id=room):
                    rows[f"{row['channel_id']} {row['state']}"] += 1
        assert texts == Counter(_text(number) for number in range(self.messages))
        counts = {name: _of(rows, name) for name in ("hanging", "failing")}
        assert counts == dict.fromkeys(counts, self.messages), rows
        assert rows["hanging sent"] == rows["failing sent"] == 0
        for name, count in sorted(rows.items()):
            self.figures.append(Figure(f"deliveries, {name}", count, "rows"))

    # -- requests -----------------------------------------------------------------------------

    def _webhook(self, serving: Serving, number: int) -> WebhookRequest:
        """Return a message of a person as Twilio sends and signs it; the same each time."""
        sid = f"SM{number:032x}"
        form = {
            **dict.fromkeys(("MessageSid", "SmsSid", "SmsMessageSid"), sid),
            "AccountSid": self.vendor.account_sid,
            "From": _number(number % self.people),
            "To": self.vendor.numbers[0],
            "Body": _text(number),
            "NumMedia": "0",
            "NumSegments": "1",
            "SmsStatus": "received",
            "ApiVersion": "2010-04-01",
            **dict.fromkeys(("FromCity", "FromState", "FromZip"), ""),
            **dict.fromkeys(("FromCountry", "ToCountry"), "CA"),
        }
        return self.vendor.signed(form.items(), f"{serving.url}/webhooks/sms")

    def _report(self, took: Sequence[float], grown: float, busy: float) -> None:
        ranks = quantiles(took, n=1000, method="inclusive")
        self.figures += [
            Figure(f"answer of a webhook at {_RATE} a second, p50", ranks[499] * 1e3, "ms"),
            Figure(f"answer of a webhook at {_RATE} a second, p99", ranks[989] * 1e3, "ms", aim=_GOAL),
            Figure(f"answer of a webhook at {_RATE} a second, slowest", max(took) * 1e3, "ms"),
            Figure("CPU of a webhook, its deliveries and the sockets' chat", busy, "µs"),
            Figure("memory that a webhook adds", grown, "bytes", aim=_FLAT),
        ]


def _text(number: int) -> str:
    return f"message {number}"


def _number(person: int) -> str:
    return f"+1416555{person:04}"


def _of(rows: Counter[str], channel: str) -> int:
    return sum(count for name, count in rows.items() if name.startswith(f"{channel} "))


# -- clients ----------------------------------------------------------------------------------


def _client(serving: Serving) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=serving.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)


async def _done(request: Awaitable[httpx2.Response]) -> None:
    (await request).raise_for_status()


async def _pages(
    client: httpx2.AsyncClient, url: str, **given: str
) -> AsyncIterator[dict[str, Any]]:  # Any: JSON
    """Yield the records of a list, page by page."""
    after: str | None = None
    while True:
        parameters = given | {"limit": "500"} | ({} if after is None else {"after": after})
        page = (await client.get(url, params=parameters)).raise_for_status().json()
        for record in page["items"]:
            yield record
        if (after := page["after"]) is None:
            return


class _Line:
    """One connection of a vendor's; made again when it is lost."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, request: WebhookRequest) -> int:
        """Send a webhook; return the status. Raises OSError, EOFError for a server that is gone."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        try:
            writer.write(_bytes_of(request))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            await reader.readexactly(length)
        except (OSError, EOFError):
            self.close()
            raise
        return int(head.split(b" ")[1])

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _bytes_of(request: WebhookRequest) -> bytes:
    _, _, rest = request.url.partition("//")
    host, _, path = rest.partition("/")
    lines = [f"POST /{path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(request.body)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + request.body


async def _post_all(port: int, requests: Sequence[WebhookRequest], *, is_cut: bool = False) -> list[bool]:
    """Send webhooks over a few connections, as fast as they are answered; return which ones got 2xx.

    `is_cut`: the server may go away, and nothing after that is answered.
    """
    answers = [False] * len(requests)
    left = iter(enumerate(requests))

    async def one(left: Iterator[tuple[int, WebhookRequest]]) -> None:
        line = _Line(port)
        for place, request in left:
            try:
                answers[place] = 200 <= await line.post(request) < 300
            except (OSError, EOFError):
                if not is_cut:
                    raise
        line.close()

    await asyncio.gather(*(one(left) for _ in range(_CONNECTIONS)))
    return answers


async def _post_paced(port: int, requests: Sequence[WebhookRequest]) -> list[float | None]:
    """Send webhooks at the steady rate, whatever becomes of the ones before; return the seconds of each.

    They count from when a webhook was due, so that one that had to wait for a connection counts as late. None
    is a refusal that may pass: the vendor sends it again.
    """
    took: list[float | None] = [None] * len(requests)
    free: asyncio.Queue[_Line] = asyncio.Queue()
    lines = [_Line(port) for _ in range(_CONNECTIONS * 8)]
    for line in lines:
        free.put_nowait(line)
    loop = asyncio.get_running_loop()

    async def one(place: int, request: WebhookRequest, due: float) -> None:
        line = await free.get()
        status = await line.post(request)
        assert status in (200, 503), status
        took[place] = loop.time() - due if status == 200 else None
        free.put_nowait(line)

    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for place, request in enumerate(requests):
            due = began + place / _RATE
            await asyncio.sleep(max(0.0, due - loop.time()))
            group.create_task(one(place, request, due))
    for line in lines:
        line.close()
    return took
