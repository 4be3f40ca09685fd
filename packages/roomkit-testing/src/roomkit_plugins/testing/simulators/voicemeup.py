"""VoiceMeUp's API and telephones, simulated, as far as its accounts show them: it publishes no reference."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, override
from urllib.parse import parse_qs

from roomkit.models.base import utcnow
from roomkit.models.webhook import WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.carrier import CarrierSimulator, SimulatedMessage
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest

__all__ = ["VoiceMeUpSimulator"]

_PATH = "/api/v1.1/json/queue_sms"
_KNOWN = frozenset({"username", "auth_token", "source_number", "destination_number", "message", "attachment"})
_LONGEST = 1000


class VoiceMeUpSimulator(CarrierSimulator[SimulatedMessage]):
    """VoiceMeUp on a free local port, with telephones that people write from.

        async with VoiceMeUpSimulator() as vendor:
            config = VoiceMeUpConfig(
                username=vendor.username, auth_token=vendor.auth_token, base_url=vendor.origin,
                from_number=vendor.numbers[0], webhook_token=vendor.webhook_token,
            )
            vendor.connect(lambda request: kit.process_webhook(request, "sms"))
            ann = vendor.phone("+15145550123")
            await ann.write("Bonjour")
            print((await ann.receive()).text)

    A refusal has status 200, as at the vendor. A message with files comes as one webhook with the words, and
    one for each file; with `files_first` the other way round. Numbers in webhooks have no plus, and nothing
    is signed: the URL has a token.
    """

    def __init__(
        self,
        *,
        username: str = "simulated-user",
        auth_token: str = "simulated-auth-token",
        webhook_token: str = "simulated-webhook-token",
        numbers: Sequence[str] = ("+15145550999",),
        webhook_url: str = "https://chat.example.org/webhooks/sms",
    ) -> None:
        super().__init__(numbers=numbers, webhook_url=f"{webhook_url}?token={webhook_token}")
        self.username = username
        self.auth_token = auth_token
        self.webhook_token = webhook_token
        self.files_first = False

    # -- what a test says ---------------------------------------------------------------------

    @override
    def failure(self, status: int, code: int, headers: Mapping[str, str]) -> Failure:
        return Failure(status, {"error": f"simulated_{code}"}, headers)

    def refuse(self, code: str, text: str = "Simulated") -> None:
        """Script a refusal with a code of the vendor's, and status 200."""
        self.play(Failure(200, _answer("error", code, text)))

    def parts_of(
        self, person: str, text: str = "", files: Sequence[tuple[str, bytes]] = (), **fields: str
    ) -> list[WebhookRequest]:
        """Return the webhooks that a person's message makes, for a test that hands them over itself."""
        identity = self.new_id()
        common = {
            "source_number": person.lstrip("+"),
            "destination_number": self.numbers[0].lstrip("+"),
            "direction": "inbound",
            "datetime_transmission": utcnow().strftime("%Y-%m-%d %H:%M:%S"),
            **fields,
        }
        page = {
            "attachment": f"{self.origin}/mms/{identity}.mms.html",
            "attachment_mime_type": "text/html",
        }
        first = {"sms_hash": identity, "message": text, **(page if files else {}), **common}
        others = [
            {
                "sms_hash": self.new_id(),
                "message": "",
                "attachment": self.keep_file(f"/mms/{identity}/{place}", mime_type, data),
                "attachment_mime_type": mime_type,
                **common,
            }
            for place, (mime_type, data) in enumerate(files)
        ]
        bodies = [*others, first] if self.files_first else [first, *others]
        return [self.signed(json.dumps(body).encode()) for body in bodies]

    def signed(self, body: bytes) -> WebhookRequest:
        """Return a webhook with this body; its URL has the token."""
        return WebhookRequest(
            method="POST", url=self.webhook_url, headers={"Content-Type": "application/json"}, body=body
        )

    def new_id(self) -> str:
        """Return an id that was not given out."""
        return f"{self.next_number():012x}"

    # -- telephones ---------------------------------------------------------------------------

    @override
    async def take_from_phone(
        self, person: str, number: str | None, text: str, files: Sequence[tuple[str, bytes]], **fields: str
    ) -> WebhookOutcome | WebhookAnswer:
        called = number or self.numbers[0]
        self.opt(person, called, text)
        given = {"destination_number": called.lstrip("+"), **fields}
        answers = [await self.hand_over(each) for each in self.parts_of(person, text, files, **given)]
        return answers[-1]

    # -- the API ------------------------------------------------------------------------------

    @override
    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        kept = self.kept_file(request.path)
        if kept is not None:
            await exchange.send_bytes(200, kept.data, {"content-type": kept.mime_type})
        elif (request.method, request.path) != ("POST", _PATH):
            await exchange.send_bytes(404, b"Not Found")
        else:
            await self._queue(request, exchange)

    async def _queue(self, request: ReceivedRequest, exchange: Exchange) -> None:
        fault = self.next_fault()
        if isinstance(fault, Failure):
            await exchange.send_json(fault.status, fault.body, fault.headers)
            return
        form = {name: values[-1] for name, values in parse_qs(request.body.decode()).items()}
        problem = self._problem(form)
        if problem is not None:
            await exchange.send_json(200, _answer("error", *problem))
            return
        message = self.take(
            SimulatedMessage(
                id=self.new_id(),
                to=f"+{form['destination_number']}",
                sender=f"+{form['source_number']}",
                text=form.get("message", ""),
                media_urls=(form["attachment"],) if "attachment" in form else (),
            )
        )
        await self.answer(exchange, 200, _answer("success", "queued_sms_hash", message.id), fault)

    def _problem(self, form: Mapping[str, str]) -> tuple[str, str] | None:
        """Return the code and the words of a refusal; None for a form that is right."""
        if (form.get("username"), form.get("auth_token")) != (self.username, self.auth_token):
            return "invalid_authentication", "Username or auth token is invalid"
        if not _KNOWN.issuperset(form):
            return "invalid_parameter", "Unknown parameter"
        if not form.get("destination_number", "").isdigit():
            return "invalid_destination_number", "Destination number is invalid"
        if f"+{form.get('source_number', '')}" not in self.numbers:
            return "invalid_source_number", "Source number is invalid"
        text = form.get("message", "")
        if len(text) > _LONGEST or not (text.strip() or "attachment" in form):
            return "invalid_message", f"A message has 1 to {_LONGEST} characters"
        if not form.get("attachment", "https://").startswith(("http://", "https://")):
            return "invalid_attachment", "The attachment is not a URL"
        return None


def _answer(status: str, code: str, text: str) -> dict[str, Any]:
    """Return a document of the API; a single message is not in a list."""
    message = {"code": code, "_content": text}
    return {"response_details": {"response_status": status, "response_messages": {"message": message}}}
