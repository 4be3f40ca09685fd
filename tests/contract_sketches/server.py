"""A server: it serves every plugin's routes, and has a table, a channel and routes of its own."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar

from pydantic import BaseModel, Field, SecretStr

from roomkit import (
    ChannelBinding,
    ChannelOutput,
    ChannelType,
    InboundMessage,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
    WebhookAnswer,
    WebhookRequest,
)
from roomkit.abc import Channel, Route
from roomkit.abc.services import Services
from roomkit.plugins import Registry, hookimpl
from tests.contract_sketches.sms import CarrierChannel, CarrierProvider, Post

HERE = "tests.contract_sketches.server"


class DeskConfig(BaseModel):
    """The table [desk]."""

    token: SecretStr = Field(description="What a caller of the desk shows.")
    channel: str = Field("desk", description="The channel that the desk writes by.")


class AccountConfig(BaseModel):
    """An account at a carrier."""

    name: str = Field(description="The carrier's name.")
    secret: SecretStr = Field(description="Signs its webhooks.")


class AccountProvider(CarrierProvider):
    """A carrier of a configuration file; `networks` stands for the internet."""

    networks: ClassVar[dict[str, Post]] = {}

    def __init__(self, config: AccountConfig) -> None:
        secret = config.secret.get_secret_value().encode()
        super().__init__(config.name, self.networks[config.name], secret=secret)


class TextsChannel(CarrierChannel):
    """Texts, by the carriers of the file."""

    def __init__(self, channel_id: str, providers: Sequence[CarrierProvider]) -> None:
        super().__init__(channel_id, providers)


class DeskChannel(Channel):
    """What people at a desk write by HTTP; they read the room by other means."""

    channel_type = ChannelType("desk")

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        return self.event_of(message, context)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        return ChannelOutput.skipped("desk_reads")


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the carrier, the channels and the table."""
    registry.add("sms", "carrier", f"{HERE}:AccountProvider", config=f"{HERE}:AccountConfig")
    registry.add("channel", "texts", f"{HERE}:TextsChannel", parts={"providers": ["sms"]})
    registry.add("channel", "desk", f"{HERE}:DeskChannel")
    registry.add_table("desk", config=f"{HERE}:DeskConfig")


@hookimpl
def roomkit_routes(kit: RoomKit, services: Services, settings: Mapping[str, object]) -> Iterable[Route]:
    """Serve the desk, if the configuration has it."""
    config = settings.get("desk")
    if isinstance(config, DeskConfig):
        desk = Desk(services, config)
        yield Route(path="/rooms/{room}/notes", name="note", handler=desk.note)
        yield Route(method="GET", path="/rooms/{room}", name="room", handler=desk.room)
        yield Route(method="GET", path="/debug", name="debug", secure=False, handler=desk.room)


@hookimpl(optional=True)
def roomkit_of_a_later_core(kit: RoomKit) -> None:
    """Do what only a later core asks for."""


class Desk:
    """Notes to rooms, for callers that know the token."""

    def __init__(self, services: Services, config: DeskConfig) -> None:
        self._services = services
        self._config = config

    async def note(self, request: WebhookRequest) -> WebhookAnswer:
        """Write to a room; the caller's key makes it one note however often it comes."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        room_id = request.path_params["room"]
        event = await self._services.rooms.post(
            room_id,
            RoomEvent(
                room_id=room_id,
                source={"channel_id": self._config.channel, "channel_type": "desk"},
                content=TextContent(body=str(request.json()["text"])),
                idempotency_key=request.header("idempotency-key"),
            ),
            channel_id=self._config.channel,
        )
        return WebhookAnswer.of_json({"event": event.id, "status": event.status}, status=201)

    async def room(self, request: WebhookRequest) -> WebhookAnswer:
        """Show a room's texts, as the desk may see them."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        excerpt = await self._services.rooms.read_timeline(
            request.path_params["room"], channel_id=self._config.channel, after_index=-1
        )
        if excerpt is None:
            return WebhookAnswer(status=404)
        return WebhookAnswer.of_json([Channel.extract_text(event) for event in excerpt.events])

    def _refusal(self, request: WebhookRequest) -> WebhookAnswer | None:
        shown = f"Bearer {self._config.token.get_secret_value()}"
        return None if request.header("authorization") == shown else WebhookAnswer(status=401)


class Door:
    """Serves the routes of a kit by HTTP: one request a connection."""

    def __init__(self, kit: RoomKit) -> None:
        served = [route for route in kit.plugins.routes(kit) if route.secure and route.handler is not None]
        self._routes = [(re.compile(_pattern(route.path)), route) for route in served]
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        """Listen on a port of its own choice; return it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> WebhookAnswer:
        """Answer one request."""
        found = [(route, match) for pattern, route in self._routes if (match := pattern.fullmatch(path))]
        if not found:
            return WebhookAnswer(status=404)
        for route, match in found:
            if route.method == method and route.handler is not None:
                request = WebhookRequest(
                    method=method, url=path, headers=headers, body=body, path_params=match.groupdict()
                )
                return await route.handler(request)
        return WebhookAnswer(status=405)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers.get("Content-Length", "0")))
            writer.write(_written(await self.answer(method, path, headers, body)))
            await writer.drain()
        finally:
            writer.close()


def _pattern(path: str) -> str:
    """Return a route's path as a regular expression."""
    return re.sub(r"\\{([a-z_]+)\\}", r"(?P<\1>[^/]+)", re.escape(path))


def _written(answer: WebhookAnswer) -> bytes:
    body = answer.body.encode() if isinstance(answer.body, str) else answer.body
    headers = {**answer.headers, "Content-Type": answer.content_type, "Content-Length": str(len(body))}
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    return (
        "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()
        + body
    )


async def call(port: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
    """Send a request to a door; return status and body."""
    content = b"" if body is None else json.dumps(body).encode()
    fields = {**headers, "Content-Length": str(len(content))}
    head = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join(head).encode() + content)
        answer = await reader.read()
    finally:
        writer.close()
    if not answer:
        raise ConnectionResetError("the worker died before it had answered")
    status, _, rest = answer.partition(b"\r\n")
    return int(status.split(b" ")[1]), rest.partition(b"\r\n\r\n")[2]
