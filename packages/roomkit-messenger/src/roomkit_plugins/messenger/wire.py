"""What Messenger is sent, as pure functions.

https://developers.facebook.com/documentation/business-messaging/messenger-platform/send-messages (May 2026).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError
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
from roomkit_plugins.messenger.errors import ORIGIN
from roomkit_plugins.messenger.rich import rich_messages
from roomkit_plugins.wire.plain_message import parts_of

__all__ = ["LONGEST_TEXT", "addressed", "file_of", "messages_of", "reaction", "sender_action", "text_message"]

LONGEST_TEXT = 2000

type Document = dict[str, Any]


def addressed(to: str, message: Mapping[str, Any], *, tag: str | None, reply_to: str | None) -> Document:
    """Return a message with its recipient; `tag` allows it late, `reply_to` is what it answers."""
    kind = {"messaging_type": "MESSAGE_TAG", "tag": tag} if tag else {"messaging_type": "RESPONSE"}
    if "template" in message:
        kind = {"messaging_type": "UTILITY"}
    answered = {} if reply_to is None else {"reply_to": {"mid": reply_to}}
    return {"recipient": {"id": to}, **kind, "message": dict(message), **answered}


def sender_action(to: str, action: str) -> Document:
    """Return a sign of the page's: typing_on, typing_off, mark_seen."""
    return {"recipient": {"id": to}, "sender_action": action}


def reaction(to: str, message_id: str, emoji: str) -> Document:
    """Return a reaction to a message; "" takes it back."""
    about = {"message_id": message_id, **({"reaction": emoji} if emoji else {})}
    return {**sender_action(to, "react" if emoji else "unreact"), "payload": about}


def file_of(content: EventContent) -> MediaContent | None:
    """Return the file of a content that is one. Raises ProviderError for words beside it.

    Messenger's files have no captions: the kit sends the words before.
    """
    match content:
        case MediaContent():
            if content.caption:
                raise _unsupported("a file with words beside it: send them before")
            return content
        case AudioContent() | VideoContent():
            return MediaContent(url=content.url, mime_type=content.mime_type)
        case _:
            return None


def kind_of(file: MediaContent) -> str:
    """Return the kind of attachment of a file: image, audio, video or file."""
    kind = file.mime_type.partition("/")[0].strip().lower()
    return kind if kind in ("image", "audio", "video") else "file"


def messages_of(content: EventContent, where: Mapping[str, Any]) -> list[Document]:
    """Return the messages that say a content, in order; `where` is its file's URL or upload.

    It is one, but for cards with a text, which Messenger has no place for beside them. Raises ProviderError.
    """
    file = file_of(content)
    if file is not None:
        return [{"attachment": {"type": kind_of(file), "payload": dict(where)}}]
    match content:
        case RichContent():
            return rich_messages(content)
        case TemplateContent():
            return [_template(content)]
        case TextContent() | SystemContent():
            return [text_message(content.body)]
        case LocationContent():
            place = f"https://www.google.com/maps/search/?api=1&query={content.latitude},{content.longitude}"
            return [text_message(f"{described(content)}\n{place}")]
        case CustomContent():
            return [text_message(described(content))]
        case CompositeContent():
            return [_texts(content)]
        case _:
            raise _unsupported(f"{content.type} content")


def text_message(body: str) -> Document:
    """Return a text. Raises ProviderError."""
    if not body.strip():
        raise ORIGIN.refused("the message is empty: it has neither text nor a file")
    if len(body) > LONGEST_TEXT:
        raise ORIGIN.refused(
            f"the text has {len(body)} characters: Messenger takes {LONGEST_TEXT}",
            error_code=ErrorCode.TOO_LONG,
        )
    return {"text": body}


def _texts(content: CompositeContent) -> Document:
    parts = list(parts_of(content))
    texts = [part.body for part in parts if isinstance(part, TextContent)]
    if len(texts) < len(parts):
        raise _unsupported("several parts in one message: send each as a message")
    return text_message("\n".join(texts))


def _template(content: TemplateContent) -> Document:
    """Return a template: an approved one by its name, or one of Messenger's own with its payload.

    Of Messenger's own kinds, `template_id` is the kind (button, generic, media, receipt ...), and
    `parameters["payload"]` the rest as JSON.
    """
    payload = content.parameters.get("payload")
    if payload is None:
        return _approved(content)
    try:
        said = json.loads(payload)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise ORIGIN.refused(
            f"the payload of template {content.template_id!r} is not a JSON object: give it as the API "
            "takes it"
        )
    return {"attachment": {"type": "template", "payload": {"template_type": content.template_id, **said}}}


def _approved(content: TemplateContent) -> Document:
    """Return a utility template of the page's, whose body's parameters go by position."""
    given = content.parameters
    wrong = next((name for name in given if not (name.isascii() and name.isdigit())), None)
    if wrong is not None:
        raise _unsupported(f"the template's parameter {wrong!r}: its templates have them by position")
    positions = sorted(map(int, given))
    if positions != list(range(1, len(positions) + 1)):
        raise _unsupported(f"the template's parameter {positions[-1]}: positions begin with 1, without a gap")
    texts = [{"type": "text", "text": given[str(position)]} for position in positions]
    components = {"components": [{"type": "body", "parameters": texts}]} if texts else {}
    language = {"code": content.language.replace("-", "_")}
    return {"template": {"name": content.template_id, "language": language, **components}}


def _unsupported(what: str) -> ProviderError:
    return ORIGIN.refused(f"Messenger cannot carry {what}", error_code=ErrorCode.UNSUPPORTED_CONTENT)
