"""Telnyx's API and telephones, simulated: https://developers.telnyx.com/docs/messaging (Nov 2026)."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, override
from uuid import UUID

from roomkit.models.base import utcnow
from roomkit.models.webhook import WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.carrier import CarrierSimulator, SimulatedMessage
from roomkit_plugins.testing.simulators.gsm import joined_text, short_messages
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from roomkit_plugins.testing.simulators.telnyx_requests import (
    TelnyxRefusedError,
    checked_agent_message,
    checked_message,
    telnyx_failure,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["TelnyxMessage", "TelnyxSimulator"]

PROFILE = "40018a2b-1111-4222-8333-444455556666"
AGENT = "acme_agent"


@dataclass(slots=True, eq=False)
class TelnyxMessage(SimulatedMessage):
    """A message that Telnyx took. `content` is an RCS message's, `fallback` the SMS in its place."""

    content: Mapping[str, Any] = field(default_factory=dict)
    fallback: Mapping[str, Any] = field(default_factory=dict)
    profile: str = ""


class TelnyxSimulator(CarrierSimulator[TelnyxMessage]):
    """Telnyx on a free local port, with telephones that people write from.

        async with TelnyxSimulator() as telnyx:
            config = TelnyxConfig(
                api_key=telnyx.api_key, public_key=telnyx.public_key, from_number=telnyx.numbers[0],
                base_url=telnyx.origin,
            )
            telnyx.connect(lambda request: kit.process_webhook(request, "sms"))
            ann = telnyx.phone("+14165550123")
            await ann.write("Hello")
            print((await ann.receive()).text)

    Requests are checked as strictly as the vendor checks them, and an `Idempotency-Key` that came before is
    the message of then. `report` sends receipts. An RCS message to a number in `without_rcs` goes out as its
    SMS, or fails. A number that said STOP gets nothing (40300).
    """

    def __init__(
        self,
        *,
        api_key: str = "KEY0000simulated",
        numbers: Sequence[str] = ("+14375550999",),
        profiles: Sequence[str] = (PROFILE,),
        agents: Sequence[str] = (AGENT,),
        webhook_url: str = "https://chat.example.org/webhooks/sms",
    ) -> None:
        super().__init__(numbers=numbers, webhook_url=webhook_url)
        self.api_key = api_key
        self.profiles = tuple(profiles)
        self.agents = tuple(agents)
        self.disabled_profiles: set[str] = set()  # bound: one test
        self.without_rcs: set[str] = set()  # bound: one test
        self.signals: list[tuple[str, str]] = []  # bound: one test
        self._by_key: dict[str, TelnyxMessage] = {}  # bound: one test

    # -- what a test says ---------------------------------------------------------------------

    @property
    def public_key(self) -> str:
        """The key that verifies webhooks, as the portal shows it."""
        return b64encode(self._key.public_key().public_bytes_raw()).decode()

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.api_key.encode().ljust(32, b"-")[:32])

    @override
    def failure(self, status: int, code: int, headers: Mapping[str, str]) -> Failure:
        return telnyx_failure(status, str(code), f"Simulated error {code}", headers=headers)

    async def report(
        self, *words: str, message: TelnyxMessage | None = None, error_code: str = ""
    ) -> list[WebhookOutcome | WebhookAnswer]:
        """Send receipts for a message, the newest by default: one for each word, in this order."""
        about = message or self.messages[-1]
        errors = [{"code": error_code, "title": "Undeliverable", "detail": "Simulated"}] if error_code else []
        answers = []
        for word in words:
            kind = "message.sent" if word == "sent" else "message.finalized"
            payload = {**self._document(about), "errors": errors}
            payload["to"] = [{"phone_number": about.to, "status": word}]
            answers.append(await self.post(kind, payload, about.callback or None))
        return answers

    async def post(
        self, event_type: str, payload: Mapping[str, Any], url: str | None = None
    ) -> WebhookOutcome | WebhookAnswer:
        """Sign a webhook with an event and have it taken; return the answer."""
        event = {
            "record_type": "event",
            "id": self.new_id(),
            "event_type": event_type,
            "occurred_at": utcnow().isoformat(),
            "payload": payload,
        }
        meta = {"attempt": 1, "delivered_to": url or self.webhook_url}
        signed = self.signed(json.dumps({"data": event, "meta": meta}).encode())
        return await self.hand_over(signed if url is None else replace(signed, url=url))

    def signed(self, body: bytes, at: float | None = None) -> WebhookRequest:
        """Return a webhook with this body, signed at a time in POSIX seconds, now by default."""
        stamp = str(int(time.time() if at is None else at))
        headers = {
            "Content-Type": "application/json",
            "telnyx-timestamp": stamp,
            "telnyx-signature-ed25519": b64encode(self._key.sign(stamp.encode() + b"|" + body)).decode(),
        }
        return WebhookRequest(method="POST", url=self.webhook_url, headers=headers, body=body)

    def new_id(self) -> str:
        """Return an id that was not given out."""
        return str(UUID(int=self.next_number()))

    # -- telephones ---------------------------------------------------------------------------

    @override
    async def take_from_phone(
        self, person: str, number: str | None, text: str, files: Sequence[tuple[str, bytes]], **fields: str
    ) -> WebhookOutcome | WebhookAnswer:
        called = number or self.numbers[0]
        identity = self.new_id()
        media = [
            {
                "url": self.keep_file(f"/media/{identity}/{place}", mime_type, data),
                "content_type": mime_type,
                "size": len(data),
                "hash_sha256": None,
            }
            for place, (mime_type, data) in enumerate(files)
        ]
        said = self.opt(person, called, text)
        payload = {
            "record_type": "message",
            "id": identity,
            "direction": "inbound",
            "type": "MMS" if files else "SMS",
            "messaging_profile_id": self.profiles[0],
            "from": {"phone_number": person, "carrier": "Example Mobile", "line_type": "Wireless"},
            "to": [{"phone_number": called, "status": "webhook_delivered", "carrier": "Telnyx"}],
            "cc": [],
            "text": text,
            "media": media,
            "received_at": utcnow().isoformat(),
            "parts": len(short_messages(text)),
            "encoding": "GSM-7",
            "errors": [],
            **({"autoresponse_type": said} if said else {}),
            **fields,
        }
        return await self.post("message.received", payload)

    async def rcs(self, person: str, **body: Any) -> WebhookOutcome | WebhookAnswer:
        """Have a person send an RCS message to the agent, with this body."""
        payload = {
            "record_type": "message",
            "id": self.new_id(),
            "direction": "inbound",
            "type": "RCS",
            "from": {"phone_number": person, "carrier": "Example Mobile", "line_type": "Wireless"},
            "to": [{"agent_id": self.agents[0], "agent_name": "ACME Support"}],
            "body": body,
            "received_at": utcnow().isoformat(),
            "messaging_profile_id": self.profiles[0],
        }
        return await self.post("message.received", payload)

    # -- the API ------------------------------------------------------------------------------

    @override
    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        kept = self.kept_file(request.path)
        if kept is not None:
            await exchange.send_bytes(200, kept.data, {"content-type": kept.mime_type})
        elif request.headers.get("authorization") != f"Bearer {self.api_key}":
            await _refuse(exchange, telnyx_failure(401, "10009", "Authentication failed"))
        elif request.method == "POST":
            await self._post(request, exchange)
        else:
            await self._get(request.path, exchange)

    async def _get(self, path: str, exchange: Exchange) -> None:
        _, _, *parts = path.split("/")
        match parts:
            case ["balance"]:
                await exchange.send_json(200, {"data": {"record_type": "balance", "balance": "10.00"}})
            case ["messaging_profiles", profile] if profile in self.profiles:
                enabled = profile not in self.disabled_profiles
                found = {"record_type": "messaging_profile", "id": profile, "enabled": enabled}
                await exchange.send_json(200, {"data": found})
            case ["messaging", "rcs", "capabilities", agent, number] if agent in self.agents:
                features = [] if number in self.without_rcs else ["RICHCARD_STANDALONE", "ACTION_DIAL"]
                found = {"record_type": "rcs.capabilities", "agent_id": agent, "features": features}
                await exchange.send_json(200, {"data": {**found, "phone_number": number}})
            case _:
                await _refuse(exchange, telnyx_failure(404, "10005", "Resource not found"))

    async def _post(self, request: ReceivedRequest, exchange: Exchange) -> None:
        fault = self.next_fault()
        if isinstance(fault, Failure):
            await _refuse(exchange, fault)
            return
        try:
            message = self._taken(request)
        except TelnyxRefusedError as error:
            await _refuse(exchange, error.failure)
            return
        if message is None:
            await exchange.send_json(200, {"data": {"record_type": "message", "type": "RCS"}})
            return
        await self.answer(exchange, 200, {"data": self._document(message)}, fault)

    def _taken(self, request: ReceivedRequest) -> TelnyxMessage | None:
        """Take a message, once for each idempotency key; None for a signal. Raises TelnyxRefusedError."""
        key = request.headers.get("idempotency-key")
        if key is not None and key in self._by_key:
            return self._by_key[key]
        match request.path:
            case "/v2/messages":
                message = self._text_message(checked_message(request, self.numbers, self.profiles))
            case "/v2/messages/rcs":
                said = checked_agent_message(request, self.agents, self.profiles)
                if "event" in said["agent_message"]:
                    self.signals.append((said["to"], said["agent_message"]["event"]["event_type"]))
                    return None
                message = self._agent_message(said)
            case _:
                raise TelnyxRefusedError(telnyx_failure(404, "10005", "Resource not found"))
        if self.has_opted_out(message.to, message.sender):
            raise TelnyxRefusedError(telnyx_failure(400, "40300", "Blocked due to STOP message"))
        if key is not None:
            self._by_key[key] = message
        return self.take(message)

    def _text_message(self, said: Mapping[str, Any]) -> TelnyxMessage:
        parts = short_messages(said.get("text", ""))
        return TelnyxMessage(
            id=self.new_id(),
            to=said["to"],
            sender=said.get("from", self.numbers[0]),
            text=joined_text(parts),
            media_urls=tuple(said.get("media_urls", ())),
            segments=len(parts),
            callback=said.get("webhook_url", ""),
            profile=said.get("messaging_profile_id", ""),
        )

    def _agent_message(self, said: Mapping[str, Any]) -> TelnyxMessage:
        content, fallback = said["agent_message"]["content_message"], said.get("sms_fallback", {})
        falls_back = said["to"] in self.without_rcs
        return TelnyxMessage(
            id=self.new_id(),
            to=said["to"],
            sender=fallback.get("from", "") if falls_back else said["agent_id"],
            text=fallback.get("text", "") if falls_back else content.get("text", ""),
            callback=said.get("webhook_url", ""),
            content=content,
            fallback=fallback,
            profile=said["messaging_profile_id"],
        )

    def _document(self, message: TelnyxMessage) -> dict[str, Any]:
        is_rcs = bool(message.content)
        sender = {"agent_id": message.sender} if is_rcs else {"phone_number": message.sender}
        kind = "RCS" if is_rcs else "MMS" if message.media_urls else "SMS"
        return {
            "record_type": "message",
            "id": message.id,
            "direction": "outbound",
            "type": kind,
            "messaging_profile_id": message.profile or None,
            "from": {**sender, "carrier": "Telnyx", "line_type": "VoIP"},
            "to": [{"phone_number": message.to, "status": "queued", "carrier": "", "line_type": ""}],
            "text": message.text,
            "media": [{"url": url} for url in message.media_urls],
            "parts": message.segments,
            "encoding": "GSM-7",
            "errors": [],
            "wait_seconds": None,
        }


async def _refuse(exchange: Exchange, failure: Failure) -> None:
    await exchange.send_json(failure.status, failure.body, {"x-request-id": "R1", **failure.headers})
