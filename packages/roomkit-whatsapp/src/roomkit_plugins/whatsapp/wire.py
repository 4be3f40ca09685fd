"""What WhatsApp is sent, as pure functions.

https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages (July 2026).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.authoring.addresses import one_spelling
from roomkit.authoring.plain_text import described
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    CustomContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit_plugins.whatsapp.errors import ORIGIN
from roomkit_plugins.whatsapp.rich import rich_message
from roomkit_plugins.whatsapp.templates import template_message
from roomkit_plugins.wire.plain_message import parts_of

__all__ = [
    "LONGEST_CAPTION",
    "LONGEST_TEXT",
    "addressed",
    "file_of",
    "is_user_id",
    "message_of",
    "reaction",
]

LONGEST_TEXT = 4096
LONGEST_CAPTION = 1024
_LONGEST_REFERENCE = 512
_USER_ID = re.compile(r"[A-Z]{2}(?:\.ENT)?\.[0-9A-Za-z]{1,128}")
_NUMBER = re.compile(r"\+?[0-9]{5,20}")
_VOICE_NOTES = ("audio/ogg", "audio/opus")
_IMAGES = frozenset({"image/jpeg", "image/png"})
_SOUNDS = frozenset({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg", "audio/opus"})
_FILMS = frozenset({"video/mp4", "video/3gpp"})
CONTACTS, INTERACTIVE = "whatsapp.contacts", "whatsapp.interactive"

type Document = dict[str, Any]
type FileKind = str
"""What a file goes out as: image, video, audio, sticker or document."""


def is_user_id(address: str) -> bool:
    """Return whether an address is a business-scoped user id, such as CA.13491208655302741918."""
    return _USER_ID.fullmatch(address) is not None


def addressed(
    to: str, message: Mapping[str, Any], *, reply_to: str | None, reference: str | None
) -> Document:
    """Return a message with its recipient: a number, a business-scoped user id, or a group's id.

    `reply_to` is the message that is quoted, `reference` what the receipts repeat.
    """
    to = one_spelling("phone", to)
    is_group = not is_user_id(to) and _NUMBER.fullmatch(to) is None
    said = reference if reference and len(reference) <= _LONGEST_REFERENCE else None
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "group" if is_group else "individual",
        **({"recipient": to} if is_user_id(to) else {"to": to}),
        **({} if reply_to is None else {"context": {"message_id": reply_to}}),
        **({} if said is None else {"biz_opaque_callback_data": said}),
        **message,
    }


def reaction(message_id: str, emoji: str) -> Document:
    """Return a reaction to a message; "" takes it back."""
    return {"type": "reaction", "reaction": {"message_id": message_id, "emoji": emoji}}


# -- files --------------------------------------------------------------------------------------


def file_of(content: EventContent) -> MediaContent | None:
    """Return the one file of a content, with the words beside it as its caption; None for other contents.

    Raises ProviderError for several files, or for a composite content of other parts: WhatsApp takes one part
    per message.
    """
    match content:
        case MediaContent():
            return content
        case AudioContent() | VideoContent():
            return MediaContent(url=content.url, mime_type=content.mime_type)
        case CompositeContent():
            return _captioned(list(parts_of(content)))
        case _:
            return None


def _captioned(parts: Sequence[EventContent]) -> MediaContent | None:
    files = [part for part in parts if isinstance(part, MediaContent | AudioContent | VideoContent)]
    texts = [part.body for part in parts if isinstance(part, TextContent)]
    if len(files) > 1 or len(files) + len(texts) < len(parts):
        raise _unsupported("several parts in one message: send each as a message")
    if not files:
        return None
    file = file_of(files[0])
    assert file is not None
    caption = "\n".join(filter(None, [*texts, file.caption]))
    return file.replace(caption=caption or None)


def file_message(file: MediaContent, where: Mapping[str, str]) -> Document:
    """Return the message with a file that is at `where`: a link, or the id of an upload."""
    kind = _kind_of(file)
    caption = {"caption": file.caption} if file.caption else {}
    named = {"filename": file.filename} if file.filename and kind == "document" else {}
    voice = {"voice": True} if kind == "audio" and _is_voice_note(file.mime_type) else {}
    return {"type": kind, kind: {**where, **caption, **named, **voice}}


def _kind_of(file: MediaContent) -> FileKind:
    """Return what a file goes out as: WhatsApp refuses other types than these, and words beside some."""
    kind = file.mime_type.partition(";")[0].strip().lower()
    if kind in _IMAGES:
        return "image"
    if kind in _FILMS:
        return "video"
    if kind in _SOUNDS and not file.caption:
        return "audio"
    return "sticker" if kind == "image/webp" and not file.caption else "document"


def _is_voice_note(mime_type: str) -> bool:
    """WhatsApp shows Ogg Opus as a voice note, with a transcript; any other sound is a file."""
    return mime_type.partition(";")[0].strip().lower() in _VOICE_NOTES


# -- everything else ----------------------------------------------------------------------------


def message_of(content: EventContent, where: Mapping[str, str]) -> Document:
    """Return the message that says a content; `where` is its file's link or id. Raises ProviderError."""
    file = file_of(content)
    if file is not None:
        return file_message(file, where)
    match content:
        case RichContent():
            return rich_message(content)
        case TemplateContent():
            return template_message(content)
        case LocationContent():
            return _location(content)
        case CustomContent():
            return _CUSTOM.get(content.kind, _words)(content)
        case TextContent() | SystemContent():
            return text_message(content.body)
        case CompositeContent():
            return text_message("\n".join(described(part) for part in parts_of(content)))
        case _:
            raise _unsupported(f"{content.type} content")


def text_message(body: str) -> Document:
    """Return a text; the first link in it is shown with a preview. Raises ProviderError."""
    if not body.strip():
        raise ORIGIN.refused("the message is empty: it has neither text nor a file")
    if len(body) > LONGEST_TEXT:
        raise ORIGIN.refused(
            f"the text has {len(body)} characters: WhatsApp takes {LONGEST_TEXT}",
            error_code=ErrorCode.TOO_LONG,
        )
    preview = {"preview_url": True} if re.search(r"https?://", body) else {}
    return {"type": "text", "text": {"body": body, **preview}}


def _location(place: LocationContent) -> Document:
    named = {"name": place.label, "address": place.address}
    said = {name: value for name, value in named.items() if value}
    where = {"latitude": place.latitude, "longitude": place.longitude}
    return {"type": "location", "location": {**where, **said}}


def _words(content: CustomContent) -> Document:
    return text_message(described(content))


def _contacts(content: CustomContent) -> Document:
    contacts = content.data.get("contacts")
    if not isinstance(contacts, list | tuple) or not contacts:
        raise ORIGIN.refused(
            f"{CONTACTS} has no contacts: give data={{'contacts': [...]}} as the API takes them"
        )
    return {"type": "contacts", "contacts": list(contacts)}


def _interactive(content: CustomContent) -> Document:
    if not isinstance(content.data.get("type"), str):
        raise ORIGIN.refused(f"{INTERACTIVE} has no type: give the interactive object of the API as data")
    return {"type": "interactive", "interactive": dict(content.data)}


_CUSTOM: Mapping[str, Callable[[CustomContent], Document]] = {
    CONTACTS: _contacts,
    INTERACTIVE: _interactive,
}


def _unsupported(what: str) -> ProviderError:
    return ORIGIN.refused(f"WhatsApp cannot carry {what}", error_code=ErrorCode.UNSUPPORTED_CONTENT)
