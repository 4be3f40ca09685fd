"""A vendor that calls workers back: its signed requests, and the HTTP server in which a worker takes them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import WebhookRejected
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.simulators.http import Exchange, HTTPSimulator, ReceivedRequest

if TYPE_CHECKING:
    from roomkit import RoomKit
    from tests.workers.program import Wire

__all__ = ["VendorChannel", "Webhooks", "post"]

_SECRET = b"of the vendor and the workers"
_SIGNATURE = "x-signature"
_HASTE = 0.05


class VendorProvider:
    """Reads the vendor's webhooks: a batch of messages to rooms, each with the vendor's key."""

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> list[InboundMessage]:
        """Verify, then read."""
        if not hmac.compare_digest(request.header(_SIGNATURE, "") or "", _signature(request.body)):
            raise WebhookRejected("the signature is not the vendor's")
        return [
            InboundMessage(
                channel_id=channel_id,
                sender_id="p",
                content=TextContent(body=key),
                idempotency_key=key,
                room_id=request.json()["room"],
            )
            for key in request.json()["keys"]
        ]


class VendorChannel(RecordingChannel):
    """The channel that people write by."""

    provider = VendorProvider()


class Webhooks(HTTPSimulator):
    """The server of a worker: verify, commit, answer, in that order; `hasty`, it answers first."""

    def __init__(self, kit: RoomKit, wire: Wire, *, hasty: bool) -> None:
        super().__init__()
        self._kit = kit
        self._wire = wire
        self._hasty = hasty
        self._late: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        await self.__aenter__()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.origin.rpartition(":")[2])

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        """Answer 200 once everything that the request says is committed, 503 when it is to come again."""
        self._wire.tell(accepted=request.path)
        taken = WebhookRequest(
            method=request.method, url=request.path, headers=request.headers, body=request.body
        )
        if self._hasty:
            late = asyncio.create_task(self._take_late(taken))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
            await exchange.send_json(200, {})
            return
        outcome = await self._kit.process_webhook(taken, "person")
        await exchange.send_json(outcome.status, {})

    async def _take_late(self, taken: WebhookRequest) -> None:
        await asyncio.sleep(_HASTE)  # other processes
        await self._kit.process_webhook(taken, "person")


async def post(port: int, path: str, body: Mapping[str, Any]) -> int:
    """Send a request as the vendor; return the status. Raises OSError when there was no answer."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: workers\r\n{_SIGNATURE}: {_signature(content)}\r\n"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + content)
        line = await reader.readline()
    finally:
        writer.close()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the worker is gone")
    return int(line.split(b" ")[1])


def _signature(body: bytes) -> str:
    return hmac.new(_SECRET, body, hashlib.sha256).hexdigest()
