"""Messenger by a Facebook page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.messenger import MessengerProvider
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import EventType
from roomkit_plugins.messenger.config import MessengerConfig
from roomkit_plugins.messenger.errors import CODES, ORIGIN
from roomkit_plugins.messenger.webhooks import read_webhook
from roomkit_plugins.messenger.wire import (
    addressed,
    file_of,
    kind_of,
    messages_of,
    reaction,
    sender_action,
)
from roomkit_plugins.wire.graph import GraphAPI, GraphApp, answer_challenge, check_signature
from roomkit_plugins.wire.multipart import multipart
from roomkit_plugins.wire.plain_message import file_url
from roomkit_plugins.wire.reading import JSONReader
from roomkit_plugins.wire.uploads import KeptUploads
from roomkit_plugins.wire.vendor_provider import VendorProvider

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.provider import WebhookPart
    from roomkit.models.content import MediaContent
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import MessengerHints
    from roomkit.models.webhook import WebhookRequest

__all__ = ["FacebookMessengerProvider"]

_READER = JSONReader(ORIGIN)
_UPLOADS_KEPT_FOR = 29 * 86_400.0
_TYPING_SECONDS = 20.0
_NOT_OURS = (ErrorCode.PERMISSION, ErrorCode.INVALID_REQUEST, ErrorCode.NOT_FOUND)


class FacebookMessengerProvider(VendorProvider[MessengerConfig, GraphAPI], MessengerProvider):
    """Sends Messenger messages by a page, and takes its webhooks.

    The API has no idempotency key, so that a message whose fate is not known is not sent again. A file with
    an http(s) URL is fetched by Messenger, any other is uploaded. `http_client` replaces the connections, for
    a proxy or other certificates; its maker closes it.
    """

    origin = ORIGIN
    typing_seconds = _TYPING_SECONDS
    """How long Messenger shows that we type."""

    def __init__(self, config: MessengerConfig, *, http_client: httpx2.AsyncClient | None = None) -> None:
        super().__init__(config, http_client=http_client)
        self._page = f"/{config.page_id or 'me'}"
        self._uploads = KeptUploads(self._upload, ORIGIN, seconds=_UPLOADS_KEPT_FOR)

    @override
    def _connect(self, http_client: httpx2.AsyncClient | None) -> GraphAPI:
        config = self._config
        app = GraphApp(config.api_url, config.page_access_token, config.timeout, config.app_secret)
        owner = type(self).__name__
        return GraphAPI(
            ORIGIN, app, CODES, owner=owner, distribution="roomkit-messenger", http_client=http_client
        )

    # -- outbound -----------------------------------------------------------------------------

    @override
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: MessengerHints | None = None,
    ) -> ProviderResult:
        self._check_recipient(to)
        if event.type is EventType.REACTION:
            return await self._react(event, to, hints)
        file = file_of(event.content)
        where = {} if file is None else await self._place(file)
        messages = messages_of(event.content, where)
        tag = None if hints is None else hints.tag
        reply_to = None if hints is None else hints.reply_to
        documents = [addressed(to, each, tag=tag, reply_to=reply_to) for each in messages]
        try:
            return await self._post_all(documents)
        except ProviderError as error:
            if error.error_code is ErrorCode.NOT_FOUND:  # the upload was deleted, or expired
                self._uploads.forget(str(where.get("attachment_id", "")))
            raise

    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        """Show that we type, or no longer do. See `ShowsTyping`."""
        await self._act(sender_action(to, "typing_on" if is_typing else "typing_off"))

    async def mark_read(self, to: str, message_ids: Sequence[str]) -> None:
        """Mark everything that came from a person as read. See `MarksRead`."""
        await self._act(sender_action(to, "mark_seen"))

    async def _react(self, event: RoomEvent, to: str, hints: MessengerHints | None) -> ProviderResult:
        if hints is None or not hints.about:
            raise ORIGIN.refused("there is no message to react to: a reaction is about one of this chat")
        emoji = str(event.metadata.get("emoji") or getattr(event.content, "body", ""))
        given = "" if event.metadata.get("action") == "remove" else emoji
        await self._act(reaction(to, hints.about[0], given))
        return ProviderResult(success=True)

    async def _place(self, file: MediaContent) -> Mapping[str, Any]:
        """Return where Messenger gets a file: its URL, or the id of its upload. Raises ProviderError."""
        if file.url[:5].lower() != "data:":
            return {"url": file_url(file.url, ORIGIN), "is_reusable": True}
        return {"attachment_id": await self._uploads.id_of(file)}

    async def _upload(self, file: MediaContent, data: bytes) -> str:
        about = {"attachment": {"type": kind_of(file), "payload": {"is_reusable": True}}}
        form = multipart(
            {"message": json.dumps(about)},
            name="filedata",
            filename=file.filename or "file",
            mime_type=file.mime_type.partition(";")[0].strip(),
            data=data,
        )
        answer = await self._api.post_form(f"{self._page}/message_attachments", form)
        identity = _READER.as_text(answer.get("attachment_id"), "attachment_id")
        if not identity:
            raise ORIGIN.bad_response("an upload without its id")
        return identity

    async def _post_all(self, documents: Sequence[Mapping[str, Any]]) -> ProviderResult:
        """Send messages in order. Once the first is taken, the fate of the whole is no longer a refusal."""
        ids: list[str] = []
        for document in documents:
            try:
                ids.append(await self._post(document))
            except ProviderError as error:
                if ids:
                    error.accepted = None
                    error.args = (f"{error}; the text before the cards was sent",)
                raise
        return ProviderResult(success=True, provider_message_id=ids[0], parts=tuple(ids[1:] and ids))

    async def _post(self, document: Mapping[str, Any]) -> str:
        answer = await self._api.post(f"{self._page}/messages", document)
        identity = _READER.as_text(answer.get("message_id"), "message_id")
        if not identity:
            raise ORIGIN.bad_response("a message without its id")
        return identity

    async def _act(self, document: Mapping[str, Any]) -> None:
        await self._api.post(f"{self._page}/messages", document)

    # -- inbound ------------------------------------------------------------------------------

    @override
    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Answer Meta's challenge, or verify the signature and return what the request says."""
        if request.method == "GET":
            return [answer_challenge(request, self._config.verify_token)]
        return await super().webhook(request, channel_id=channel_id)

    @override
    async def _verify(self, request: WebhookRequest) -> None:
        check_signature(request, self._config.app_secret)

    @override
    def _read(self, request: WebhookRequest, channel_id: str) -> Sequence[WebhookPart]:
        return read_webhook(request.json(), channel_id, self._config.page_id)

    # -- probe --------------------------------------------------------------------------------

    async def probe(self) -> str:
        """Return that Meta accepts the token for the page; nothing is sent. See `SupportsProbe`."""
        config = self._config
        try:
            found = await self._api.get(self._page, fields="id,name")
        except ProviderError as error:
            raise _explained(error, config) from error
        missing = [name for name in ("app_secret", "verify_token") if getattr(config, name) is None]
        signed = f"; without {' and '.join(missing)} no webhook is taken" if missing else ""
        return f"page {found.get('name') or found.get('id')} can send by {config.base_url}{signed}"


def _explained(error: ProviderError, config: MessengerConfig) -> ProviderError:
    """Return the failure with what to do about it."""
    if error.error_code is ErrorCode.AUTH:
        why = "page_access_token is wrong or expired: generate it in the app, Messenger > API Setup"
    elif error.vendor_code is not None and error.error_code in _NOT_OURS:
        why = f"the token may not use page {config.page_id or 'me'}: compare it with Messenger > API Setup"
    elif error.error_code.accepted is not False or error.error_code is ErrorCode.NOT_FOUND:
        why = f"check that base_url, {config.base_url}, is the Graph API and can be reached from here"
    else:
        return error
    error.args = (f"{error}; {why}",)
    return error
