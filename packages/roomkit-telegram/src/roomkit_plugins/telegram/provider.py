"""Telegram's Bot API as a provider."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, override

from roomkit.abc.errors import ErrorCode, ProviderError, WebhookRejected
from roomkit.abc.telegram import TelegramProvider
from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import DeleteContent, EditContent, text_of
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import EventType
from roomkit.models.webhook import WebhookAnswer
from roomkit_plugins.telegram.client import TelegramAPI
from roomkit_plugins.telegram.config import TelegramConfig
from roomkit_plugins.telegram.errors import ORIGIN, TelegramError
from roomkit_plugins.telegram.intake import TelegramIntake, refused_for_now
from roomkit_plugins.telegram.outgoing import TelegramCall, call_of, undecodable
from roomkit_plugins.telegram.places import TelegramChat, message_key, number_in
from roomkit_plugins.telegram.updates import Reader
from roomkit_plugins.telegram.uploads import with_file
from roomkit_plugins.wire.reading import readable_webhook
from roomkit_plugins.wire.vendor_provider import VendorProvider

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.provider import WebhookPart
    from roomkit.abc.services import Services
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import TelegramHints
    from roomkit.models.webhook import WebhookRequest
    from roomkit_plugins.wire.origin import Origin

__all__ = ["TelegramBotProvider"]

_SECRET = "x-telegram-bot-api-secret-token"


class TelegramBotProvider(VendorProvider[TelegramConfig, TelegramAPI], TelegramProvider):
    """Sends by a bot of Telegram's, and takes its updates by webhook.

    The recipient is a chat's id, a channel's `@name`, or `business:<connection>:<chat>`. A message's id is
    the chat's address with Telegram's number, since that is unique in its chat only. Telegram has no
    idempotency key: of a message whose fate is not known none is sent again. `http_client` replaces the
    connections, for a proxy or other certificates; its maker closes it.
    """

    origin: ClassVar[Origin] = ORIGIN
    idempotent = False
    typing_seconds: float = 5.0
    """How long Telegram shows that the bot is typing."""

    def __init__(self, config: TelegramConfig, *, http_client: httpx2.AsyncClient | None = None) -> None:
        super().__init__(config, http_client=http_client)
        self._intake = TelegramIntake(config, self._api, way="webhook")

    @override
    def _connect(self, http_client: httpx2.AsyncClient | None) -> TelegramAPI:
        return TelegramAPI(self._config, owner=type(self).__name__, http_client=http_client)

    @override
    def bind(self, services: Services) -> None:
        super().bind(services)
        self._intake.bind(services)

    # -- outbound -----------------------------------------------------------------------------

    @override
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: TelegramHints | None = None,
    ) -> ProviderResult:
        self._check_recipient(to)
        chat = TelegramChat.of(to)
        fields = chat.fields()
        about = () if hints is None else hints.about
        if event.type is EventType.REACTION:
            return await self._react(event, chat, fields, about)
        match event.content:
            case EditContent(new_content=content):
                return await self._edit(call_of(content), chat, fields, about)
            case DeleteContent():
                return await self._delete(chat, fields, about)
            case content:
                call = call_of(content)
        fields |= _options(event, chat, hints)
        return await self._send_new(call, chat, fields)

    async def _send_new(
        self, call: TelegramCall, chat: TelegramChat, fields: Mapping[str, Any]
    ) -> ProviderResult:
        """Send a message; where its group has another id by now, to that."""
        try:
            sent = await self._called(call, fields)
        except TelegramError as error:
            if error.migrated_to is None:
                raise
            chat = TelegramChat(error.migrated_to, chat.connection)
            sent = await self._called(call, {**fields, **chat.fields()})
            return _result(chat, sent, {"migrated_to": chat.address})
        return _result(chat, sent)

    async def _called(self, call: TelegramCall, fields: Mapping[str, Any]) -> Any:
        """Make a call; if Telegram refuses its marks, with the words alone."""
        given = {**call.fields, **fields, **with_file(call)}
        try:
            return await self._api.call(call.method, given)
        except TelegramError as error:
            if call.plain is None or "parse entities" not in error.description:
                raise
            return await self._api.call(call.method, {**given, **call.plain})

    async def _edit(
        self, call: TelegramCall, chat: TelegramChat, fields: Mapping[str, Any], about: Sequence[str]
    ) -> ProviderResult:
        """Replace the text of a message, or of its file the caption."""
        number = self._number(about)
        if call.method != "send_message":
            raise undecodable("an edit on Telegram is of a text or a caption; send it as a new message")
        given = {**fields, "message_id": number, **call.fields}
        plain = call.plain
        try:
            await self._edited(TelegramCall("edit_message_text", given, plain=plain))
        except TelegramError as error:
            if "no text in the message" not in error.description:
                raise
            await self._edited(
                TelegramCall("edit_message_caption", _as_caption(given), plain=_as_caption(plain))
            )
        return ProviderResult(success=True, provider_message_id=message_key(chat.address, number))

    async def _edited(self, call: TelegramCall) -> None:
        try:
            await self._called(call, {})
        except TelegramError as error:
            if "message is not modified" not in error.description:
                raise

    async def _delete(
        self, chat: TelegramChat, fields: Mapping[str, Any], about: Sequence[str]
    ) -> ProviderResult:
        numbers = self._numbers(about)
        if chat.connection is None and len(numbers) == 1:
            await self._api.call("delete_message", {**fields, "message_id": numbers[0]})
        elif chat.connection is None:
            await self._api.call("delete_messages", {**fields, "message_ids": numbers})
        else:
            business = {"business_connection_id": chat.connection, "message_ids": numbers}
            await self._api.call("delete_business_messages", business)
        return ProviderResult(success=True, provider_message_id=message_key(chat.address, numbers[0]))

    async def _react(
        self, event: RoomEvent, chat: TelegramChat, fields: Mapping[str, Any], about: Sequence[str]
    ) -> ProviderResult:
        number = self._number(about)
        if chat.connection is not None:
            raise undecodable("Telegram has no reactions of a business account")
        adds = event.metadata.get("action", "add") != "remove"
        reaction = [text_of(event.content).removeprefix("custom:")] if adds else []
        await self._api.call("set_message_reaction", {**fields, "message_id": number, "reaction": reaction})
        return ProviderResult(success=True, provider_message_id=message_key(chat.address, number))

    def _number(self, about: Sequence[str]) -> int:
        return self._numbers(about)[0]

    def _numbers(self, about: Sequence[str]) -> list[int]:
        """Return Telegram's numbers of what an edit, a deletion or a reaction is about."""
        numbers = [number for each in about if (number := number_in(each)) is not None]
        if not numbers:
            raise ORIGIN.refused(
                "the message that this is about has no id of Telegram's: send it as a new message",
                error_code=ErrorCode.UNSUPPORTED_CONTENT,
            )
        return numbers

    # -- signals ------------------------------------------------------------------------------

    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        """Show that the bot is typing, for five seconds; Telegram has no way to end it."""
        if is_typing:
            await self._api.call("send_chat_action", {**TelegramChat.of(to).fields(), "action": "typing"})

    # -- inbound ------------------------------------------------------------------------------

    @override
    async def _verify(self, request: WebhookRequest) -> None:
        secret = self._config.webhook_secret
        if secret is None:
            raise WebhookRejected(
                "the update cannot be verified: set webhook_secret, and give the same to setWebhook as "
                "secret_token"
            )
        given = (request.header(_SECRET) or "").encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(given, secret.get_secret_value().encode()):
            raise WebhookRejected(
                "the update is not Telegram's: webhook_secret is not the secret_token of its setWebhook"
            )

    @override
    def _read(self, request: WebhookRequest, channel_id: str) -> Sequence[WebhookPart]:
        """Return what an update says, with references in place of its files."""
        asks_all = self._config.groups == "all"
        reader = Reader(channel_id, bot_id=self._config.bot_id, asks_all=asks_all)
        return reader.parts(VendorPayload(ORIGIN.vendor, request.json()))

    @override
    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Verify that Telegram sent the update, then return what it says, with its files.

        A part of an album is kept, and says nothing yet. Raises WebhookRejected with 503 where Telegram does
        not give a file now: it sends the update again.
        """
        await self._verify(request)
        with readable_webhook(ORIGIN.vendor):
            payload = request.json()
            try:
                found = await self._intake.parts(payload, channel_id)
            except ProviderError as error:
                raise WebhookRejected(refused_for_now(error), status_code=503) from error
            query = VendorPayload(ORIGIN.vendor, payload).inside("callback_query").text("id")
        # The answer to the request is a call of the API: the phone's progress bar ends once it is committed.
        acknowledged = {"method": "answerCallbackQuery", "callback_query_id": query}
        return [*found, WebhookAnswer.of_json(acknowledged)] if query else found

    async def probe(self) -> str:
        """Return that Telegram accepts the token; nothing is sent. See `SupportsProbe`."""
        return await self._api.probe()


def _options(event: RoomEvent, chat: TelegramChat, hints: TelegramHints | None) -> dict[str, Any]:
    """Return what a message is besides its content: an answer, in a topic, silent."""
    options: dict[str, Any] = {}
    if hints is not None and hints.silent:
        options["disable_notification"] = True
    topic = event.channel_data.thread_id
    if topic is not None and topic.startswith(f"{chat.address}:topic:"):
        options["message_thread_id"] = number_in(topic)
    if hints is not None and hints.reply_to is not None and (number := number_in(hints.reply_to)) is not None:
        # An answer to a message that was deleted in the meantime is a message all the same.
        options["reply_parameters"] = {"message_id": number, "allow_sending_without_reply": True}
    return options


def _as_caption(fields: Mapping[str, Any] | None) -> dict[str, Any]:
    return {("caption" if name == "text" else name): value for name, value in (fields or {}).items()}


def _result(chat: TelegramChat, sent: Any, metadata: Mapping[str, Any] | None = None) -> ProviderResult:
    number = getattr(sent, "message_id", None)
    if not isinstance(number, int):
        raise ORIGIN.bad_response("a message without its id")
    return ProviderResult(
        success=True, provider_message_id=message_key(chat.address, number), metadata=metadata or {}
    )
