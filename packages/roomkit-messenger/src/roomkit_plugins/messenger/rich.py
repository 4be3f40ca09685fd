"""Buttons, quick replies and cards.

https://developers.facebook.com/documentation/business-messaging/messenger-platform/send-messages (May 2026):
buttons, quick replies, templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.authoring.plain_text import cards_as_lines
from roomkit.models.content import RichContent
from roomkit_plugins.messenger.errors import ORIGIN
from roomkit_plugins.wire.markup import parse, to_text
from roomkit_plugins.wire.plain_message import file_url

__all__ = [
    "LONGEST_BODY",
    "LONGEST_LABEL",
    "LONGEST_LINE",
    "MOST_BUTTONS",
    "MOST_CARDS",
    "MOST_REPLIES",
    "rich_messages",
]

LONGEST_BODY = 640
"""Of a text beside buttons."""
LONGEST_LABEL = 20
MOST_BUTTONS = 3
MOST_REPLIES = 13
MOST_CARDS = 10
_LONGEST_TEXT = 2000
LONGEST_LINE = 80
"""Of a card's title, and of the line under it."""
_LONGEST_PAYLOAD = 1000

type Document = dict[str, Any]


def rich_messages(content: RichContent) -> list[Document]:
    """Return the messages of a formatted text with its options. Raises ProviderError.

    Messenger shows no marks: the text goes out plain. Cards are a generic template, whose text goes before.
    Cards that the template has no room for are said in lines of the text.
    """
    text = content.plain_text
    if text is None:
        text = to_text(parse(content.body, content.format, keeps_lines=True))
    cards = [_card(card) for card in content.cards]
    shown = [card for card in cards if card is not None]
    if len(shown) < len(cards) or len(cards) > MOST_CARDS:
        text, shown = "\n".join(filter(None, [text, *cards_as_lines(content.cards)])), []
    buttons = [_button(button) for button in content.buttons]
    messages: list[Document] = []
    if text.strip() or buttons or not shown:
        messages.append(_with_buttons(text, buttons) if buttons else _text(text))
    if shown:
        messages.append(_of_template({"template_type": "generic", "elements": shown}))
    return [*messages[:-1], {**messages[-1], **_quick_replies(content.quick_replies)}]


def _text(text: str) -> Document:
    if not text.strip():
        raise ORIGIN.refused("the message is empty: it has neither text nor a card")
    _check_length(text, _LONGEST_TEXT, "the text")
    return {"text": text}


def _with_buttons(text: str, buttons: Sequence[Document]) -> Document:
    if not text.strip():
        raise ORIGIN.refused("the message has buttons and no text: Messenger shows none without")
    _check_length(text, LONGEST_BODY, "the text beside buttons")
    if len(buttons) > MOST_BUTTONS:
        raise _unsupported(f"{len(buttons)} buttons: it has {MOST_BUTTONS}")
    return _of_template({"template_type": "button", "text": text, "buttons": list(buttons)})


def _of_template(payload: Document) -> Document:
    return {"attachment": {"type": "template", "payload": payload}}


def _quick_replies(replies: Sequence[str]) -> Document:
    if len(replies) > MOST_REPLIES:
        raise _unsupported(f"{len(replies)} quick replies: it shows {MOST_REPLIES}")
    shown = [{"content_type": "text", "title": _label(reply), "payload": reply} for reply in replies]
    return {"quick_replies": shown} if shown else {}


def _button(button: Mapping[str, Any]) -> Document:
    label = _label(_said(button, "text", "title", "label"))
    url, number = _said(button, "url"), _said(button, "phone_number")
    if url:
        return {"type": "web_url", "title": label, "url": file_url(url, ORIGIN)}
    if number:
        return {"type": "phone_number", "title": label, "payload": number}
    payload = _said(button, "payload", "id") or label
    if len(payload) > _LONGEST_PAYLOAD:
        raise _unsupported(f"a payload of {len(payload)} characters: it takes {_LONGEST_PAYLOAD}")
    return {"type": "postback", "title": label, "payload": payload}


def _label(label: str) -> str:
    if not 0 < len(label) <= LONGEST_LABEL:
        raise _unsupported(f"the label {label[:40]!r}: it has 1 to {LONGEST_LABEL} characters")
    return label


def _said(holder: Mapping[str, Any], *names: str) -> str:
    return next((str(holder[name]) for name in names if holder.get(name)), "")


def _card(card: Mapping[str, Any]) -> Document | None:
    """Return a card as an element of the template; None if that has no room for it."""
    title, line = _said(card, "title"), _said(card, "description", "subtitle")
    image, buttons = _said(card, "media_url"), card.get("buttons") or ()
    if not title or max(len(title), len(line)) > LONGEST_LINE or len(buttons) > MOST_BUTTONS:
        return None
    if not (line or image or buttons):  # the API takes no element of a title alone
        return None
    more = {"subtitle": line, "image_url": image and file_url(image, ORIGIN)}
    options = {"buttons": [_button(button) for button in buttons]} if buttons else {}
    return {"title": title, **{name: value for name, value in more.items() if value}, **options}


def _check_length(text: str, most: int, what: str) -> None:
    if len(text) > most:
        raise ORIGIN.refused(
            f"{what} has {len(text)} characters: Messenger takes {most}", error_code=ErrorCode.TOO_LONG
        )


def _unsupported(what: str) -> ProviderError:
    return ORIGIN.refused(f"Messenger cannot show {what}", error_code=ErrorCode.UNSUPPORTED_CONTENT)
