"""What an update of Telegram's says: pure functions, without network.

https://core.telegram.org/bots/api#update (Bot API 10.0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import (
    ConsentContent,
    DeleteContent,
    EditContent,
    EventContent,
    SystemContent,
    TextContent,
)
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ConsentState, EventType
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.telegram.contents import content_of
from roomkit_plugins.telegram.entities import Mark, marks_of
from roomkit_plugins.telegram.errors import ORIGIN
from roomkit_plugins.telegram.places import TelegramChat, message_key

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart

__all__ = ["UPDATES", "Reader", "album_of", "inner_message", "parse_telegram_webhook"]

_PRIVATE = "private"
_OUT = frozenset({"left", "kicked"})
_MESSAGES = ("message", "channel_post", "business_message", "guest_message")
_EDITS = ("edited_message", "edited_channel_post", "edited_business_message")
_NOT_OF_A_CHAT: Mapping[str, str] = {
    "inline_query": "an inline query, which is of no chat",
    "chosen_inline_result": "the choice of an inline result, which is of no chat",
    "shipping_query": "a shipping query of a payment",
    "pre_checkout_query": "a payment that waits for its confirmation",
    "purchased_paid_media": "a purchase of paid media",
    "poll": "the state of a poll, which names no chat",
    "poll_answer": "a vote in a poll, which names no chat",
    "business_connection": "a business account that was connected, changed or disconnected",
    "message_reaction_count": "the number of anonymous reactions to a message",
    "chat_join_request": "a request to join a chat",
    "chat_boost": "a boost of a chat",
    "removed_chat_boost": "the end of a chat's boost",
    "managed_bot": "a change of a bot that this one manages",
}
UPDATES: Sequence[str] = (
    *_MESSAGES, *_EDITS, "deleted_business_messages", "callback_query", "message_reaction", "my_chat_member",
    "chat_member", *_NOT_OF_A_CHAT,
)  # fmt: skip
"""Every kind of update, as `allowed_updates` names them; some come only if they are named."""


def inner_message(update: VendorPayload) -> VendorPayload | None:
    """Return the new message of an update; None if that is about something else."""
    return next((update.inside(name) for name in _MESSAGES if name in update), None)


def album_of(update: VendorPayload) -> tuple[str, str] | None:
    """Return the address of the chat and the id of the album that an update's message is a part of."""
    message = inner_message(update)
    if message is None or "media_group_id" not in message:
        return None
    return _place(message).address, message.needed("media_group_id")


def parse_telegram_webhook(payload: Mapping[str, Any], channel_id: str) -> list[InboundMessage]:
    """Return the messages in an update that the caller has verified; none of one that is about no message.

    Files are references to Telegram's, whose bytes `TelegramBotProvider` gets. Raises ValueError for what is
    not an update.
    """
    found = Reader(channel_id).parts(VendorPayload(ORIGIN.vendor, payload))
    return [part for part in found if isinstance(part, InboundMessage)]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads updates for a channel. `bot_id` and `username` are the bot's, without its @.

    With `asks_all`, agents are asked about every message of a group; else about those that address the bot.
    """

    channel_id: str
    bot_id: str = ""
    username: str = ""
    asks_all: bool = True

    def parts(self, update: VendorPayload) -> Sequence[WebhookPart]:
        """Return what an update says, at least one part. Raises ValueError for what is not an update."""
        number = update.integer("update_id")
        if number is None:
            raise update.wrong("update_id", "there")
        for name in _MESSAGES:
            if name in update:
                return [self._new(update, update.inside(name))]
        for name in _EDITS:
            if name in update:
                return [self._edited(update, update.inside(name), number)]
        for name, read in _OTHERS.items():
            if name in update:
                return list(read(self, update, update.inside(name), number))
        kind = next((name for name in update.raw if name != "update_id"), "nothing")
        return [
            self._unparsed(update, _NOT_OF_A_CHAT.get(kind, f"an update of an unknown kind, {kind[:60]}"))
        ]

    # -- messages -----------------------------------------------------------------------------

    def _new(self, update: VendorPayload, message: VendorPayload) -> WebhookPart:
        if (why := self._is_own(message)) is not None:
            return self._unparsed(update, why)
        return self.message(message, content_of(message), update.raw)

    def message(
        self, message: VendorPayload, content: EventContent, raw: Mapping[str, Any]
    ) -> InboundMessage:
        """Return a new message with this content."""
        key = _key(message)
        is_service = isinstance(content, SystemContent) and content.code != "missing_file"
        fields: dict[str, Any] = {"event_type": EventType.SYSTEM} if is_service else {}
        if not is_service and not self._addresses(message):
            fields["addressed_to"] = ()
        return InboundMessage(
            **self._envelope(message),
            **fields,
            content=content,
            external_id=key,
            provider_message_id=key,
            idempotency_key=key,
            in_reply_to=_answered(message),
            raw_payload=raw,
        )

    def _edited(self, update: VendorPayload, message: VendorPayload, number: int) -> WebhookPart:
        if (why := self._is_own(message)) is not None:
            return self._unparsed(update, why)
        key = _key(message)
        return InboundMessage(
            **self._envelope(message),
            event_type=EventType.EDIT,
            content=EditContent(target_event_id=key, new_content=content_of(message)),
            idempotency_key=f"edit:{number}",
            in_reply_to=(key,),
            addressed_to=None if self._addresses(message) else (),
            raw_payload=update.raw,
        )

    def _envelope(self, message: VendorPayload) -> dict[str, Any]:
        """Return the fields that say whose a message is, and where."""
        sender = _sender(message)
        place, chat = _place(message), message.inside("chat")
        user, kind = message.inside("from"), chat.text("type")
        said = {
            "chat_id": chat.text("id"),
            "chat_type": kind,
            "date": message.integer("date"),
            "sender_name": _named(message.inside("sender_chat") if "sender_chat" in message else user),
            "username": user.text("username"),
            "language": user.text("language_code"),
        }
        is_shared = kind != _PRIVATE or place.connection is not None
        return {
            "channel_id": self.channel_id,
            "sender_id": sender,
            "conversation": place.address if is_shared else None,
            "thread_id": _topic(message),
            "metadata": {name: value for name, value in said.items() if value},
        }

    def _is_own(self, message: VendorPayload) -> str | None:
        """Return why a message is not a person's: bots that answer each other would never end."""
        sender = message.inside("from")
        if "sender_business_bot" in message:
            return "a message that a bot sent for the business account"
        if sender.raw.get("is_bot") is True and "sender_chat" not in message:
            return "a message of a bot"
        return None

    def _addresses(self, message: VendorPayload) -> bool:
        """Whether a message is for the bot: alone with it, or in a group by a command, mention or reply."""
        if self.asks_all or message.inside("chat").text("type") not in ("group", "supergroup"):
            return True
        if self.bot_id and message.inside("reply_to_message").inside("from").text("id") == self.bot_id:
            return True
        name = f"@{self.username}".lower()
        return any(
            self._is_meant(each.kind, each.said.lower(), each.user_id, name) for each in _marks(message)
        )

    def _is_meant(self, kind: str, said: str, user_id: str, name: str) -> bool:
        match kind:
            case "bot_command":
                return "@" not in said or said.endswith(name)
            case "mention":
                return said == name
            case "text_mention":
                return user_id == self.bot_id
            case _:
                return False

    # -- the rest -----------------------------------------------------------------------------

    def _deleted(self, update: VendorPayload, said: VendorPayload, number: int) -> Iterator[WebhookPart]:
        """Telegram does not name who deleted: the chat's customer stands for them."""
        place = _place(said)
        numbers = said.raw.get("message_ids")
        if not isinstance(numbers, list) or not numbers:
            raise said.wrong("message_ids", "a list of ids")
        for each in numbers:
            key = message_key(place.address, str(each))
            yield InboundMessage(
                channel_id=self.channel_id,
                sender_id=place.chat,
                conversation=place.address,
                event_type=EventType.DELETE,
                content=DeleteContent(target_event_id=key),
                in_reply_to=(key,),
                idempotency_key=f"delete:{number}:{each}",
                raw_payload=update.raw,
            )

    def _pressed(self, update: VendorPayload, query: VendorPayload, number: int) -> Iterator[WebhookPart]:
        """A button under a message was pressed."""
        message = query.inside("message")
        data = query.text("data") or query.text("game_short_name")
        fields: dict[str, Any] = {}
        if "chat" in message:
            place, chat = _place(message), message.inside("chat")
            is_shared = chat.text("type") != _PRIVATE or place.connection is not None
            fields = {
                "conversation": place.address if is_shared else None,
                "thread_id": _topic(message),
                "in_reply_to": (_key(message),),
            }
        yield InboundMessage(
            channel_id=self.channel_id,
            sender_id=query.inside("from").needed("id"),
            content=TextContent(body=_label(message, data) or data),
            idempotency_key=f"callback:{query.needed('id')}",
            raw_payload=update.raw,
            metadata={
                "callback_data": data,
                "callback_query_id": query.needed("id"),
                "sender_name": _named(query.inside("from")),
            },
            **fields,
        )

    def _reacted(self, update: VendorPayload, said: VendorPayload, number: int) -> Iterator[WebhookPart]:
        place, chat = _place(said), said.inside("chat")
        key = message_key(place.address, said.needed("message_id"))
        before, after = (_emoji(said.several(name)) for name in ("old_reaction", "new_reaction"))
        changes = [(each, "remove") for each in before if each not in after]
        changes += [(each, "add") for each in after if each not in before]
        actor = said.inside("user") if "user" in said else said.inside("actor_chat")
        for at, (emoji, action) in enumerate(changes):
            yield InboundMessage(
                channel_id=self.channel_id,
                sender_id=actor.needed("id"),
                conversation=place.address if chat.text("type") != _PRIVATE else None,
                event_type=EventType.REACTION,
                content=TextContent(body=emoji),
                metadata={"emoji": emoji, "action": action},
                in_reply_to=(key,),
                idempotency_key=f"reaction:{number}:{at}",
                raw_payload=update.raw,
            )
        if not changes:
            yield self._unparsed(update, "a reaction that changed nothing")

    def _own_member(self, update: VendorPayload, said: VendorPayload, number: int) -> Iterator[WebhookPart]:
        """The bot was blocked or started by a person, or added to or removed from a chat."""
        is_out = said.inside("new_chat_member").text("status") in _OUT
        sender = said.inside("from").needed("id")
        if said.inside("chat").text("type") != _PRIVATE:
            what = "removed from" if is_out else "added to"
            yield self._of_member(update, said, number, f"The bot was {what} the chat, or its rights changed")
            return
        at = said.integer("date")
        yield InboundMessage(
            channel_id=self.channel_id,
            sender_id=sender,
            event_type=EventType.CONSENT,
            content=ConsentContent(
                address_type="telegram",
                address=sender,
                state=ConsentState.REVOKED if is_out else ConsentState.GRANTED,
                source="vendor",
                at=None if at is None else datetime.fromtimestamp(at, UTC),
                body="Blocked the bot" if is_out else "Started the bot",
            ),
            idempotency_key=f"member:{number}",
            raw_payload=update.raw,
        )

    def _member(self, update: VendorPayload, said: VendorPayload, number: int) -> Iterator[WebhookPart]:
        who = _named(said.inside("new_chat_member").inside("user"))
        status = said.inside("new_chat_member").text("status")
        yield self._of_member(update, said, number, f"{who} is {status} of the chat now")

    def _of_member(
        self, update: VendorPayload, said: VendorPayload, number: int, body: str
    ) -> InboundMessage:
        kind = "my_chat_member" if "my_chat_member" in update else "chat_member"
        return InboundMessage(
            channel_id=self.channel_id,
            sender_id=said.inside("from").needed("id"),
            conversation=_place(said).address,
            event_type=EventType.SYSTEM,
            content=SystemContent(
                body=body,
                code=f"telegram_{kind}",
                data={"status": said.inside("new_chat_member").text("status")},
            ),
            idempotency_key=f"member:{number}",
            raw_payload=update.raw,
        )

    def _unparsed(self, update: VendorPayload, reason: str) -> UnparsedPart:
        return UnparsedPart(channel_id=self.channel_id, reason=reason, raw=update.raw)


type _Read = Callable[[Reader, VendorPayload, VendorPayload, int], Iterator[WebhookPart]]

_OTHERS: Mapping[str, _Read] = {
    "deleted_business_messages": Reader._deleted,
    "callback_query": Reader._pressed,
    "message_reaction": Reader._reacted,
    "my_chat_member": Reader._own_member,
    "chat_member": Reader._member,
}


def _place(message: VendorPayload) -> TelegramChat:
    connection = message.text("business_connection_id") or None
    return TelegramChat(message.inside("chat").needed("id"), connection)


def _key(message: VendorPayload) -> str:
    return message_key(_place(message).address, message.needed("message_id"))


def _sender(message: VendorPayload) -> str:
    """Return who wrote: a chat that is written for, else the user; a channel's post is the channel's."""
    for name in ("sender_chat", "from", "chat"):
        if name in message:
            return message.inside(name).needed("id")
    raise message.wrong("from", "there")


def _topic(message: VendorPayload) -> str | None:
    """Return the id of the topic of a forum that a message is in."""
    if message.raw.get("is_topic_message") is not True:
        return None
    return f"{_place(message).address}:topic:{message.needed('message_thread_id')}"


def _answered(message: VendorPayload) -> tuple[str, ...]:
    """Return the id of the message that one answers; each message of a topic names the topic's first."""
    answered = message.inside("reply_to_message")
    if "message_id" not in answered or "forum_topic_created" in answered:
        return ()
    return (message_key(_place(message).address, answered.needed("message_id")),)


def _marks(message: VendorPayload) -> list[Mark]:
    """Return the marks of a message; none if they cannot be read, which its content says."""
    found: list[Mark] = []
    try:
        for text, entities in (("text", "entities"), ("caption", "caption_entities")):
            found += marks_of(message.text(text), message.several(entities))
    except InvalidInputError:
        return []
    return found


def _named(user: VendorPayload) -> str:
    names = (user.text("first_name"), user.text("last_name"))
    return " ".join(filter(None, names)) or user.text("title") or user.text("username")


def _emoji(reactions: Sequence[VendorPayload]) -> list[str]:
    """Return reactions as texts: an emoji, or the id of one that somebody made."""
    return [
        each.text("emoji")
        or (f"custom:{each.text('custom_emoji_id')}" if "custom_emoji_id" in each else "⭐")
        for each in reactions
    ]


def _label(message: VendorPayload, data: str) -> str:
    """Return the words on the button of a message that was pressed."""
    rows = message.inside("reply_markup").raw.get("inline_keyboard")
    for row in rows if isinstance(rows, list) else ():
        for button in row if isinstance(row, list) else ():
            if isinstance(button, dict) and button.get("callback_data") == data:
                text = button.get("text")
                return text if isinstance(text, str) else ""
    return ""
