"""A kit with a carrier and sockets, and clients of its server: in this process or by a real socket."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

from roomkit import Channel, InboundMessage, RoomKit, SMSProvider
from roomkit.abc import TransportChannel, WebhookRejected
from roomkit.models import (
    ChannelType,
    DeliveryStatus,
    ProviderResult,
    RoomEvent,
    SMSHints,
    Task,
    TextContent,
    WebhookRequest,
)
from roomkit_plugins.server import KeyConfig, KitServer, Scope, ServerConfig, create_app
from roomkit_plugins.testing import RecordingChannel

SECRET = b"the carrier's secret"
ALL = tuple(Scope)


BODIES: dict[str, dict[str, Any]] = {
    "create_room": {},
    "update_room": {"metadata": {"a": 1}},
    "attach_channel": {},
    "change_binding": {"muted": True},
    "send_event": {"content": {"type": "text", "body": "x"}},
    "edit_event": {"content": {"type": "text", "body": "x"}},
    "take_message": {"channel_id": "desk", "sender_id": "x", "content": {"type": "text", "body": "x"}},
    "put_participant": {"channel_id": "desk"},
    "add_task": {"title": "x"},
    "update_task": {"title": "x"},
    "drop_delivery": {"reason": "x"},
}
"""A body that fits, for each operation that has one."""


def key_of(name: str) -> str:
    return f"key-of-{name}-{'x' * 16}"


def keys(**scopes: tuple[Scope, ...]) -> dict[str, KeyConfig]:
    """The keys of two organizations, of the operator, and others with fewer scopes."""
    known = {"acme": "acme", "globex": "globex", "operator": None}
    return {
        name: KeyConfig(secret=key_of(name), organization=organization, scopes=scopes.get(name, ALL))
        for name, organization in {**known, **dict.fromkeys(scopes, "acme")}.items()
    }


class Carrier(SMSProvider):
    """A carrier that signs what it sends, and takes what it is sent."""

    name = "carrier"

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.parsed = 0

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: SMSHints | None = None,
    ) -> ProviderResult:
        self.sent.append(to)
        return ProviderResult(success=True, provider_message_id=f"c{len(self.sent)}")

    async def webhook(
        self, request: WebhookRequest, *, channel_id: str
    ) -> Sequence[InboundMessage | DeliveryStatus]:
        if not hmac.compare_digest(
            request.header("x-signature", "") or "", signature(request.url, request.body)
        ):
            raise WebhookRejected("the signature is not the carrier's")
        self.parsed += 1
        said = request.json()
        if not isinstance(said, dict) or not {"id", "from", "text"} <= said.keys():
            raise WebhookRejected("the body is no message of the carrier's", status_code=400)
        return [
            InboundMessage(
                channel_id=channel_id,
                sender_id=said["from"],
                content=TextContent(body=said["text"]),
                idempotency_key=said["id"],
                raw_payload=said,
            )
        ]


def signature(url: str, body: bytes) -> str:
    return hmac.new(SECRET, url.encode() + body, hashlib.sha256).hexdigest()


class Site:
    """A kit, its carrier, and clients of its server."""

    def __init__(self, kit: RoomKit, config: ServerConfig, *channels: Channel) -> None:
        self.kit = kit
        self.config = config
        self.carrier = Carrier()
        self.register(
            TransportChannel("sms", ChannelType.SMS, provider=self.carrier, recipient_key="phone_number"),
            RecordingChannel("desk"),
            *channels,
        )
        self.app = create_app(kit, config)
        self.server: KitServer | None = None
        self._stack = AsyncExitStack()

    def register(self, *channels: Channel) -> None:
        for channel in channels:
            if self.kit.get_channel(channel.channel_id) is None:
                self.kit.register_channel(channel)

    def with_config(self, **changes: object) -> Site:
        """Another server of the same kit."""
        return Site(self.kit, self.config.model_copy(update=changes))

    async def client(self, name: str | None = "acme") -> httpx2.AsyncClient:
        """A client in this process: no socket, all of the application."""
        headers = {} if name is None else {"Authorization": f"Bearer {key_of(name)}"}
        transport = httpx2.ASGITransport(app=self.app)
        client = httpx2.AsyncClient(transport=transport, base_url="http://kit.test", headers=headers)
        return await self._stack.enter_async_context(client)

    async def serve(self) -> str:
        """Listen on a real socket; return the URL."""
        self.server = KitServer(self.kit, self.config)
        await self._stack.enter_async_context(self.server)
        return self.server.url

    async def remote(self, name: str | None = "acme") -> httpx2.AsyncClient:
        """A client that comes by the real socket."""
        assert self.server is not None
        headers = {} if name is None else {"Authorization": f"Bearer {key_of(name)}"}
        client = httpx2.AsyncClient(base_url=self.server.url, headers=headers, timeout=20)
        return await self._stack.enter_async_context(client)

    async def room(self, name: str = "acme", *channels: str) -> str:
        """A room of an organization."""
        room = await self.kit.for_organization(name).create_room()
        for channel_id in channels:
            await self.kit.attach_channel(room.id, channel_id)
        return room.id

    @asynccontextmanager
    async def socket(self, path: str, **headers: str) -> AsyncIterator[ClientConnection]:
        assert self.server is not None
        url = self.server.url.replace("http:", "ws:")
        async with connect(f"{url}{path}", additional_headers=headers, max_queue=None) as socket:
            yield socket

    async def close(self) -> None:
        await self._stack.aclose()

    async def texts(self) -> list[str]:
        """What people said, in all rooms."""
        found: list[str] = []
        for room in await self.kit.find_rooms():
            timeline = await self.kit.get_timeline(room.id, limit=500)
            found += [each.content.body for each in timeline if isinstance(each.content, TextContent)]
        return found


async def records(site: Site) -> dict[str, str]:
    """Ids of one organization's records, of each kind."""
    room = await site.room("acme", "desk", "sms")
    event = await site.kit.send_event(room, "system", TextContent(body="secret"))
    await site.kit.ensure_participant(room, "desk", "ann")
    await site.kit.add_task(Task(id="t1", room_id=room, title="secret"))
    (row, *_) = await site.kit.list_deliveries(room, channel_id="sms")
    return {
        "room_id": room,
        "event_id": event.id,
        "participant_id": "ann",
        "task_id": "t1",
        "channel_id": "desk",
        "delivery_id": row.id,
    }


def signed(text: str, number: int = 1, *, url: str = "http://kit.test/webhooks/sms") -> dict[str, Any]:
    """The body and headers of a message that the carrier sends."""
    body = json.dumps({"id": f"m{number}", "from": f"+1555{number:07}", "text": text}).encode()
    return {"content": body, "headers": {"X-Signature": signature(url, body)}}


@pytest.fixture
def config() -> ServerConfig:
    """The server's settings; a test module may override it."""
    return ServerConfig(port=0, keys=keys())


@pytest.fixture
async def site(config: ServerConfig) -> AsyncIterator[Site]:
    async with RoomKit() as kit:
        websocket = await kit.plugins.acreate("channel", "websocket", channel_id="ws")
        assert isinstance(websocket, Channel)
        site = Site(kit, config, websocket)
        yield site
        await site.close()
