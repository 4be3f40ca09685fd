"""Messenger's Send API and people, simulated.

https://developers.facebook.com/documentation/business-messaging/messenger-platform (2026).
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes
from typing import Any, override

from roomkit.models.webhook import WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from roomkit_plugins.testing.simulators.messenger_requests import (
    GraphRefusedError,
    checked_action,
    checked_message,
)
from roomkit_plugins.testing.simulators.vendor import SimulatedPerson, VendorSimulator
from roomkit_plugins.testing.simulators.whatsapp_requests import graph_failure

__all__ = ["MessengerMessage", "MessengerPerson", "MessengerSimulator"]

_WINDOW = 86_400.0

type Answer = WebhookOutcome | WebhookAnswer


@dataclass(slots=True, eq=False)
class MessengerMessage:
    """A message that Messenger took: `content` is its message object, `text` what a person reads."""

    id: str
    to: str
    text: str
    content: Mapping[str, Any]
    tag: str = ""
    answered: str = ""

    @property
    def options(self) -> Mapping[str, str]:
        """The payload of each postback button and quick reply, by its label."""
        payload = self.content.get("attachment", {}).get("payload", {})
        elements = payload.get("elements", ())
        shown = [*payload.get("buttons", ()), *(each for one in elements for each in one.get("buttons", ()))]
        postbacks = [each for each in shown if each["type"] == "postback"]
        return {
            each["title"]: each["payload"] for each in [*postbacks, *self.content.get("quick_replies", ())]
        }


class MessengerPerson(SimulatedPerson[MessengerMessage]):
    """A person on Messenger; the address is the page-scoped id. `reactions` are the page's by message."""

    def __init__(self, messenger: MessengerSimulator, psid: str) -> None:
        super().__init__(psid)
        self._messenger = messenger
        self.wrote_at: float | None = None
        self.reactions: dict[str, str] = {}  # bound: one test
        self.written: list[str] = []  # bound: one test

    @property
    def texts(self) -> list[str]:
        """The texts of what came."""
        return [message.text for message in self.received]

    async def write(self, text: str = "", *, answering: str = "", **fields: Any) -> Answer:
        """Write a text, in answer to a message if `answering` is its id; `fields` as of `attachments`."""
        mid = self._messenger.new_id()
        self.written.append(mid)
        said = {"mid": mid, **({"text": text} if text else {}), **fields}
        return await self.act("message", {**said, **({"reply_to": {"mid": answering}} if answering else {})})

    async def attach(self, kind: str, **payload: Any) -> Answer:
        """Send an attachment: image, audio, video, file, location, fallback ..."""
        return await self.write(attachments=[{"type": kind, "payload": payload}])

    async def tap(self, message: MessengerMessage, label: str) -> Answer:
        """Tap a button or a quick reply of a message. Raises KeyError if it has none of that label."""
        payload = message.options[label]
        if any(each["title"] == label for each in message.content.get("quick_replies", ())):
            return await self.write(label, quick_reply={"payload": payload})
        return await self.act(
            "postback", {"mid": self._messenger.new_id(), "title": label, "payload": payload}
        )

    async def react(self, message_id: str, emoji: str) -> Answer:
        """React to a message; "" takes the reaction back."""
        action = {"action": "react", "emoji": emoji, "reaction": "other"} if emoji else {"action": "unreact"}
        return await self.act("reaction", {"mid": message_id, **action})

    async def edit(self, message_id: str, text: str) -> Answer:
        """Edit a text that the person wrote."""
        return await self.act("message_edit", {"mid": message_id, "text": text, "num_edit": 1})

    async def read(self) -> Answer:
        """Read everything that came."""
        return await self.act("read", {"watermark": _now()}, is_word=False)

    async def act(self, kind: str, said: Mapping[str, Any], *, is_word: bool = True) -> Answer:
        """Send an event of a kind; return the answer to its webhook."""
        if is_word:
            self.wrote_at = time.time()
        return await self._messenger.post(
            {"sender": {"id": self.address}, "timestamp": _now(), kind: dict(said)}
        )


class MessengerSimulator(VendorSimulator[MessengerMessage]):
    """Messenger's Send API on a free local port, with people who write to its page.

        async with MessengerSimulator() as messenger:
            config = MessengerConfig(**messenger.settings)
            messenger.connect(lambda request: kit.process_webhook(request, "messenger"))
            ann = messenger.person("7012345678901234")
            await ann.write("Hello")
            print((await ann.receive()).text)

    Requests are checked as strictly as the vendor checks them. Free messages are taken for 24 hours after the
    person wrote, and for seven days with the tag HUMAN_AGENT (10/2018278). `report` sends deliveries.
    """

    def __init__(
        self,
        *,
        page_access_token: str = "EAAsimulated-page-token",
        app_secret: str = "simulated-app-secret",
        verify_token: str = "simulated-verify-token",
        page_id: str = "104233445566778",
        webhook_url: str = "https://chat.example.org/webhooks/messenger",
        has_window: bool = True,
    ) -> None:
        super().__init__(webhook_url=webhook_url)
        self.page_access_token = page_access_token
        self.app_secret = app_secret
        self.verify_token = verify_token
        self.page_id = page_id
        self.has_window = has_window
        self.refuses: Failure | None = None
        """The answer to every request, if there is one."""
        self.actions: list[tuple[str, str]] = []  # bound: one test
        self.uploads: dict[str, str] = {}  # bound: one test
        self._people: dict[str, MessengerPerson] = {}  # bound: one test
        self._issued = 0

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a provider for this page."""
        return {
            "page_access_token": self.page_access_token,
            "app_secret": self.app_secret,
            "verify_token": self.verify_token,
            "page_id": self.page_id,
            "base_url": self.origin,
        }

    def person(self, psid: str) -> MessengerPerson:
        """Return the person with a page-scoped id."""
        return self._people.setdefault(psid, MessengerPerson(self, psid))

    @override
    def failure(self, status: int, code: int, headers: Mapping[str, str]) -> Failure:
        if not code:
            return Failure(status, {"error": {"message": "Simulated error", "fbtrace_id": "A"}}, headers)
        return graph_failure(status, code, f"Simulated error {code}", headers=headers)

    def let_pass(self, seconds: float) -> None:
        """Let time pass since each person wrote."""
        for person in self._people.values():
            person.wrote_at = None if person.wrote_at is None else person.wrote_at - seconds

    def expire_files(self) -> None:
        """Forget every file that was uploaded."""
        self.uploads.clear()

    async def report(self, *, message: MessengerMessage | None = None, with_ids: bool = True) -> Answer:
        """Send that a message, the newest by default, was delivered: by its id, or by the time alone."""
        about = message or self.messages[-1]
        ids = {"mids": [about.id]} if with_ids else {}
        return await self.post({"sender": {"id": about.to}, "delivery": {**ids, "watermark": _now()}})

    async def post(self, *events: Mapping[str, Any]) -> Answer:
        """Sign a webhook with events of the page and have it taken; return the answer."""
        return await self.hand_over(self.signed(self.body(*events)))

    def body(self, *events: Mapping[str, Any]) -> bytes:
        """Return the body of a webhook with events of the page."""
        addressed = [{**each, "recipient": {"id": self.page_id}} for each in events]
        entry = {"id": self.page_id, "time": _now(), "messaging": addressed}
        return json.dumps({"object": "page", "entry": [entry]}).encode()

    def signed(self, body: bytes, at: float | None = None) -> WebhookRequest:
        """Return a webhook with this body, signed; Messenger signs no time."""
        signature = hmac.new(self.app_secret.encode(), body, "sha256").hexdigest()
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={signature}"}
        return WebhookRequest(method="POST", url=self.webhook_url, headers=headers, body=body)

    def challenge(self, challenge: str = "1158201444") -> WebhookRequest:
        """Return the request by which Meta confirms a webhook's URL."""
        query = f"hub.mode=subscribe&hub.verify_token={self.verify_token}&hub.challenge={challenge}"
        return WebhookRequest(method="GET", url=f"{self.webhook_url}?{query}", headers={})

    def new_id(self) -> str:
        """Return an id of a message that was not given out."""
        self._issued += 1
        return f"m_{self._issued:08d}"

    # -- the API ------------------------------------------------------------------------------

    @override
    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        try:
            await self._serve_request(request, exchange)
        except GraphRefusedError as error:
            await exchange.send_json(error.failure.status, error.failure.body, error.failure.headers)

    async def _serve_request(self, request: ReceivedRequest, exchange: Exchange) -> None:
        if self.refuses is not None:
            raise GraphRefusedError(self.refuses)
        self._check_caller(request)
        _, _, page, *rest = request.path.split("/")
        if page not in ("me", self.page_id):
            raise GraphRefusedError(graph_failure(400, 100, f"Object '{page}' does not exist", subcode=33))
        match rest:
            case [] if request.method == "GET":
                await exchange.send_json(200, {"id": self.page_id, "name": "ACME"})
            case ["messages"]:
                await self._post(request, exchange)
            case ["message_attachments"]:
                await exchange.send_json(200, {"attachment_id": self._uploaded(request)})
            case _:
                raise GraphRefusedError(graph_failure(400, 2500, "Unknown path components"))

    def _check_caller(self, request: ReceivedRequest) -> None:
        if request.headers.get("authorization") != f"Bearer {self.page_access_token}":
            raise GraphRefusedError(graph_failure(401, 190, "Invalid OAuth access token."))
        token, secret = self.page_access_token.encode(), self.app_secret.encode()
        proof = hmac.new(secret, token, "sha256").hexdigest()
        if request.query.get("appsecret_proof", proof) != proof:
            raise GraphRefusedError(graph_failure(400, 100, "Invalid appsecret_proof provided"))

    def _uploaded(self, request: ReceivedRequest) -> str:
        head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
        form = message_from_bytes(head + request.body)
        parts = {str(each.get_param("name", header="content-disposition")): each for each in form.walk()}
        if not {"message", "filedata"} <= parts.keys():
            raise GraphRefusedError(graph_failure(400, 100, "message and filedata are required"))
        about = json.loads(str(parts["message"].get_payload()))
        identity = str(2_000_000_000 + len(self.uploads) + self._issued)
        self.uploads[identity] = about["attachment"]["type"]
        return identity

    async def _post(self, request: ReceivedRequest, exchange: Exchange) -> None:
        said = request.json()
        if "sender_action" in said:
            self._act(checked_action(said))
            await exchange.send_json(200, {"recipient_id": said["recipient"]["id"]})
            return
        fault = self.next_fault()
        if isinstance(fault, Failure):
            raise GraphRefusedError(fault)
        message = self._taken(checked_message(said, self.uploads))
        await self.answer(exchange, 200, {"recipient_id": message.to, "message_id": message.id}, fault)

    def _act(self, said: Mapping[str, Any]) -> None:
        person, action = self.person(said["recipient"]["id"]), said["sender_action"]
        if action == "react":
            person.reactions[said["payload"]["message_id"]] = said["payload"]["reaction"]
        elif action == "unreact":
            person.reactions.pop(said["payload"]["message_id"], None)
        else:
            self.actions.append((person.address, action))

    def _taken(self, said: Mapping[str, Any]) -> MessengerMessage:
        person, tag = self.person(said["recipient"]["id"]), said.get("tag", "")
        since = None if person.wrote_at is None else time.time() - person.wrote_at
        most = 7 * _WINDOW if tag == "HUMAN_AGENT" else _WINDOW
        is_free = said["messaging_type"] != "UTILITY"
        if self.has_window and is_free and (since is None or since > most):
            raise GraphRefusedError(
                graph_failure(400, 10, "This message is sent outside of allowed window.", subcode=2018278)
            )
        message = MessengerMessage(
            id=self.new_id(),
            to=person.address,
            text=_text_of(said["message"]),
            content=said["message"],
            tag=tag,
            answered=said.get("reply_to", {}).get("mid", ""),
        )
        self.messages.append(message)
        person.show(message)
        return message


def _now() -> int:
    return int(time.time() * 1000)


def _text_of(message: Mapping[str, Any]) -> str:
    """Return what a person reads of a message."""
    payload = message.get("attachment", {}).get("payload", {})
    return str(message.get("text") or payload.get("text") or message.get("template", {}).get("name", ""))
