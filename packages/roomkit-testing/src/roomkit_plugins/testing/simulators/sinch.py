"""Sinch's API and telephones, simulated: https://developers.sinch.com/docs/sms/api-reference (Nov 2026)."""

from __future__ import annotations

import hmac
import json
import re
import time
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, override
from urllib.parse import parse_qs

from roomkit.models.base import utcnow
from roomkit.models.webhook import WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.carrier import CarrierSimulator, SimulatedMessage
from roomkit_plugins.testing.simulators.gsm import joined_text, short_messages
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest

__all__ = ["SinchMessage", "SinchSimulator"]

_KNOWN = frozenset(
    {
        "type", "to", "from", "body", "delivery_report", "callback_url", "client_reference", "expire_at",
        "send_at", "parameters", "flash_message", "max_number_of_message_parts", "truncate_concat",
        "strict_validation",
    }
)  # fmt: skip
_REPORTS = ("none", "summary", "full", "per_recipient", "per_recipient_final")
_NUMBER = re.compile(r"\+?[1-9][0-9]{6,14}")
_URL = re.compile(r"https?://[^\s/]+\S*")
_LONGEST = 2000
_CODES = {"QUEUED": 400, "DISPATCHED": 401, "DELIVERED": 0, "FAILED": 405, "REJECTED": 402, "EXPIRED": 406}


@dataclass(slots=True, eq=False)
class SinchMessage(SimulatedMessage):
    """A batch that Sinch took. `report` is what it was asked to report."""

    report: str = "none"
    reference: str = ""


class _Refused(Exception):
    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.failure = Failure(status, {"code": code, "text": text})


class SinchSimulator(CarrierSimulator[SinchMessage]):
    """Sinch on a free local port, with telephones that people write from.

        async with SinchSimulator() as sinch:
            config = SinchConfig(
                service_plan_id=sinch.service_plan_id, api_token=sinch.api_token, base_url=sinch.origin,
                from_number=sinch.numbers[0], webhook_secret=sinch.webhook_secret,
            )
            sinch.connect(lambda request: kit.process_webhook(request, "sms"))
            ann = sinch.phone("+14165550123")
            await ann.write("Hello")
            print((await ann.receive()).text)

    Requests are checked as strictly as the vendor checks them. Numbers in callbacks have no plus. Receipts
    (`report`) come for a batch that asked for them, else RuntimeError is raised. A project's access key is
    exchanged for a token at `/oauth2/token`, for the paths of `project_id`.
    """

    def __init__(
        self,
        *,
        service_plan_id: str = "simulated-plan",
        api_token: str = "simulated-api-token",
        project_id: str = "simulated-project",
        access_key: tuple[str, str] = ("simulated-key", "simulated-key-secret"),
        webhook_secret: str = "simulated-webhook-secret",
        numbers: Sequence[str] = ("+14375550999",),
        webhook_url: str = "https://chat.example.org/webhooks/sms",
    ) -> None:
        super().__init__(numbers=numbers, webhook_url=webhook_url)
        self.service_plan_id = service_plan_id
        self.api_token = api_token
        self.project_id = project_id
        self.access_key = access_key
        self.webhook_secret = webhook_secret
        self.token_seconds = 3600
        self._tokens: list[str] = []  # bound: one test

    # -- what a test says ---------------------------------------------------------------------

    @override
    def failure(self, status: int, code: int, headers: Mapping[str, str]) -> Failure:
        named = {"code": f"simulated_{code}", "text": f"Simulated error {code}"}
        return Failure(status, named if status != 401 else {}, headers)

    def revoke_tokens(self) -> None:
        """End all tokens that were given out."""
        self._tokens.clear()

    async def report(
        self, *words: str, message: SinchMessage | None = None, error_code: str = "", kind: str = ""
    ) -> list[WebhookOutcome | WebhookAnswer]:
        """Send delivery reports for a batch, the newest by default: one for each word, in this order."""
        about = message or self.messages[-1]
        if about.report == "none":
            raise RuntimeError("the batch asked for no delivery_report, so Sinch sends none")
        answers = []
        for word in words:
            state = word.upper()
            code = int(error_code) if error_code else _CODES.get(state, 400)
            payload = {
                "type": kind or "recipient_delivery_report_sms",
                "batch_id": about.id,
                "recipient": about.to.lstrip("+"),
                "code": code,
                "status": state,
                "at": utcnow().isoformat(),
                "client_reference": about.reference,
            }
            answers.append(await self.post(payload))
        return answers

    async def post(self, payload: Mapping[str, Any]) -> WebhookOutcome | WebhookAnswer:
        """Sign a callback and have it taken; return the answer."""
        return await self.hand_over(self.signed(json.dumps(payload).encode()))

    def signed(
        self, body: bytes, at: float | None = None, *, algorithm: str = "HmacSHA256"
    ) -> WebhookRequest:
        """Return a callback with this body, signed at a time in POSIX seconds, now by default."""
        stamp, nonce = str(int(time.time() if at is None else at)), self.new_id()
        signed = b".".join((body, nonce.encode(), stamp.encode()))
        digest = hmac.new(self.webhook_secret.encode(), signed, algorithm.removeprefix("Hmac").lower())
        headers = {
            "Content-Type": "application/json",
            "x-sinch-webhook-signature": b64encode(digest.digest()).decode(),
            "x-sinch-webhook-signature-nonce": nonce,
            "x-sinch-webhook-signature-timestamp": stamp,
            "x-sinch-webhook-signature-algorithm": algorithm,
        }
        return WebhookRequest(method="POST", url=self.webhook_url, headers=headers, body=body)

    def new_id(self) -> str:
        """Return an id that was not given out."""
        return f"01{self.next_number():024d}"

    # -- telephones ---------------------------------------------------------------------------

    @override
    async def take_from_phone(
        self, person: str, number: str | None, text: str, files: Sequence[tuple[str, bytes]], **fields: str
    ) -> WebhookOutcome | WebhookAnswer:
        called, identity = number or self.numbers[0], self.new_id()
        self.opt(person, called, text)
        body: Any = text
        if files:
            media = [
                {
                    "url": self.keep_file(f"/files/{identity}/{place}", mime_type, data),
                    "content_type": mime_type,
                    "status": "Uploaded",
                    "code": 0,
                }
                for place, (mime_type, data) in enumerate(files)
            ]
            body = {**({"message": text} if text else {}), "media": media}
        payload = {
            "type": "mo_media" if files else "mo_text",
            "id": identity,
            "from": person.lstrip("+"),
            "to": called.lstrip("+"),
            "received_at": utcnow().isoformat(),
            "operator_id": "302720",
            "body": body,
            **fields,
        }
        return await self.post(payload)

    # -- the API ------------------------------------------------------------------------------

    @override
    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        kept = self.kept_file(request.path)
        if kept is not None:
            await exchange.send_bytes(200, kept.data, {"content-type": kept.mime_type})
            return
        try:
            await self._answer_to(request, exchange)
        except _Refused as error:
            await exchange.send_json(error.failure.status, error.failure.body)

    async def _answer_to(self, request: ReceivedRequest, exchange: Exchange) -> None:
        if request.path == "/oauth2/token":
            await exchange.send_json(200, self._token(request))
            return
        account = request.path.removeprefix("/xms/v1/").removesuffix("/batches")
        if not self._may(request, account):
            await exchange.send_bytes(401, b"")
        elif request.method == "GET":
            await exchange.send_json(200, {"count": 0, "page": 0, "page_size": 1, "batches": []})
        else:
            await self._create(request, exchange)

    def _token(self, request: ReceivedRequest) -> dict[str, Any]:
        form = parse_qs(request.body.decode())
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        try:
            given = tuple(b64decode(value, validate=True).decode().split(":", 1))
        except (Error, ValueError):
            given = ()
        if kind != "Basic" or given != self.access_key or form != {"grant_type": ["client_credentials"]}:
            raise _Refused(401, "unauthorized", "invalid_client")
        self._tokens.append(f"simulated-token-{len(self._tokens) + self.next_number()}")
        return {"access_token": self._tokens[-1], "expires_in": self.token_seconds, "token_type": "bearer"}

    def _may(self, request: ReceivedRequest, account: str) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if account == self.project_id:
            return given in self._tokens
        return account == self.service_plan_id and given == self.api_token

    async def _create(self, request: ReceivedRequest, exchange: Exchange) -> None:
        fault = self.next_fault()
        if isinstance(fault, Failure):
            body = b"" if fault.status == 401 else json.dumps(fault.body).encode()
            await exchange.send_bytes(fault.status, body, fault.headers)
            return
        message = self._taken(_checked(request, self.numbers))
        document = {
            "id": message.id,
            "to": [message.to.lstrip("+")],
            "from": message.sender.lstrip("+"),
            "canceled": False,
            "type": "mt_media" if message.media_urls else "mt_text",
            "created_at": utcnow().isoformat(),
            "delivery_report": message.report,
        }
        await self.answer(exchange, 201, document, fault)

    def _taken(self, said: Mapping[str, Any]) -> SinchMessage:
        body, is_text = said["body"], said["type"] == "mt_text"
        text = body if is_text else body.get("message", "")
        parts = short_messages(text)
        return self.take(
            SinchMessage(
                id=self.new_id(),
                to=f"+{said['to'][0].lstrip('+')}",
                sender=said.get("from", self.numbers[0]),
                text=joined_text(parts),
                media_urls=() if is_text else (body["url"],),
                segments=len(parts),
                callback=said.get("callback_url", ""),
                report=said.get("delivery_report", "none"),
                reference=said.get("client_reference", ""),
            )
        )


def _checked(request: ReceivedRequest, numbers: Sequence[str]) -> Mapping[str, Any]:
    """Return a request for a batch. Raises _Refused where the vendor refuses."""
    try:
        said = request.json()
    except ValueError:
        raise _Refused(400, "syntax_invalid_json", "The request is not JSON") from None
    if request.headers.get("content-type") != "application/json" or not isinstance(said, dict):
        raise _Refused(400, "syntax_invalid_json", "The request is not a JSON object")
    for name in said:
        if name not in _KNOWN:
            raise _violation(f"{name} is not a known parameter")
    to = said.get("to")
    if not isinstance(to, list) or not to or not all(isinstance(n, str) and _NUMBER.fullmatch(n) for n in to):
        raise _violation("to: is not a valid phone number")
    if "from" in said and said["from"] not in numbers:
        raise _violation("from: is not a sender of the service plan")
    if said.get("delivery_report", "none") not in _REPORTS:
        raise _violation("delivery_report: unknown")
    if "callback_url" in said and not _URL.fullmatch(said["callback_url"]):
        raise _violation("callback_url: is not a URL")
    _check_body(said)
    return said


def _check_body(said: Mapping[str, Any]) -> None:
    match said:
        case {"type": "mt_text", "body": str(text)}:
            if not text.strip() or len(text) > _LONGEST:
                raise _violation("body: size must be between 1 and 2000")
        case {"type": "mt_media", "body": {"url": str(url), **rest}}:
            if not _URL.fullmatch(url) or set(rest) - {"message", "subject"}:
                raise _violation("body: url, message and subject are all that it may have")
        case _:
            raise _violation("body: does not fit the type")


def _violation(text: str) -> _Refused:
    return _Refused(400, "syntax_constraint_violation", text)
