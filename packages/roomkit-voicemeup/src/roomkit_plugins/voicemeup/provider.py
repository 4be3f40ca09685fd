"""SMS and MMS by VoiceMeUp."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, override

from roomkit.abc.errors import ErrorCode, ProviderError, WebhookRejected
from roomkit.abc.sms import SMSProvider
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelMediaType
from roomkit_plugins.voicemeup.config import VoiceMeUpConfig
from roomkit_plugins.voicemeup.errors import ORIGIN, http_error, refusal
from roomkit_plugins.voicemeup.mms import MMSParts
from roomkit_plugins.voicemeup.wire import TOKEN, MMSPart, fields_of, message_of, read_part
from roomkit_plugins.wire.plain_message import PlainMessage, plain_message
from roomkit_plugins.wire.reading import JSONReader
from roomkit_plugins.wire.vendor_provider import JSONProvider

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart
    from roomkit.abc.services import Services
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import SMSHints
    from roomkit.models.webhook import WebhookRequest
    from roomkit_plugins.wire.caller import HTTPAnswer

__all__ = ["VoiceMeUpSMSProvider"]

LONGEST = 1000
"""Characters of a message, in UTF-16 code units."""


class VoiceMeUpSMSProvider(JSONProvider[VoiceMeUpConfig], SMSProvider):
    """Sends SMS and MMS by VoiceMeUp, and takes its callbacks: messages, and MMS in their parts.

    A message is sent from the number that its hints name, else from `from_number`. It has one file at most,
    and VoiceMeUp has neither receipts nor an idempotency key: of a message whose fate is not known none is
    sent again. The parts of an MMS that came in are joined durably, on any worker: its words wait for the
    file for `mms_timeout` seconds, and are received without it then. `http_client` replaces the connections,
    for a proxy or other certificates; its maker closes it.
    """

    origin = ORIGIN
    distribution = "roomkit-voicemeup"
    idempotent = False
    retry_status = None  # whether VoiceMeUp repeats a callback is not documented
    capabilities = ChannelCapabilities(
        media_types=(ChannelMediaType.TEXT, ChannelMediaType.MEDIA),
        max_length=LONGEST,
        supports_composite=False,
        supports_media=True,
    )
    _mms: Mapping[str | None, MMSParts] = MappingProxyType({})  # by channel

    @override
    def bind(self, services: Services) -> None:
        super().bind(services)
        config = self._config
        parts = MMSParts(services, timeout=config.mms_timeout, quiet=config.mms_quiet)
        self._mms = {**self._mms, services.channel_id: parts}

    @property
    def from_number(self) -> str | None:
        """The configured sender."""
        return self._config.from_number

    @override
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: SMSHints | None = None,
    ) -> ProviderResult:
        self._check_recipient(to)
        sender = hints.from_ if hints is not None and hints.from_ is not None else self._config.from_number
        if sender is None:
            raise ORIGIN.refused(
                "there is no number to send from: set from_number of VoiceMeUpConfig, or of the channel"
            )
        message = plain_message(event.content, ORIGIN, longest=LONGEST, most_files=1)
        identity = await self._queue(sender, to, message)
        return ProviderResult(success=True, provider_message_id=identity)

    async def probe(self) -> str:
        """Return that VoiceMeUp accepts the credentials; nothing is sent. See `SupportsProbe`.

        It has no question for that: a message to no number is refused for the number, if the user is known.
        """
        host, user = self._config.api_url.partition("/api/")[0], self._config.username
        try:
            await self._queue("", "", PlainMessage("probe"))
        except ProviderError as error:
            if error.status_code == 200 and error.error_code is not ErrorCode.AUTH:
                signed = "" if self._config.webhook_token else "; without webhook_token no callback is taken"
                return f"user {user} is accepted by {host}{signed}"
            if error.error_code is ErrorCode.AUTH:
                why = "compare username and auth_token with the portal, and see that the user has API access"
            else:
                why = f"check that {host} is VoiceMeUp's API and can be reached from here"
            error.args = (f"{error}; {why}",)
            raise
        raise ORIGIN.bad_response("it took a message to no number")

    @override
    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Verify that the vendor sent the request, then return what it says. See `ReceivesWebhooks`.

        A part of an MMS is kept, and received with the others; without a kit each is a message of its own.
        """
        found = await super().webhook(request, channel_id=channel_id)
        mms = self._mms.get(channel_id)
        return [each for each in found if mms is None or not await mms.keeps(each)]

    @override
    async def _verify(self, request: WebhookRequest) -> None:
        token, networks = self._config.webhook_token, self._config.webhook_networks
        if token is None:
            raise WebhookRejected(
                f"the callback cannot be verified: set webhook_token, and put ?{TOKEN}= with it behind the "
                "callback URL at VoiceMeUp"
            )
        given = request.query().get(TOKEN, "")
        if not hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
            raise WebhookRejected(f"the {TOKEN} of the callback's URL is not webhook_token")
        if networks and not any(_address(request.client_host) in each for each in networks):
            raise WebhookRejected("the callback comes from none of webhook_networks", status_code=403)

    @override
    def _read(self, request: WebhookRequest, channel_id: str) -> Sequence[WebhookPart]:
        part = read_part(fields_of(request), channel_id)
        return [message_of([part], channel_id) if isinstance(part, MMSPart) else part]

    @override
    def _headers(self) -> Mapping[str, str]:
        return {"Accept": "application/json"}

    @override
    def _refusal(self, answer: HTTPAnswer) -> ProviderError:
        return http_error(answer)

    async def _queue(self, sender: str, to: str, message: PlainMessage) -> str:
        """Have a message sent; return its id. Raises ProviderError."""
        config = self._config
        form = {
            "username": config.username,
            "auth_token": config.auth_token.get_secret_value(),
            "source_number": sender.removeprefix("+"),
            "destination_number": to.removeprefix("+"),
            "message": message.text,
            **({"attachment": message.urls[0]} if message.urls else {}),
        }
        answer = await self._api.ask("POST", config.api_url, form=form)
        try:
            return _identity(JSONReader(ORIGIN), answer)
        except ProviderError as error:
            raise self._api.masked(error) from error  # it has the vendor's words


def _identity(reader: JSONReader, answer: HTTPAnswer) -> str:
    """Return the id in an answer. Raises ProviderError for a refusal, which has status 200 too."""
    details = reader.as_object(reader.parse(answer.body).get("response_details"), "response_details")
    said = reader.optional_object(details.get("response_messages"), "response_messages").get("message")
    messages = said if isinstance(said, list) else [said]  # one is not in a list
    found = [reader.optional_object(each, "message") for each in messages]
    pairs = [(str(each.get("code") or ""), str(each.get("_content") or "")) for each in found]
    if details.get("response_status") != "success":
        raise refusal(*pairs[0], answer.headers)
    identity = dict(pairs).get("queued_sms_hash")
    if not identity:
        raise ORIGIN.bad_response("a message without its queued_sms_hash")
    return identity


def _address(host: str | None) -> IPv4Address | IPv6Address:
    """Return who called. Raises WebhookRejected where the server does not know it."""
    try:
        return ip_address(host or "")
    except ValueError:
        raise WebhookRejected(
            "the callback comes from no known address: have the server hand over client_host", status_code=403
        ) from None
