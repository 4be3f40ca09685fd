"""Twilio's messaging API and telephones, simulated: https://www.twilio.com/docs/messaging (Nov 2026)."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from hashlib import sha1
from types import MappingProxyType
from typing import Any, override
from urllib.parse import urlencode

from roomkit.models.base import utcnow
from roomkit.models.webhook import WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.carrier import CarrierSimulator, SimulatedMessage
from roomkit_plugins.testing.simulators.gsm import joined_text, short_messages
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from roomkit_plugins.testing.simulators.twilio_requests import (
    Fields,
    TwilioRefusedError,
    checked_message,
    credentials_of,
    one,
    twilio_failure,
)

__all__ = ["TwilioMessage", "TwilioSimulator"]

ACCOUNT = "AC" + "00112233445566778899aabbccddeeff"
SERVICE = "MG" + "99887766554433221100ffeeddccbbaa"


@dataclass(slots=True, eq=False)
class TwilioMessage(SimulatedMessage):
    """A message that Twilio took."""

    content_sid: str = ""
    content_variables: str = ""
    service: str = ""
    fallback_from: str = ""


class TwilioSimulator(CarrierSimulator[TwilioMessage]):
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

    Requests are checked as strictly as the vendor checks them. `report` sends status callbacks. With
    `advanced_opt_out` the vendor marks STOP and START in webhooks; it refuses to write to a number that said
    STOP (21610) in any case.

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
        super().__init__(numbers=numbers, webhook_url=webhook_url)
        self.account_sid = account_sid
        self.auth_token = auth_token
        self.messaging_services = tuple(messaging_services)
        self.rcs_senders = tuple(rcs_senders)
        self.advanced_opt_out = advanced_opt_out
        self.api_keys = dict(api_keys)  # bound: one test
        self.restricted_keys: set[str] = set()  # bound: one test
        self.status = status

    # -- what a test says ---------------------------------------------------------------------

    @override
    def failure(self, status: int, code: int, headers: Mapping[str, str]) -> Failure:
        return twilio_failure(status, code, f"Simulated error {code}", headers)

    async def report(
        self, *words: str, message: TwilioMessage | None = None, error_code: str = "", **fields: str
    ) -> list[WebhookOutcome | WebhookAnswer]:
        """Send status callbacks for a message, the newest by default: one for each word, in this order."""
        about = message or self.messages[-1]
        answers = []
        for word in words:
            form = {
                "MessageSid": about.id,
                "SmsSid": about.id,
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
        return await self.hand_over(self.signed(form.items(), url))

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
        return f"{prefix}{self.next_number():032x}"

    # -- telephones ---------------------------------------------------------------------------

    @override
    async def take_from_phone(
        self, person: str, number: str | None, text: str, files: Sequence[tuple[str, bytes]], **fields: str
    ) -> WebhookOutcome | WebhookAnswer:
        called = number or self.numbers[0]
        sid = self.new_sid("MM" if files else "SM")
        form = self._inbound(sid, person, called, text)
        said = self.opt(person, called, text)
        if said and self.advanced_opt_out:
            form["OptOutType"] = said
        form["NumMedia"] = str(len(files))
        for place, (mime_type, data) in enumerate(files):
            path = f"/2010-04-01/Accounts/{self.account_sid}/Messages/{sid}/Media/{self.new_sid('ME')}"
            form |= {
                f"MediaUrl{place}": self.keep_file(path, mime_type, data),
                f"MediaContentType{place}": mime_type,
            }
        return await self.post(form | fields)

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

    # -- the API ------------------------------------------------------------------------------

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        """Check the credentials, and carry out the request."""
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
        elif request.method == "GET" and (kept := self.kept_file(request.path)) is not None:
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
        fault = self.next_fault()
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
        await self.answer(exchange, 201, self._document(message), fault)

    def _taken(self, fields: Fields) -> TwilioMessage:
        """Take a message. Raises TwilioRefusedError for a recipient who said STOP."""
        to, text = one(fields, "To"), one(fields, "Body")
        sender = one(fields, "From") or self.numbers[0]
        if self.has_opted_out(to, sender):
            raise TwilioRefusedError(twilio_failure(400, 21610, "Attempt to send to unsubscribed recipient"))
        parts = short_messages(text)
        urls = fields.get("MediaUrl", [])
        return self.take(
            TwilioMessage(
                id=self.new_sid("MM" if urls else "SM"),
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
        )

    def _document(self, message: TwilioMessage) -> dict[str, Any]:
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
            "sid": message.id,
            "status": "accepted" if message.service else "queued",
            "subresource_uris": {"media": self._path(f"Messages/{message.id}/Media.json")},
            "to": message.to,
            "uri": self._path(f"Messages/{message.id}.json"),
        }


async def _send_failure(exchange: Exchange, failure: Failure) -> None:
    await exchange.send_json(failure.status, failure.body, {"twilio-request-id": "RQ1", **failure.headers})
