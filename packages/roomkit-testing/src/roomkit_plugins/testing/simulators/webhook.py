"""A system that exchanges signed webhooks with RoomKit, simulated: the other side of `roomkit-http`."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, override

from roomkit.models.webhook import WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from roomkit_plugins.testing.simulators.vendor import VendorSimulator

__all__ = ["WebhookSimulator"]


class WebhookSimulator(VendorSimulator[dict[str, Any]]):
    """A system on a free local port that takes messages at `url`, and sends its own.

        async with WebhookSimulator(secret="shared") as system:
            config = HTTPProviderConfig(webhook_url=system.url, secret="shared", allow_private_hosts=True)
            system.connect(lambda request: kit.process_webhook(request, "http"))
            await system.write("user-1", "Hello")
            print(system.messages[0]["content"])

    With a `secret`, requests that are not signed with it, or for another time, are answered with 401. Equal
    `Idempotency-Key`s are one message, unless `knows_keys` is False. The ids of messages that it took are
    `out-1`, `out-2` and so on.
    """

    def __init__(
        self,
        *,
        secret: str | None = "simulated-secret",
        webhook_url: str = "https://chat.example.org/webhooks/http",
        knows_keys: bool = True,
    ) -> None:
        super().__init__(webhook_url=webhook_url)
        self.secret = secret
        self.knows_keys = knows_keys
        self._by_key: dict[str, str] = {}  # bound: one test
        self._written = 0

    @property
    def url(self) -> str:
        """Where messages are posted to."""
        return f"{self.origin}/hooks/roomkit"

    # -- what a test says ---------------------------------------------------------------------

    @override
    def failure(self, status: int, code: int, headers: Mapping[str, str]) -> Failure:
        return Failure(status, {"error": "simulated"}, headers)

    async def write(self, sender_id: str, text: str, **fields: Any) -> WebhookOutcome | WebhookAnswer:
        """Send a message; `fields` are further ones. Without `external_id` it gets the next one."""
        self._written += 1
        identity = f"in-{self._written}"
        return await self.post({"sender_id": sender_id, "body": text, "external_id": identity, **fields})

    async def report(self, message_id: str, status: str, **fields: Any) -> WebhookOutcome | WebhookAnswer:
        """Send a receipt for a message that it took."""
        return await self.post(
            {"type": "delivery_status", "message_id": message_id, "status": status, **fields}
        )

    async def post(self, payload: Mapping[str, Any]) -> WebhookOutcome | WebhookAnswer:
        """Sign a webhook and have it taken; return the answer."""
        return await self.hand_over(self.signed(json.dumps(payload).encode()))

    def signed(self, body: bytes, at: float | None = None) -> WebhookRequest:
        """Return a webhook with this body, signed at a time in POSIX seconds, now by default."""
        stamp = str(int(time.time() if at is None else at))
        headers = {"Content-Type": "application/json", "X-RoomKit-Timestamp": stamp}
        if self.secret is not None:
            headers["X-RoomKit-Signature-V2"] = f"v1={self._digest(stamp.encode() + b'.' + body)}"
        return WebhookRequest(method="POST", url=self.webhook_url, headers=headers, body=body)

    # -- what it is sent ----------------------------------------------------------------------

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        """Check a request as strictly as such a system would, and take its message."""
        fault = self.next_fault()
        if isinstance(fault, Failure):
            await exchange.send_json(fault.status, fault.body, fault.headers)
            return
        problem = self._problem(request)
        if problem is not None:
            await exchange.send_json(*problem)
            return
        await self.answer(exchange, 200, {"message_id": self._take(request)}, fault)

    def _problem(self, request: ReceivedRequest) -> tuple[int, dict[str, str]] | None:
        """Return the answer to a request that is not taken."""
        if (request.method, request.path) != ("POST", "/hooks/roomkit"):
            return 404, {"error": "no such endpoint"}
        if self.secret is not None and not self._is_signed(request):
            return 401, {"error": "not signed"}
        if request.headers.get("content-type") != "application/json":
            return 415, {"error": "not JSON"}
        return None

    def _is_signed(self, request: ReceivedRequest) -> bool:
        stamp = request.headers.get("x-roomkit-timestamp", "")
        if not stamp.isdigit() or abs(time.time() - int(stamp)) > 300:
            return False
        mine = {f"v1={self._digest(stamp.encode() + b'.' + request.body)}"}
        first = request.headers.get("x-roomkit-signature") == self._digest(request.body)
        return first and bool(mine & {*request.headers.get("x-roomkit-signature-v2", "").split(",")})

    def _take(self, request: ReceivedRequest) -> str:
        key = request.headers.get("idempotency-key") if self.knows_keys else None
        if key is not None and key in self._by_key:
            return self._by_key[key]
        self.messages.append(request.json())
        identity = f"out-{len(self.messages)}"
        if key is not None:
            self._by_key[key] = identity
        return identity

    def _digest(self, signed: bytes) -> str:
        return hmac.new((self.secret or "").encode(), signed, sha256).hexdigest()
