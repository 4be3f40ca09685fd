"""WhatsApp's Cloud API and telephones, simulated.

https://developers.facebook.com/documentation/business-messaging/whatsapp (Aug 2026).
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, override

from roomkit.models.webhook import WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.carrier import KeptFile
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from roomkit_plugins.testing.simulators.vendor import SimulatedPerson, VendorSimulator
from roomkit_plugins.testing.simulators.whatsapp_requests import (
    WhatsAppRefusedError,
    checked_message,
    checked_upload,
    graph_failure,
)

__all__ = ["Acknowledgement", "WhatsAppMessage", "WhatsAppPhone", "WhatsAppSimulator"]

_WINDOW = 86_400.0
_FILES = ("image", "video", "audio", "document", "sticker")

type Answer = WebhookOutcome | WebhookAnswer


@dataclass(slots=True, eq=False)
class WhatsAppMessage:
    """A message that WhatsApp took: `content` is the object of its type, `text` what a person reads."""

    id: str
    to: str
    type: str
    text: str
    content: Any
    quoted: str = ""
    reference: str = ""

    @property
    def options(self) -> Mapping[str, str]:
        """The id of each button or row, by its label."""
        if self.type != "interactive":
            return {}
        action = self.content["action"]
        rows = [row for section in action.get("sections", ()) for row in section["rows"]]
        replies = [each["reply"] for each in action.get("buttons", ())]
        return {each["title"]: each["id"] for each in [*replies, *rows]}


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A message that the business marked as read, and whether it shows that it types."""

    message_id: str
    is_typing: bool


class WhatsAppPhone(SimulatedPerson[WhatsAppMessage]):
    """A person on WhatsApp, with a number and a business-scoped user id.

    With `hides_number` the person has a user name, and the business is given the user id alone.
    `reactions` are the business's emoji by message.
    """

    def __init__(self, whatsapp: WhatsAppSimulator, number: str) -> None:
        super().__init__(number)
        self._whatsapp = whatsapp
        self.user_id = f"CA.{int(sha256(number.encode()).hexdigest()[:16], 16)}"
        self.hides_number = False
        self.name = "Ann Example"
        self.wrote_at: float | None = None
        self.reactions: dict[str, str] = {}  # bound: one test

    @property
    def wa_id(self) -> str:
        """The number as WhatsApp writes it."""
        return self.address.removeprefix("+")

    @property
    def texts(self) -> list[str]:
        """The texts of what came."""
        return [message.text for message in self.received]

    async def write(self, text: str, *, quoting: str = "", **fields: Any) -> Answer:
        """Write a text, in answer to a message if `quoting` is its id."""
        return await self.send("text", {"body": text}, quoting=quoting, **fields)

    async def send(self, kind: str, content: Any, *, quoting: str = "", **fields: Any) -> Answer:
        """Send a message of a type; return the answer to its webhook."""
        return await self._whatsapp.take_from(self, kind, content, quoting, fields)

    async def send_file(
        self, kind: str, mime_type: str, data: bytes, *, quoting: str = "", **fields: Any
    ) -> Answer:
        """Send an image, video, audio, document or sticker, with a `caption` or `filename`."""
        about = self._whatsapp.keep(mime_type, data)
        return await self.send(kind, {**about, **fields}, quoting=quoting)

    async def tap(self, message: WhatsAppMessage, label: str) -> Answer:
        """Tap a button or a row of a message. Raises KeyError if it has none of that label."""
        kind = "button_reply" if message.content["type"] == "button" else "list_reply"
        chosen = {"id": message.options[label], "title": label}
        return await self.send("interactive", {"type": kind, kind: chosen}, quoting=message.id)

    async def react(self, message_id: str, emoji: str) -> Answer:
        """React to a message; "" takes the reaction back."""
        about = {"message_id": message_id, **({"emoji": emoji} if emoji else {})}
        return await self.send("reaction", about)

    async def edit(self, message_id: str, text: str) -> Answer:
        """Edit a text that the person wrote."""
        new = {"type": "text", "text": {"body": text}}
        return await self.send("edit", {"original_message_id": message_id, "message": new})

    async def revoke(self, message_id: str) -> Answer:
        """Delete a message that the person wrote, for everyone."""
        return await self.send("revoke", {"original_message_id": message_id})

    async def change_number(self, number: str) -> Answer:
        """Move to another number, and so to another user id."""
        old_number, old_user_id = self.wa_id, self.user_id
        new = self._whatsapp.phone(number)
        said = {
            "body": f"User {self.name} changed from {old_number} to {new.wa_id}",
            "type": "user_changed_number",
            "wa_id": new.wa_id,
            "user_id": new.user_id,
            "previous_user_id": old_user_id,
        }
        message = {"from": old_number, **self._whatsapp.stamps(), "type": "system", "system": said}
        return await self._whatsapp.post("messages", {"messages": [message]})

    async def call(self, event: str = "connect", **fields: Any) -> Answer:
        """Call the business, or hang up with the event "terminate"."""
        said = {
            "id": "wacid.CALL1",
            "to": self._whatsapp.number,
            "event": event,
            "direction": "USER_INITIATED",
            "timestamp": str(int(time.time())),
            **self.names(),
            **fields,
        }
        return await self._whatsapp.post("calls", {"contacts": [self.contact()], "calls": [said]})

    async def prefer(self, value: str) -> Answer:
        """Stop or resume marketing messages: "stop", "resume"."""
        said = {
            "detail": f"User requested to {value} marketing messages",
            "category": "marketing_messages",
            "value": value,
            "timestamp": int(time.time()),
            **({} if self.hides_number else {"wa_id": self.wa_id}),
            "user_id": self.user_id,
        }
        fields = {"contacts": [self.contact()], "user_preferences": [said]}
        return await self._whatsapp.post("user_preferences", fields)

    def names(self) -> dict[str, str]:
        """Return who a message is from."""
        number = {} if self.hides_number else {"from": self.wa_id}
        return {**number, "from_user_id": self.user_id}

    def contact(self) -> dict[str, Any]:
        """Return the person as a webhook describes them."""
        profile = {"name": self.name, **({"username": "ann"} if self.hides_number else {})}
        number = {} if self.hides_number else {"wa_id": self.wa_id}
        return {"profile": profile, **number, "user_id": self.user_id}


class WhatsAppSimulator(VendorSimulator[WhatsAppMessage]):
    """WhatsApp's Cloud API on a free local port, with people who write to it.

        async with WhatsAppSimulator() as whatsapp:
            config = WhatsAppCloudConfig(**whatsapp.settings)
            whatsapp.connect(lambda request: kit.process_webhook(request, "whatsapp"))
            ann = whatsapp.phone("+14165550123")
            await ann.write("Hello")
            print((await ann.receive()).text)

    Requests are checked as strictly as the vendor checks them. Free messages are taken for 24 hours after
    the recipient wrote (131047); `close_windows` ends those that are open. A template is one of `templates`,
    whose values are the numbers of its body's parameters (132001, 132000). `report` sends statuses.
    """

    def __init__(
        self,
        *,
        access_token: str = "EAAsimulated-token",
        app_secret: str = "simulated-app-secret",
        verify_token: str = "simulated-verify-token",
        phone_number_id: str = "106540352242922",
        number: str = "14375550999",
        webhook_url: str = "https://chat.example.org/webhooks/whatsapp",
        has_window: bool = True,
    ) -> None:
        super().__init__(webhook_url=webhook_url)
        self.access_token = access_token
        self.app_secret = app_secret
        self.verify_token = verify_token
        self.phone_number_id = phone_number_id
        self.waba_id = "102290129340398"
        self.number = number
        self.has_window = has_window
        self.refuses: Failure | None = None
        """The answer to every request, if there is one."""
        self.templates: dict[str, int] = {"welcome": 1, "hello_world": 0}  # bound: one test
        self.acknowledged: list[Acknowledgement] = []  # bound: one test
        self.uploads: dict[str, str] = {}  # bound: one test
        self.inbound: list[str] = []  # bound: one test
        self._phones: dict[str, WhatsAppPhone] = {}  # bound: one test
        self._files: dict[str, KeptFile] = {}  # bound: one test
        self._issued = 0

    # -- what a test says ---------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a provider for this account."""
        return {
            "access_token": self.access_token,
            "app_secret": self.app_secret,
            "verify_token": self.verify_token,
            "phone_number_id": self.phone_number_id,
            "base_url": self.origin,
        }

    def phone(self, number: str) -> WhatsAppPhone:
        """Return the person with a number."""
        return self._phones.setdefault(number, WhatsAppPhone(self, number))

    @override
    def failure(self, status: int, code: int, headers: Mapping[str, str]) -> Failure:
        if not code:
            return Failure(status, {"error": {"message": "Simulated error", "fbtrace_id": "A"}}, headers)
        return graph_failure(status, code, f"Simulated error {code}", headers=headers)

    def close_windows(self) -> None:
        """Let a day pass since anyone wrote."""
        for person in self._phones.values():
            person.wrote_at = None

    def expire_files(self) -> None:
        """Forget every file that was uploaded or came from a phone."""
        self.uploads.clear()
        self._files.clear()

    async def report(
        self, *words: str, message: WhatsAppMessage | None = None, error_code: int = 0
    ) -> list[Answer]:
        """Send statuses of a message, the newest by default: one for each word, in this order."""
        about = message or self.messages[-1]
        return [
            await self.post("messages", {"statuses": [self.status(about, word, error_code)]})
            for word in words
        ]

    def status(self, about: WhatsAppMessage, word: str, error_code: int = 0) -> dict[str, Any]:
        """Return a status as a webhook has it."""
        person = self._person(about.to)
        error = {
            "code": error_code,
            "title": "Simulated error",
            "error_data": {"details": "It was not delivered."},
        }
        return {
            "id": about.id,
            "status": word,
            "timestamp": str(int(time.time())),
            "recipient_id": person.wa_id,
            "recipient_user_id": person.user_id,
            **({"biz_opaque_callback_data": about.reference} if about.reference else {}),
            **({"errors": [error]} if error_code else {}),
        }

    async def post(self, field: str, fields: Mapping[str, Any]) -> Answer:
        """Sign a webhook with a change of the number's and have it taken; return the answer."""
        return await self.post_changes([self.change(field, fields)])

    async def post_changes(self, changes: Sequence[Mapping[str, Any]]) -> Answer:
        """Sign one webhook with several changes and have it taken."""
        entry = {"id": self.waba_id, "changes": list(changes)}
        body = {"object": "whatsapp_business_account", "entry": [entry]}
        return await self.hand_over(self.signed(json.dumps(body).encode()))

    def change(self, field: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return a change of the number's, as a webhook has it."""
        about = {"display_phone_number": self.number, "phone_number_id": self.phone_number_id}
        return {"field": field, "value": {"messaging_product": "whatsapp", "metadata": about, **fields}}

    def signed(self, body: bytes, at: float | None = None) -> WebhookRequest:
        """Return a webhook with this body, signed; WhatsApp signs no time."""
        signature = hmac.new(self.app_secret.encode(), body, "sha256").hexdigest()
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={signature}"}
        return WebhookRequest(method="POST", url=self.webhook_url, headers=headers, body=body)

    def challenge(self, challenge: str = "1158201444") -> WebhookRequest:
        """Return the request by which Meta confirms a webhook's URL."""
        query = f"hub.mode=subscribe&hub.verify_token={self.verify_token}&hub.challenge={challenge}"
        return WebhookRequest(method="GET", url=f"{self.webhook_url}?{query}", headers={})

    # -- phones -------------------------------------------------------------------------------

    def stamps(self) -> dict[str, str]:
        """Return the id and the time of a message that comes in."""
        self.inbound.append(self._new_id())
        return {"id": self.inbound[-1], "timestamp": str(int(time.time()))}

    def keep(self, mime_type: str, data: bytes) -> dict[str, str]:
        """Keep a file of a phone; return what its message says of it."""
        identity = str(1_000_000_000 + self._next())
        self._files[identity] = KeptFile(mime_type, data)
        return {"id": identity, "mime_type": mime_type, "sha256": sha256(data).hexdigest()}

    async def take_from(
        self, person: WhatsAppPhone, kind: str, content: Any, quoting: str, fields: Mapping[str, Any]
    ) -> Answer:
        """Carry a person's message: see `WhatsAppPhone.send`."""
        person.wrote_at = time.time()
        context = {"context": {"from": self.number, "id": quoting}} if quoting else {}
        message = {**person.names(), **self.stamps(), "type": kind, kind: content, **context, **fields}
        return await self.post("messages", {"contacts": [person.contact()], "messages": [message]})

    def _person(self, address: str) -> WhatsAppPhone:
        found = next((each for each in self._phones.values() if each.user_id == address), None)
        return found or self.phone(address if address.startswith("+") else f"+{address}")

    # -- the API ------------------------------------------------------------------------------

    @override
    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        if self.refuses is not None:
            await _refuse(exchange, self.refuses)
        elif request.headers.get("authorization") != f"Bearer {self.access_token}":
            await _refuse(exchange, graph_failure(401, 190, "Invalid OAuth access token."))
        elif not self._is_proven(request):
            await _refuse(
                exchange, graph_failure(400, 100, "Invalid appsecret_proof provided in the API argument")
            )
        elif request.path.startswith("/files/"):
            await self._give(request.path.rpartition("/")[2], exchange)
        elif request.method == "GET":
            await self._get(request.path, exchange)
        elif request.path.endswith(f"/{self.phone_number_id}/media"):
            await self._upload(request, exchange)
        elif request.path.endswith(f"/{self.phone_number_id}/messages"):
            await self._post(request, exchange)
        else:
            await _refuse(exchange, _absent(request.path))

    def _is_proven(self, request: ReceivedRequest) -> bool:
        given = request.query.get("appsecret_proof")
        expected = hmac.new(self.app_secret.encode(), self.access_token.encode(), "sha256").hexdigest()
        return given in (None, expected)

    async def _give(self, identity: str, exchange: Exchange) -> None:
        kept = self._files.get(identity)
        if kept is None:
            await exchange.send_bytes(404, b"", {"content-type": "text/plain"})
        else:
            await exchange.send_bytes(200, kept.data, {"content-type": kept.mime_type})

    async def _get(self, path: str, exchange: Exchange) -> None:
        identity = path.rpartition("/")[2]
        if identity == self.phone_number_id:
            found: dict[str, Any] = {"display_phone_number": f"+{self.number}", "quality_rating": "GREEN"}
            await exchange.send_json(200, {**found, "verified_name": "ACME", "id": identity})
            return
        kept = self._files.get(identity)
        if kept is None:
            await _refuse(exchange, _absent(identity))
            return
        found = {
            "messaging_product": "whatsapp",
            "url": f"{self.origin}/files/{identity}",
            "mime_type": kept.mime_type,
            "sha256": sha256(kept.data).hexdigest(),
            "file_size": len(kept.data),
            "id": identity,
        }
        await exchange.send_json(200, found)

    async def _upload(self, request: ReceivedRequest, exchange: Exchange) -> None:
        try:
            kind, data = checked_upload(request)
        except WhatsAppRefusedError as error:
            await _refuse(exchange, error.failure)
            return
        identity = str(2_000_000_000 + self._next())
        self.uploads[identity] = kind
        self._files[identity] = KeptFile(kind, data)
        await exchange.send_json(200, {"id": identity})

    async def _post(self, request: ReceivedRequest, exchange: Exchange) -> None:
        if b'"status"' in request.body and request.json().get("status") == "read":
            await self._acknowledge(request.json(), exchange)
            return
        fault = self.next_fault()
        if isinstance(fault, Failure):
            await _refuse(exchange, fault)
            return
        try:
            message = self._taken(request)
        except WhatsAppRefusedError as error:
            await _refuse(exchange, error.failure)
            return
        person = self._person(message.to)
        contact = {"input": message.to, "wa_id": person.wa_id, "user_id": person.user_id}
        answer = {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": message.id}]}
        await self.answer(exchange, 200, answer, fault)

    async def _acknowledge(self, said: Mapping[str, Any], exchange: Exchange) -> None:
        if said.get("message_id") not in self.inbound:
            await _refuse(exchange, graph_failure(400, 131009, "Parameter value is not valid"))
            return
        is_typing = said.get("typing_indicator") == {"type": "text"}
        self.acknowledged.append(Acknowledgement(said["message_id"], is_typing))
        await exchange.send_json(200, {"success": True})

    def _taken(self, request: ReceivedRequest) -> WhatsAppMessage:
        """Take a message. Raises WhatsAppRefusedError."""
        said = checked_message(request, self.uploads)
        kind = said["type"]
        to = said.get("recipient") or said["to"]
        if str(to).removeprefix("+") == self.number:
            raise WhatsAppRefusedError(graph_failure(400, 131021, "Recipient cannot be sender"))
        person = self._person(to)
        self._check_allowed(person, kind, said[kind])
        if kind == "reaction":
            return self._react(person, to, said["reaction"])
        message = WhatsAppMessage(
            id=self._new_id(),
            to=to,
            type=kind,
            text=_text_of(kind, said[kind]),
            content=said[kind],
            quoted=said.get("context", {}).get("message_id", ""),
            reference=said.get("biz_opaque_callback_data", ""),
        )
        self.messages.append(message)
        person.show(message)
        return message

    def _check_allowed(self, person: WhatsAppPhone, kind: str, content: Any) -> None:
        """Refuse free messages outside the window, and templates that are not there."""
        if kind != "template":
            if self.has_window and (person.wrote_at is None or time.time() - person.wrote_at > _WINDOW):
                raise WhatsAppRefusedError(
                    graph_failure(
                        400, 131047, "Re-engagement message", details="More than 24 hours have passed"
                    )
                )
            return
        expected = self.templates.get(content["name"])
        if expected is None:
            raise WhatsAppRefusedError(
                graph_failure(404, 132001, "Template name does not exist in the translation")
            )
        bodies = [each for each in content.get("components", ()) if each["type"] == "body"]
        if sum(len(each["parameters"]) for each in bodies) != expected:
            raise WhatsAppRefusedError(
                graph_failure(
                    400, 132000, "Number of parameters does not match the expected number of params"
                )
            )

    def _react(self, person: WhatsAppPhone, to: str, said: Mapping[str, Any]) -> WhatsAppMessage:
        """Put a reaction on a message, which is no message of its own."""
        if said["emoji"]:
            person.reactions[said["message_id"]] = said["emoji"]
        else:
            person.reactions.pop(said["message_id"], None)
        return WhatsAppMessage(self._new_id(), to, "reaction", said["emoji"], said)

    def _next(self) -> int:
        self._issued += 1
        return self._issued

    def _new_id(self) -> str:
        return f"wamid.HBgL{self._next():08d}"


def _text_of(kind: str, content: Any) -> str:
    """Return what a person reads of a message."""
    if kind == "text":
        return str(content["body"])
    if kind == "interactive":
        return str(content["body"]["text"])
    if kind in _FILES:
        return str(content.get("caption", ""))
    return str(content.get("name", "")) if isinstance(content, Mapping) else ""


def _absent(what: str) -> Failure:
    return graph_failure(400, 100, f"Unsupported request. Object with ID '{what}' does not exist", subcode=33)


async def _refuse(exchange: Exchange, failure: Failure) -> None:
    await exchange.send_json(failure.status, failure.body, failure.headers)
