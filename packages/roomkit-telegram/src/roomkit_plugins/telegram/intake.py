"""What comes from Telegram on its way in, by webhook or by polling."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import InvalidInputError, ProviderError, RoomKitError
from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import CompositeContent, EditContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.telegram.albums import Albums
from roomkit_plugins.telegram.contents import content_of, joined
from roomkit_plugins.telegram.errors import ORIGIN
from roomkit_plugins.telegram.files import TelegramFiles
from roomkit_plugins.telegram.places import TelegramChat
from roomkit_plugins.telegram.updates import Reader, album_of, inner_message
from roomkit_plugins.wire.reading import unquoted

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart
    from roomkit.abc.services import Services
    from roomkit_plugins.telegram.client import TelegramAPI
    from roomkit_plugins.telegram.config import TelegramBotConfig

__all__ = ["AlbumNotStoredError", "TelegramIntake", "moved_binding"]

_LARGEST_PART = 6_000
"""Bytes of one part of an album, which has ten parts at most; a value has 64 KiB."""


class AlbumNotStoredError(RoomKitError):
    """An album could not be committed now; its timer fires again."""

    code = "album_not_stored"


class TelegramIntake:
    """Reads a bot's updates, gets their files, and joins its albums. `way` is how the updates come."""

    def __init__(self, config: TelegramBotConfig, api: TelegramAPI, *, way: str) -> None:
        self._config = config
        self._api = api
        self._way = way
        self._files = TelegramFiles(api, most=config.max_file_bytes)
        self._services: Services | None = None
        self._albums: Albums | None = None

    def bind(self, services: Services) -> None:
        """Take the kit's services; without any, each picture of an album is a message of its own."""
        self._services = services
        self._files.keep_in(services.media)
        kind = f"album.{self._way}.{self._config.bot_id}"
        try:
            self._albums = Albums(services, self._hand_in, kind=kind)
        except InvalidInputError:  # a provider of two channels is bound by each; one has its timers
            if self._albums is None:
                raise

    async def parts(self, payload: object, channel_id: str) -> Sequence[WebhookPart]:
        """Return what an update says; empty for a part of an album, which is kept until it is whole.

        Raises ValueError for what is not an update, and ProviderError for a file that cannot be had now.
        """
        update = VendorPayload(ORIGIN.vendor, payload)
        if update.integer("update_id") is None:
            raise update.wrong("update_id", "there")
        try:
            reader = await self._reader(update, channel_id)
            found = reader.parts(update)
            album = album_of(update)
        except ValueError as error:
            # Refused, it would come again and again, and hold up what comes after it.
            reason = f"an update that cannot be read: {unquoted(error)}"
            return [UnparsedPart(channel_id=channel_id, reason=reason, raw=update.raw)]
        if album is not None and self._albums is not None and _fits(update.raw):
            for part in found:
                if isinstance(part, InboundMessage):
                    number = (part.external_id or "").rpartition(":")[2]
                    await self._albums.keep(channel_id, album, number, update.raw, part.sender_id)
                    return []
        await self._follow(update, channel_id)
        return [await self._whole(part) for part in found]

    async def _reader(self, update: VendorPayload, channel_id: str) -> Reader:
        """Return the reader for a channel; the bot's name is asked for where a message may be for it."""
        asks_all = self._config.groups == "all"
        reader = Reader(channel_id, bot_id=self._config.bot_id, asks_all=asks_all)
        message = inner_message(update)
        if asks_all or message is None or not _names_someone(message):
            return reader
        name = (await self._api.me()).get("username")
        return replace(reader, username=name if isinstance(name, str) else "")

    async def _whole(self, part: WebhookPart) -> WebhookPart:
        """Return a part with the bytes of its files."""
        if not isinstance(part, InboundMessage):
            return part
        content = part.content
        if isinstance(content, EditContent):
            content = content.replace(new_content=await self._files.fetched(content.new_content))
        else:
            content = await self._files.fetched(content)
        return part if content is part.content else part.replace(content=content)

    # -- albums -------------------------------------------------------------------------------

    async def _hand_in(self, channel_id: str, updates: Sequence[Mapping[str, Any]]) -> None:
        """Take the parts of an album in as one message. Raises what has it done again."""
        assert self._services is not None
        message = await self._album(channel_id, updates)
        result = await self._services.inbox.receive(message)
        if not result.stored:
            raise AlbumNotStoredError(
                f"an album of {len(updates)} files was not committed by channel {channel_id!r}: "
                f"{result.reason}; it is taken in again"
            )

    async def _album(self, channel_id: str, updates: Sequence[Mapping[str, Any]]) -> InboundMessage:
        payloads = [VendorPayload(ORIGIN.vendor, update) for update in updates]
        messages = [message for each in payloads if (message := inner_message(each)) is not None]
        contents = [await self._files.fetched(content_of(message)) for message in messages]
        reader = await self._reader(payloads[0], channel_id)
        readers = [await self._reader(each, channel_id) for each in payloads[1:]]
        parts = [
            each.message(message, content, update)
            for each, message, content, update in zip(
                [reader, *readers], messages, contents, updates, strict=True
            )
        ]
        asked = any(part.addressed_to is None for part in parts)
        content = joined(*contents)
        return parts[0].replace(
            content=content,
            addressed_to=None if asked else (),
            raw_payload={"updates": list(updates)} if isinstance(content, CompositeContent) else updates[0],
        )

    # -- groups that move ---------------------------------------------------------------------

    async def _follow(self, update: VendorPayload, channel_id: str) -> None:
        """Have the binding follow a group that became a supergroup, which has another id."""
        message = inner_message(update)
        if self._services is None or message is None:
            return
        old, new = message.inside("chat").text("id"), message.text("migrate_to_chat_id")
        if "migrate_from_chat_id" in message:
            old, new = message.text("migrate_from_chat_id"), old
        if new:
            await moved_binding(self._services, channel_id, old, new)


async def moved_binding(services: Services, channel_id: str, old: str, new: str) -> None:
    """Have the room of a chat be that of its new id."""
    where = InboundMessage(
        channel_id=channel_id, sender_id=old, conversation=old, content={"type": "text", "body": ""}
    )
    room_id = await services.rooms.locate(where)
    if room_id is None:
        return
    await services.rooms.change_binding(
        room_id,
        lambda binding: (
            binding.replace(metadata={**binding.metadata, "telegram_chat_id": new})
            if TelegramChat.of(str(binding.metadata.get("telegram_chat_id", ""))).chat == old
            else binding
        ),
        channel_id=channel_id,
    )


def _fits(update: Mapping[str, Any]) -> bool:
    """Whether ten parts of this size can be kept together; a larger one is a message of its own."""
    return len(json.dumps(update)) <= _LARGEST_PART


def _names_someone(message: VendorPayload) -> bool:
    """Whether a message of a group has a command or a mention, whose meaning depends on the bot's name."""
    if message.inside("chat").text("type") not in ("group", "supergroup"):
        return False
    kinds = {each.text("type") for name in ("entities", "caption_entities") for each in message.several(name)}
    return bool(kinds & {"mention", "bot_command"})


def refused_for_now(error: ProviderError) -> str:
    """Say why an update is to come again."""
    return f"the update cannot be taken in now, since Telegram gives no file, or not the bot's name: {error}"
