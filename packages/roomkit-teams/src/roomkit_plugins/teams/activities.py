"""From Teams' activities to RoomKit's records: pure functions, without network.

https://learn.microsoft.com/microsoftteams/platform/bots/how-to/conversations/subscribe-to-conversation-events
(Nov 2026). Ids of messages are of their conversation alone: here they have it in front.
"""

from __future__ import annotations

import html
import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import (
    CompositeContent,
    CustomContent,
    DeleteContent,
    EditContent,
    EventContent,
    MediaContent,
    SystemContent,
    TextContent,
)
from roomkit.models.delivery import InboundMessage, ReceiptWatermark
from roomkit.models.enums import EphemeralEventType, EventType, ReceiptState
from roomkit.models.invoke import InvokeAnswer, WebhookInvoke
from roomkit.models.realtime import InboundSignal
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.teams.errors import ORIGIN

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart

__all__ = [
    "is_bot_added",
    "is_bot_removed",
    "parse_teams_activity",
    "parse_teams_reactions",
    "parse_teams_webhook",
    "read_activity",
    "vendor_id",
]

_FILE = "application/vnd.microsoft.teams.file.download.info"
_EMOJI: Mapping[str, str] = {
    "like": "👍", "heart": "❤️", "laugh": "😆", "surprised": "😮", "sad": "🙁", "angry": "😡",
}  # fmt: skip
_MENTION = re.compile(r"<at(?:\s[^<>]*)?>([^<>]*)</at>")
_RECEIPT = "application/vnd.microsoft.readReceipt"
_LATEST = 253_402_300_799_000


def vendor_id(conversation_id: str, activity_id: str) -> str:
    """Return a message's id as it is unique on the channel."""
    return f"{conversation_id}|{activity_id}"


def read_activity(payload: object, channel_id: str) -> Sequence[WebhookPart]:
    """Return what a verified activity says, in its order. Raises ValueError for what Teams does not send."""
    said = VendorPayload(ORIGIN.vendor, payload)
    kind = said.needed("type")
    match kind:
        case "message":
            return [_message(said, channel_id)]
        case "messageUpdate":
            return [_updated(said, channel_id)]
        case "messageDelete":
            return [_deleted(said, channel_id)]
        case "messageReaction":
            return list(_reactions(said, channel_id)) or [
                _unparsed(said, channel_id, "a reaction to nothing")
            ]
        case "typing":
            return [_typing(said, channel_id)]
        case "invoke":
            return [_invoke(said, channel_id)]
        case "event" if said.text("name") == _RECEIPT:
            return [_read_until(said, channel_id)]
        case _:
            return [_unparsed(said, channel_id, _notice(said, kind))]


def parse_teams_webhook(payload: Mapping[str, Any], channel_id: str) -> list[InboundMessage]:
    """Return the message of an activity that the caller has verified; none for one of another type.

    Raises ValueError for what Teams does not send.
    """
    if payload.get("type") != "message":
        return []
    return [part for part in read_activity(payload, channel_id) if isinstance(part, InboundMessage)]


def parse_teams_activity(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the common fields of an activity of any type. Raises ValueError for other payloads."""
    said = VendorPayload(ORIGIN.vendor, payload)
    conversation, channel_data = said.inside("conversation"), said.inside("channelData")
    kind = conversation.text("conversationType") or "personal"
    return {
        "activity_type": said.text("type"),
        "conversation_id": conversation.text("id"),
        "conversation_type": kind,
        "conversation_name": conversation.text("name"),
        "is_group": conversation.raw.get("isGroup") is True or kind in ("groupChat", "channel"),
        "service_url": said.text("serviceUrl"),
        "tenant_id": channel_data.inside("tenant").text("id") or conversation.text("tenantId"),
        "sender_id": said.inside("from").text("id"),
        "sender_name": said.inside("from").text("name"),
        "bot_id": said.inside("recipient").text("id"),
        "reply_to_id": said.text("replyToId"),
        "members_added": [each.text("id") for each in said.several("membersAdded")],
        "members_removed": [each.text("id") for each in said.several("membersRemoved")],
    }


def parse_teams_reactions(payload: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the reactions of an activity: action, emoji, sender and the message that they are to."""
    said = VendorPayload(ORIGIN.vendor, payload)
    sender = said.inside("from")
    return [
        {
            "action": action,
            "emoji": kind,
            "sender_id": sender.text("id"),
            "sender_name": sender.text("name"),
            "target_activity_id": said.text("replyToId"),
        }
        for action, kind in _reacted(said)
    ]


def is_bot_added(payload: Mapping[str, Any], bot_id: str | None = None) -> bool:
    """Return whether an activity says that the bot was added to a conversation, or installed."""
    return _came(payload, "membersAdded", ("add", "add-upgrade"), bot_id)


def is_bot_removed(payload: Mapping[str, Any], bot_id: str | None = None) -> bool:
    """Return whether an activity says that the bot was removed from a conversation, or uninstalled."""
    return _came(payload, "membersRemoved", ("remove", "remove-upgrade"), bot_id)


def _came(payload: Mapping[str, Any], name: str, actions: Sequence[str], bot_id: str | None) -> bool:
    said = VendorPayload(ORIGIN.vendor, payload)
    if said.text("type") == "installationUpdate":
        return said.text("action") in actions
    wanted = bot_id or said.inside("recipient").text("id")
    is_update = said.text("type") == "conversationUpdate"
    return is_update and any(each.text("id") == wanted for each in said.several(name))


def _unparsed(said: VendorPayload, channel_id: str, reason: str) -> UnparsedPart:
    return UnparsedPart(channel_id=channel_id, reason=reason, raw=said.raw)


def _notice(said: VendorPayload, kind: str) -> str:
    if is_bot_added(said.raw):
        return "the bot was added to a conversation"
    if is_bot_removed(said.raw):
        return "the bot was removed from a conversation"
    named = said.inside("channelData").text("eventType") or said.text("name") or said.text("action")
    return f"an activity of Teams, {kind[:40]}" + (f" ({named[:40]})" if named else "")


# -- what people do -----------------------------------------------------------------------------


def _from(
    said: VendorPayload, channel_id: str, content: EventContent, key: str, **fields: Any
) -> InboundMessage:
    """Return what a person did in a conversation, which is what answers go to."""
    known = parse_teams_activity(said.raw)
    conversation_id = said.inside("conversation").needed("id")
    metadata = {
        "sender_name": known["sender_name"],
        "conversation_type": known["conversation_type"],
        "is_group": known["is_group"],
        **fields.pop("metadata", {}),
    }
    extra = {
        "service_url": known["service_url"],
        "tenant_id": known["tenant_id"],
        "aad_object_id": said.inside("from").text("aadObjectId"),
    }
    own = vendor_id(conversation_id, key)
    return InboundMessage(
        channel_id=channel_id,
        sender_id=said.inside("from").needed("id"),
        conversation=conversation_id,
        content=content,
        external_id=own,
        idempotency_key=own,
        raw_payload=said.raw,
        metadata={name: value for name, value in metadata.items() if value not in ("", None)},
        extra={name: value for name, value in extra.items() if value},
        **fields,
    )


def _message(said: VendorPayload, channel_id: str) -> InboundMessage:
    identity, answered = said.needed("id"), said.text("replyToId")
    conversation_id = said.inside("conversation").needed("id")
    is_personal = (said.inside("conversation").text("conversationType") or "personal") == "personal"
    return _from(
        said,
        channel_id,
        _content(said),
        identity,
        thread_id=conversation_id.partition(";messageid=")[2] or None,
        in_reply_to=(vendor_id(conversation_id, answered),) if answered else (),
        metadata={"bot_mentioned": is_personal or _is_mentioned(said)},
    )


def _is_mentioned(said: VendorPayload) -> bool:
    bot = said.inside("recipient").text("id")
    return any(
        each.text("type") == "mention" and each.inside("mentioned").text("id") == bot
        for each in said.several("entities")
    )


def _content(said: VendorPayload) -> EventContent:
    """Return the words of a message, what a card's form had, and the files."""
    text = _words(said)
    value = said.raw.get("value")
    parts: list[EventContent] = []
    if isinstance(value, Mapping) and value:
        parts.append(CustomContent(kind="teams.submit", body=text or _form(value), data=dict(value)))
    elif text:
        parts.append(TextContent(body=text))
    parts += [part for each in said.several("attachments") if (part := _attachment(each)) is not None]
    match parts:
        case []:
            return SystemContent(body="A message without text or file", code="unparsed")
        case [only]:
            return only
        case [TextContent(body=words), MediaContent() as file]:
            return file.replace(caption=words)
        case _:
            return CompositeContent(parts=tuple(parts))


def _form(value: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {each}" for name, each in value.items() if isinstance(each, str | int | float))


def _words(said: VendorPayload) -> str:
    """Return the text without the bot's own mention; others' mentions are their names."""
    text, bot = said.text("text"), said.inside("recipient").text("id")
    for each in said.several("entities"):
        if each.text("type") == "mention" and each.inside("mentioned").text("id") == bot:
            text = text.replace(each.text("text"), "", 1) if each.text("text") else text
    text = html.unescape(_MENTION.sub(r"\1", text)).replace("\xa0", " ")
    return re.sub(r" {2,}", " ", text).strip()


def _attachment(each: VendorPayload) -> EventContent | None:
    """Return a file or a card; None for the text's own HTML, which it repeats."""
    kind = each.text("contentType")
    if kind == "text/html":
        return None
    named = each.text("name") or None
    if kind == _FILE:
        url = each.inside("content").text("downloadUrl")
        mime_type = mimetypes.guess_type(named or "")[0] or "application/octet-stream"
        return _file(url, mime_type, named, kind)
    if kind.startswith(("image/", "audio/", "video/", "application/")) and each.text("contentUrl"):
        mime_type = "image/jpeg" if kind == "image/*" else kind
        return _file(each.text("contentUrl"), mime_type, named, kind)
    return SystemContent(body=f"An attachment of type {kind[:80]}", code="unparsed", data=each.raw)


def _file(url: str, mime_type: str, named: str | None, kind: str) -> EventContent:
    if not url.lower().startswith(("https://", "http://", "data:")):
        return SystemContent(body=f"A file of type {kind[:80]} without a URL", code="unparsed")
    return MediaContent(url=url, mime_type=mime_type, filename=named)


def _updated(said: VendorPayload, channel_id: str) -> InboundMessage:
    """Return an edit; a deletion that was taken back is a message again."""
    identity = said.needed("id")
    conversation_id = said.inside("conversation").needed("id")
    stamp = said.text("timestamp") or said.text("localTimestamp")
    if said.inside("channelData").text("eventType") == "undeleteMessage":
        return _from(said, channel_id, _content(said), f"{identity}:undeleted:{stamp}")
    own = vendor_id(conversation_id, identity)
    edit = EditContent(target_event_id=own, new_content=_content(said))
    key = f"{identity}:edit:{stamp}"
    return _from(said, channel_id, edit, key, event_type=EventType.EDIT, in_reply_to=(own,))


def _deleted(said: VendorPayload, channel_id: str) -> InboundMessage:
    identity = said.needed("id")
    own = vendor_id(said.inside("conversation").needed("id"), identity)
    gone = DeleteContent(target_event_id=own)
    return _from(
        said, channel_id, gone, f"{identity}:deleted", event_type=EventType.DELETE, in_reply_to=(own,)
    )


def _reacted(said: VendorPayload) -> Iterator[tuple[str, str]]:
    for action, name in (("add", "reactionsAdded"), ("remove", "reactionsRemoved")):
        for each in said.several(name):
            yield action, each.needed("type")


def _reactions(said: VendorPayload, channel_id: str) -> Iterator[InboundMessage]:
    answered = said.text("replyToId")
    own = vendor_id(said.inside("conversation").needed("id"), answered)
    stamp = said.text("id") or said.text("timestamp")
    for action, kind in _reacted(said):
        emoji = _EMOJI.get(kind, kind)
        yield _from(
            said,
            channel_id,
            TextContent(body=emoji),
            f"{answered}:{action}:{kind}:{said.inside('from').text('id')}:{stamp}",
            event_type=EventType.REACTION,
            in_reply_to=(own,) if answered else (),
            metadata={"emoji": emoji, "action": action},
        )


def _typing(said: VendorPayload, channel_id: str) -> InboundSignal:
    return InboundSignal(
        channel_id=channel_id,
        sender_id=said.inside("from").needed("id"),
        conversation=said.inside("conversation").needed("id"),
        type=EphemeralEventType.TYPING_START,
    )


def _read_until(said: VendorPayload, channel_id: str) -> ReceiptWatermark:
    """Return that a person has read everything up to a message: ids of messages are milliseconds."""
    last = said.inside("value").needed("lastReadMessageId")
    if not (last.isascii() and last.isdigit() and len(last) <= 15 and int(last) <= _LATEST):
        raise said.wrong("value.lastReadMessageId", "a time in milliseconds", whole=True)
    return ReceiptWatermark(
        provider=ORIGIN.provider,
        channel_id=channel_id,
        recipient=said.inside("conversation").needed("id"),
        status=ReceiptState.READ,
        at=datetime.fromtimestamp(int(last) / 1000, UTC),
        raw=said.raw,
    )


def _invoke(said: VendorPayload, channel_id: str) -> WebhookInvoke:
    """Return a request that waits for the app's answer; 501 is what Teams is told without one."""
    name, value = said.needed("name"), said.raw.get("value")
    data = dict(value) if isinstance(value, Mapping) else {}
    message = _from(
        said,
        channel_id,
        CustomContent(kind="teams.invoke", body=f"[{name}]", data={"name": name, "value": data}),
        f"invoke:{said.text('id') or said.text('timestamp')}",
    )
    return WebhookInvoke(message=message, name=name, value=value, default=InvokeAnswer(status=501))
