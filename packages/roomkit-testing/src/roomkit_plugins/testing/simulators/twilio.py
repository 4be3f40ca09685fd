"""Twilio's messaging API and telephones, simulated: https://www.twilio.com/docs/messaging (Nov 2026)."""

from __future__ import annotations

import asyncio
import hmac
from base64 import b64encode
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import format_datetime
from hashlib import sha1
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from roomkit.models.base import utcnow
from roomkit.models.webhook import WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing.simulators.ai import Drop, Failure, Malformed, NeverAnswer, Slow, WrongShape
from roomkit_plugins.testing.simulators.gsm import joined_text, short_messages
from roomkit_plugins.testing.simulators.http import Exchange, HTTPSimulator, ReceivedRequest
from roomkit_plugins.testing.simulators.twilio_requests import (
    Fields,
    TwilioRefusedError,
    checked_message,
    credentials_of,
    one,
    twilio_failure,
)

__all__ = ["SimulatedMessage", "SimulatedPhone", "TwilioSimulator"]

ACCOUNT = "AC" + "00112233445566778899aabbccddeeff"
SERVICE = "MG" + "99887766554433221100ffeeddccbbaa"
_STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"})
_START = frozenset({"START", "YES", "UNSTOP"})

type TakesWebhooks = Callable[[WebhookRequest], Awaitable[WebhookOutcome | WebhookAnswer]]
type Fault = Failure | Slow | NeverAnswer | Drop | Malformed | WrongShape


@dataclass(slots=True, eq=False)
class SimulatedMessage:
    """A message that the vendor took. `segments` is how many short messages it needed."""

    sid: str
    to: str
    sender: str
    text: str
    media_urls: Sequence[str] = ()
    content_sid: str = ""
    content_variables: str = ""
    segments: int = 1
    callback: str = ""
    service: str = ""
    fallback_from: str = ""


class SimulatedPhone:
    """A telephone, and the person who has it. `received` is what came, oldest first."""

    def __init__(self, vendor: TwilioSimulator, number: str) -> None:
        self._vendor = vendor
        self.number = number
        self.received: list[SimulatedMessage] = []  # bound: one test
        self._shown = 0
        self._arrived = asyncio.Event()

    @property
    def texts(self) -> list[str]:
        """The texts of what came."""
        return [message.text for message in self.received]

    async def receive(self) -> SimulatedMessage:
        """Return the next message, waiting for it."""
        while self._shown == len(self.received):
            self._arrived.clear()
            await self._arrived.wait()
        self._shown += 1
        return self.received[self._shown - 1]

    async def write(
        self, text: str = "", *, to: str | None = None, files: Sequence[tuple[str, bytes]] = (), **fields: str
    ) -> WebhookOutcome | WebhookAnswer:
        """Send a message to a number of the vendor's; return what was answered to its webhook.

        `files` are media types with bytes, kept at the vendor. `fields` are further ones of the webhook.
        """
        return await self._vendor.take_from_phone(self, text, to, files, fields)

    def show(self, message: SimulatedMessage) -> None:
        """Take a message that came over the network."""
        self.received.append(message)
        self._arrived.set()


@dataclass(slots=True)
class _File:
    mime_type: str
    data: bytes


@dataclass(slots=True)
class TwilioWebhook:
    """A webhook that was sent, and what was answered."""

    request: WebhookRequest
    answer: WebhookOutcome | WebhookAnswer
    form: Mapping[str, str] = field(default_factory=dict)


class TwilioSimulator(HTTPSimulator):
    """Twilio on a free local port, with telephones that people write from.

        async with TwilioSimulator() as twilio:
            config = TwilioConfig(
                account_sid=twilio.account_sid, auth_token=twilio.auth_token, from_number=twilio.numbers[0],
                base_url=twilio.origin,
            )
            twilio.connect(lambda request: kit.process_webhook(request, "sms"))
            ann = twilio.phone("+14165550123")
            await ann.write("Hello")
            print((await ann.receive()).text)

    Requests are checked as strictly as the vendor checks them. Faults that are scripted (`play`) befall the
    next requests for messages, in order; one that breaks off has taken its message. `report` sends status
    callbacks. With `duplicating`, each webhook is sent twice. With `advanced_opt_out` the vendor marks STOP
    and START in webhooks; it refuses to write to a number that said STOP (21610) in any case.

    `api_keys` are standard keys by their SIDs: they may do everything but read the account; those in
    `restricted_keys` may only send. An account whose
    `status` is not `active` is shown as it is to its auth token, and can do nothing else (10001).
    """

    def __init__(
        self,
        *,
        account_sid: str = ACCOUNT,
        auth_token: str = "simulated-auth-token",
        numbers: Sequence[str] = ("+14375550999",),
        messaging_services: Sequence[str] = (SERVICE,),
        rcs_senders: Sequence[str] = ("rcs:acme_agent",),
        webhook_url: str = "https://chat.example.org/webhooks/sms",
        advanced_opt_out: bool = False,
        api_keys: Mapping[str, str] = MappingProxyType({}),
        status: str = "active",
    ) -> None:
        super().__init__()
        self.account_sid = account_sid
        self.auth_token = auth_token
        self.numbers = tuple(numbers)
        self.messaging_services = tuple(messaging_services)
        self.rcs_senders = tuple(rcs_senders)
        self.webhook_url = webhook_url
        self.advanced_opt_out = advanced_opt_out
        self.api_keys = dict(api_keys)  # bound: one test
        self.restricted_keys: set[str] = set()  # bound: one test
        self.status = status
        self.duplicating = False
        self.messages: list[SimulatedMessage] = []  # bound: one test
        self.webhooks: list[TwilioWebhook] = []  # bound: one test
        self._phones: dict[str, SimulatedPhone] = {}  # bound: one test
        self._files: dict[str, _File] = {}  # bound: one test
        self._opted_out: set[tuple[str, str]] = set()  # bound: one test
        self._faults: deque[Fault | None] = deque()  # bound: one test
        self._takes: TakesWebhooks | None = None
        self._issued = 0

    # -- what a test says ---------------------------------------------------------------------

    def connect(self, takes: TakesWebhooks) -> None:
        """Have webhooks taken by `takes`, as a server at `webhook_url` would hand them over."""
        self._takes = takes

    def phone(self, number: str) -> SimulatedPhone:
        """Return the telephone of a number."""
        return self._phones.setdefault(number, SimulatedPhone(self, number))

    def play(self, *faults: Fault | None) -> None:
        """Script what happens to the next requests for messages; None is nothing."""
        self._faults.extend(faults)

    def fail(self, status: int, code: int, *, headers: Mapping[str, str] | None = None) -> None:
        """Script a refusal with a code of the vendor's."""
        self.play(twilio_failure(status, code, f"Simulated error {code}", headers))

    async def report(
        self, *words: str, message: SimulatedMessage | None = None, error_code: str = "", **fields: str
    ) -> list[WebhookOutcome | WebhookAnswer]:
        """Send status callbacks for a message, the newest by default: one for each word, in this order."""
        about = message or self.messages[-1]
        answers = []
        for word in words:
            form = {
                "MessageSid": about.sid,
                "SmsSid": about.sid,
                "AccountSid": self.account_sid,
                "From": about.sender,
                "To": about.to,
                "MessageStatus": word,
                "SmsStatus": word,
                "ApiVersion": "2010-04-01",
                **({"ErrorCode": error_code} if error_code else {}),
                **fields,
            }
            answers.append(await self.post(form, about.callback or None))
        return answers

    async def post(self, form: Mapping[str, str], url: str | None = None) -> WebhookOutcome | WebhookAnswer:
        """Sign a webhook and have it taken; return the answer, of the first one if it is sent twice."""
        if self._takes is None:
            raise RuntimeError("no one takes the webhooks of TwilioSimulator: say who by connect()")
        request = self.signed(form.items(), url)
        answers = [await self._takes(request) for _ in range(2 if self.duplicating else 1)]
        self.webhooks += [TwilioWebhook(request, answer, dict(form)) for answer in answers]
        return answers[0]

    def signed(self, pairs: Iterable[tuple[str, str]], url: str | None = None) -> WebhookRequest:
        """Return a webhook with these parameters, signed as the vendor signs."""
        given = list(pairs)
        called = url or self.webhook_url
        text = called + "".join(name + value for name, value in sorted(set(given)))
        digest = hmac.new(self.auth_token.encode(), text.encode(), sha1).digest()
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "X-Twilio-Signature": b64encode(digest).decode(),
            "I-Twilio-Idempotency-Token": self.new_sid("")[-12:],
            "User-Agent": "TwilioProxy/1.1",
        }
        return WebhookRequest(method="POST", url=called, headers=headers, body=urlencode(given).encode())

    def new_sid(self, prefix: str) -> str:
        """Return an id that was not given out."""
        self._issued += 1
        return f"{prefix}{self._issued:032x}"

    # -- telephones ---------------------------------------------------------------------------

    async def take_from_phone(
        self,
        phone: SimulatedPhone,
        text: str,
        to: str | None,
        files: Sequence[tuple[str, bytes]],
        fields: Mapping[str, str],
    ) -> WebhookOutcome | WebhookAnswer:
        """Carry a person's message to the number, as `SimulatedPhone.write` says."""
        number = to or self.numbers[0]
        sid = self.new_sid("MM" if files else "SM")
        form = self._inbound(sid, phone.number, number, text)
        form |= self._opting(phone.number, number, text)
        form["NumMedia"] = str(len(files))
        for place, (mime_type, data) in enumerate(files):
            path = f"/2010-04-01/Accounts/{self.account_sid}/Messages/{sid}/Media/{self.new_sid('ME')}"
            self._files[path] = _File(mime_type, data)
            form |= {f"MediaUrl{place}": self.origin + path, f"MediaContentType{place}": mime_type}
        return await self.post(form | dict(fields))

    def _inbound(self, sid: str, sender: str, number: str, text: str) -> dict[str, str]:
        return {
            "MessageSid": sid,
            "SmsSid": sid,
            "SmsMessageSid": sid,
            "AccountSid": self.account_sid,
            "From": sender,
            "To": number,
            "Body": text,
            "NumSegments": str(len(short_messages(text))),
            "SmsStatus": "received",
            "ApiVersion": "2010-04-01",
            "FromCity": "TORONTO",
            "FromState": "ON",
            "FromZip": "",
            "FromCountry": "CA",
            "ToCountry": "CA",
        }

    def _opting(self, person: str, number: str, text: str) -> dict[str, str]:
        """Keep what a word means for the pair of numbers; return how the webhook says it."""
        word = text.strip().upper()
        if word in _STOP:
            self._opted_out.add((number, person))
        elif word in _START:
            self._opted_out.discard((number, person))
        else:
            return {}
        return {"OptOutType": "STOP" if word in _STOP else "START"} if self.advanced_opt_out else {}

    # -- the API ------------------------------------------------------------------------------

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        """Check who asks, and do what is asked."""
        given = credentials_of(request)
        is_account = given == (self.account_sid, self.auth_token)
        is_key = given is not None and given in self.api_keys.items()
        about = f"/2010-04-01/Accounts/{self.account_sid}.json"
        if not is_account and (not is_key or request.path == about):
            await _send_failure(exchange, twilio_failure(401, 20003, "Authenticate"))
        elif (request.method, request.path) == ("GET", about):
            await exchange.send_json(200, self._account())
        elif given is not None and given[0] in self.restricted_keys and request.method == "GET":
            await _send_failure(exchange, twilio_failure(403, 20403, "Forbidden"))
        elif self.status != "active":
            await _send_failure(exchange, twilio_failure(403, 10001, "Account is not active"))
        elif (request.method, request.path) == ("POST", self._path("Messages.json")):
            await self._create(request, exchange)
        elif request.method == "GET" and (kept := self._files.get(request.path)) is not None:
            await exchange.send_bytes(200, kept.data, {"content-type": kept.mime_type})
        else:
            missing = f"The requested resource {request.path} was not found"
            await _send_failure(exchange, twilio_failure(404, 20404, missing))

    def _account(self) -> dict[str, Any]:
        """Return the account as the API shows it, with its token, as Twilio does."""
        return {
            "sid": self.account_sid,
            "owner_account_sid": self.account_sid,
            "friendly_name": "A simulated account",
            "status": self.status,
            "type": "Full",
            "auth_token": self.auth_token,
            "date_created": format_datetime(utcnow()),
            "date_updated": format_datetime(utcnow()),
            "uri": f"/2010-04-01/Accounts/{self.account_sid}.json",
            "subresource_uris": {"messages": self._path("Messages.json")},
        }

    def _path(self, name: str) -> str:
        return f"/2010-04-01/Accounts/{self.account_sid}/{name}"

    async def _create(self, request: ReceivedRequest, exchange: Exchange) -> None:
        fault = self._faults.popleft() if self._faults else None
        if isinstance(fault, Failure):
            await _send_failure(exchange, fault)
            return
        try:
            message = self._taken(
                checked_message(request, (*self.numbers, *self.rcs_senders), self.messaging_services)
            )
        except TwilioRefusedError as error:
            await _send_failure(exchange, error.failure)
            return
        match fault:
            case Slow(seconds):
                await asyncio.sleep(seconds)
                await exchange.send_json(201, self._document(message))
            case NeverAnswer():
                await asyncio.Event().wait()
            case Drop():
                exchange.abort()
            case Malformed():
                await exchange.send_bytes(201, b'{"sid": ')
            case WrongShape(body):
                await exchange.send_json(201, body)
            case _:
                await exchange.send_json(201, self._document(message))

    def _taken(self, fields: Fields) -> SimulatedMessage:
        """Take a message, and carry it to its telephone. Raises TwilioRefusedError for one that said STOP."""
        to, text = one(fields, "To"), one(fields, "Body")
        sender = one(fields, "From") or self.numbers[0]
        if (sender, to) in self._opted_out:
            raise TwilioRefusedError(twilio_failure(400, 21610, "Attempt to send to unsubscribed recipient"))
        parts = short_messages(text)
        urls = fields.get("MediaUrl", [])
        message = SimulatedMessage(
            sid=self.new_sid("MM" if urls else "SM"),
            to=to,
            sender=sender,
            text=joined_text(parts),
            media_urls=tuple(urls),
            content_sid=one(fields, "ContentSid"),
            content_variables=one(fields, "ContentVariables"),
            segments=len(parts),
            callback=one(fields, "StatusCallback"),
            service=one(fields, "MessagingServiceSid"),
            fallback_from=one(fields, "FallbackFrom"),
        )
        self.messages.append(message)
        self.phone(to.removeprefix("rcs:")).show(message)
        return message

    def _document(self, message: SimulatedMessage) -> dict[str, Any]:
        now = format_datetime(utcnow())
        return {
            "account_sid": self.account_sid,
            "api_version": "2010-04-01",
            "body": message.text,
            "date_created": now,
            "date_sent": None,
            "date_updated": now,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": None if message.service else message.sender,
            "messaging_service_sid": message.service or None,
            "num_media": str(len(message.media_urls)),
            "num_segments": "0" if message.service else str(message.segments),
            "price": None,
            "price_unit": None,
            "sid": message.sid,
            "status": "accepted" if message.service else "queued",
            "subresource_uris": {"media": self._path(f"Messages/{message.sid}/Media.json")},
            "to": message.to,
            "uri": self._path(f"Messages/{message.sid}.json"),
        }


async def _send_failure(exchange: Exchange, failure: Failure) -> None:
    await exchange.send_json(failure.status, failure.body, {"twilio-request-id": "RQ1", **failure.headers})
