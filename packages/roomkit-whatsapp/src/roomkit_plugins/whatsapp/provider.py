"""WhatsApp by Meta's Cloud API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, override
from urllib.parse import urlsplit

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.whatsapp import WhatsAppProvider
from roomkit.models.content import DeleteContent, EditContent, TemplateContent
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import EventType
from roomkit_plugins.whatsapp.config import WhatsAppCloudConfig
from roomkit_plugins.whatsapp.errors import CODES, ORIGIN
from roomkit_plugins.whatsapp.people import known_people
from roomkit_plugins.whatsapp.templates import template_message
from roomkit_plugins.whatsapp.uploads import Uploads
from roomkit_plugins.whatsapp.webhooks import Account, read_webhook
from roomkit_plugins.whatsapp.wire import addressed, file_of, message_of, reaction
from roomkit_plugins.wire.graph import GraphAPI, GraphApp, answer_challenge, check_signature
from roomkit_plugins.wire.reading import JSONReader
from roomkit_plugins.wire.vendor_provider import VendorProvider

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.provider import WebhookPart
    from roomkit.models.content import EventContent
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import WhatsAppHints
    from roomkit.models.webhook import WebhookRequest

__all__ = ["WhatsAppCloudProvider"]

_FILE_HOSTS = (".fbsbx.com", ".fbcdn.net", ".facebook.com", ".whatsapp.net")
"""Where Meta keeps the files of messages."""
_TYPING_SECONDS = 25.0
_READER = JSONReader(ORIGIN)
_NOT_OURS = (ErrorCode.PERMISSION, ErrorCode.INVALID_REQUEST, ErrorCode.NOT_FOUND)


class WhatsAppCloudProvider(VendorProvider[WhatsAppCloudConfig, GraphAPI], WhatsAppProvider):
    """Sends WhatsApp messages by Meta's Cloud API, and takes its webhooks.

    A message goes to a telephone number, or to a business-scoped user id. The API has no idempotency key, so
    that a message whose fate is not known is not sent again; its receipts find it. A file with an http(s) URL
    is fetched by WhatsApp, any other is uploaded. `http_client` replaces the connections, for a proxy or
    other certificates; its maker closes it.
    """

    origin = ORIGIN
    returns_key = True
    typing_seconds = _TYPING_SECONDS
    """How long WhatsApp shows that we type, or until the message is there."""

    def __init__(self, config: WhatsAppCloudConfig, *, http_client: httpx2.AsyncClient | None = None) -> None:
        super().__init__(config, http_client=http_client)
        self._number = f"/{config.phone_number_id}"
        self._account = Account(config.phone_number_id, config.api_url, config.waba_id)
        self._uploads = Uploads(self._api, self._number, allowed=config.auto_upload)

    @override
    def _connect(self, http_client: httpx2.AsyncClient | None) -> GraphAPI:
        config = self._config
        app = GraphApp(config.api_url, config.access_token, config.timeout, config.app_secret)
        owner = type(self).__name__
        return GraphAPI(
            ORIGIN, app, CODES, owner=owner, distribution="roomkit-whatsapp", http_client=http_client
        )

    # -- outbound -----------------------------------------------------------------------------

    @override
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: WhatsAppHints | None = None,
    ) -> ProviderResult:
        self._check_recipient(to)
        if event.type is EventType.REACTION:
            about = "" if hints is None or not hints.about else hints.about[0]
            emoji = event.metadata.get("emoji") or getattr(event.content, "body", "")
            given = "" if event.metadata.get("action") == "remove" else str(emoji)
            return await self._react(to, about, given, idempotency_key)
        _check_kind(event.content)
        file = file_of(event.content)
        where = {} if file is None else await self._uploads.place(file)
        message = message_of(event.content, where)
        reply_to = None if hints is None else hints.reply_to
        try:
            return await self._post(addressed(to, message, reply_to=reply_to, reference=idempotency_key))
        except ProviderError as error:
            if error.error_code is ErrorCode.NOT_FOUND:  # the upload was deleted, or expired
                self._uploads.forget(where)
            raise

    @override
    async def send_template(
        self, to: str, template_name: str, params: Mapping[str, str] | None = None
    ) -> ProviderResult:
        """Send an approved template in the language `en`; of another one, send a `TemplateContent`."""
        self._check_recipient(to)
        message = template_message(TemplateContent(template_id=template_name, parameters=dict(params or {})))
        return await self._post(addressed(to, message, reply_to=None, reference=None))

    @override
    async def send_reaction(self, chat: str, sender: str, message_id: str, emoji: str) -> ProviderResult:
        """React to a message of `chat`; "" takes the reaction back. `sender` is not needed."""
        self._check_recipient(chat)
        return await self._react(chat, message_id, emoji, None)

    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        """Show that we type, which marks the message that is answered as read. See `ShowsTyping`.

        WhatsApp shows it in answer to a message only, and stops by itself.
        """
        if is_typing and answering is not None:
            await self._acknowledge(answering, {"typing_indicator": {"type": "text"}})

    async def mark_read(self, to: str, message_ids: Sequence[str]) -> None:
        """Mark messages as read: the newest of them, and so all before it. See `MarksRead`."""
        if message_ids:
            await self._acknowledge(message_ids[-1], {})

    async def _react(self, to: str, message_id: str, emoji: str, key: str | None) -> ProviderResult:
        if not message_id:
            raise ORIGIN.refused("there is no message to react to: a reaction is about one of this chat")
        return await self._post(addressed(to, reaction(message_id, emoji), reply_to=None, reference=key))

    async def _post(self, document: Mapping[str, Any]) -> ProviderResult:
        answer = await self._api.post(f"{self._number}/messages", document)
        messages = _READER.as_list(answer.get("messages"), "messages")
        first = _READER.as_object(messages[0] if messages else None, "messages[0]")
        identity = _READER.as_text(first.get("id"), "messages[0].id")
        if not identity:
            raise ORIGIN.bad_response("a message without its id")
        return ProviderResult(success=True, provider_message_id=identity, metadata=_facts(answer, first))

    async def _acknowledge(self, message_id: str, more: Mapping[str, Any]) -> None:
        said = {"messaging_product": "whatsapp", "status": "read", "message_id": message_id, **more}
        await self._api.post(f"{self._number}/messages", said)

    # -- inbound ------------------------------------------------------------------------------

    @override
    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Answer Meta's challenge, or verify the signature and return what the request says.

        Each sender has the address that their room is bound to, whichever of a person's ids WhatsApp names;
        the room of a person with a new number is bound to that before. See `ReceivesWebhooks`.
        """
        if request.method == "GET":
            return [answer_challenge(request, self._config.verify_token)]
        parts = await super().webhook(request, channel_id=channel_id)
        return await known_people(parts, self.services)

    @override
    async def _verify(self, request: WebhookRequest) -> None:
        check_signature(request, self._config.app_secret)

    @override
    def _read(self, request: WebhookRequest, channel_id: str) -> Sequence[WebhookPart]:
        return read_webhook(request.json(), channel_id, self._account)

    @override
    async def locate_file(self, url: str) -> str | None:
        """Return where WhatsApp keeps a file, which it says for five minutes; see `Provider.locate_file`."""
        prefix = f"{self._config.api_url}/"
        if not url.startswith(prefix):
            return None
        identity, _, _ = url.removeprefix(prefix).partition("?")
        found = await self._api.get(f"/{identity}", phone_number_id=self._config.phone_number_id)
        return _READER.as_text(found.get("url"), "url")

    @override
    def file_headers(self, url: str) -> Mapping[str, str]:
        """Return the token for Meta's own hosts of files, nothing for others."""
        token = self._config.access_token.get_secret_value()
        return {"Authorization": f"Bearer {token}"} if self._is_metas(url) else {}

    def _is_metas(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return False
        if url.startswith(f"{self._config.base_url.rstrip('/')}/"):
            return True
        if parts.scheme != "https" or port not in (None, 443) or "@" in parts.netloc:
            return False
        return f".{parts.hostname or ''}".endswith(_FILE_HOSTS)

    # -- probe --------------------------------------------------------------------------------

    async def probe(self) -> str:
        """Return that Meta accepts the token for the number; nothing is sent. See `SupportsProbe`."""
        config = self._config
        try:
            found = await self._api.get(
                self._number, fields="display_phone_number,verified_name,quality_rating"
            )
        except ProviderError as error:
            raise _explained(error, config) from error
        number = found.get("display_phone_number") or config.phone_number_id
        rating = found.get("quality_rating")
        rated = f", quality {rating}" if isinstance(rating, str) and rating else ""
        missing = [name for name in ("app_secret", "verify_token") if getattr(config, name) is None]
        signed = f"; without {' and '.join(missing)} no webhook is taken" if missing else ""
        return f"{number} can send by {config.base_url}{rated}{signed}"


def _check_kind(content: EventContent) -> None:
    """Refuse what a business cannot do to a message that it sent. Raises ProviderError."""
    if isinstance(content, EditContent | DeleteContent):
        raise ORIGIN.refused(
            f"WhatsApp has no {content.type} of a message that was sent",
            error_code=ErrorCode.UNSUPPORTED_CONTENT,
        )


def _facts(answer: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, str]:
    """Return what WhatsApp says of the recipient, and of a message that it holds back."""
    contacts = answer.get("contacts")
    contact = contacts[0] if isinstance(contacts, list) and contacts else {}
    said = {name: contact.get(name) for name in ("wa_id", "user_id")} if isinstance(contact, dict) else {}
    status = {"message_status": message.get("message_status")}
    return {name: value for name, value in {**said, **status}.items() if isinstance(value, str) and value}


def _explained(error: ProviderError, config: WhatsAppCloudConfig) -> ProviderError:
    """Return the failure with what to do about it."""
    if error.error_code is ErrorCode.AUTH:
        why = "access_token is wrong or expired: make a system user's, Business settings > System users"
    elif error.vendor_code is not None and error.error_code in _NOT_OURS:
        why = f"the token may not use phone_number_id {config.phone_number_id}: compare it with API Setup"
    elif error.error_code.accepted is not False or error.error_code is ErrorCode.NOT_FOUND:
        why = f"check that base_url, {config.base_url}, is the Graph API and can be reached from here"
    else:
        return error
    error.args = (f"{error}; {why}",)
    return error
