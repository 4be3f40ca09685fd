"""Buttons, lists and links.

https://developers.facebook.com/documentation/business-messaging/whatsapp/messages (July 2026): interactive
messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roomkit.abc.errors import ErrorCode
from roomkit.authoring.plain_text import cards_as_lines, rich_as_text
from roomkit.models.content import RichContent
from roomkit_plugins.whatsapp.errors import ORIGIN
from roomkit_plugins.whatsapp.markup import marked_up

__all__ = ["LONGEST_BODY", "LONGEST_LABEL", "MOST_OPTIONS", "rich_message"]

LONGEST_BODY = 1024
"""Of a text beside buttons."""
LONGEST_LABEL = 20
"""Of a button."""
MOST_OPTIONS = 10
"""Rows of a list."""
_MOST_BUTTONS = 3
_LONGEST_TEXT = 4096
_LONGEST_ID = 256
_LONGEST_ROW_ID = 200
_LIST_LABEL = "Options"

type Document = dict[str, Any]


@dataclass(slots=True)
class _Found:
    """What a rich content asks for, and what is said in words in its place."""

    replies: list[tuple[str, str]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    place: str | None = None
    """What a button says that asks for the person's place."""


def rich_message(content: RichContent) -> Document:
    """Return the message of a formatted text with its options. Raises ProviderError.

    Up to three replies are buttons, up to ten a list; a link alone is a button that opens it. What else it
    asks for, such as a call or a second kind of button, is said in lines of the text.
    """
    found = _options(content)
    action = _action(found)
    said = marked_up(content)
    body = "\n".join(filter(None, [said, *cards_as_lines(content.cards), *found.lines]))
    if action is None:
        return _text(body)
    if len(said) <= LONGEST_BODY < len(body):  # the lines leave no room beside buttons
        return _text(rich_as_text(content))
    if not body.strip():
        raise ORIGIN.refused("the message has buttons and no text: WhatsApp shows none without")
    if len(body) > LONGEST_BODY:
        raise _too_long(f"the text beside buttons has {len(body)} characters: WhatsApp takes {LONGEST_BODY}")
    return {"type": "interactive", "interactive": {**action, "body": {"text": body}}}


def _text(body: str) -> Document:
    if not body.strip():
        raise ORIGIN.refused("the message is empty: it has neither text nor a button")
    if len(body) > _LONGEST_TEXT:
        raise _too_long(f"the text has {len(body)} characters: WhatsApp takes {_LONGEST_TEXT}")
    return {"type": "text", "text": {"body": body}}


def _options(content: RichContent) -> _Found:
    found = _Found()
    for button in content.buttons:
        _add(button, found)
    found.replies += [(reply, reply) for reply in content.quick_replies]
    return found


def _add(button: Mapping[str, Any], found: _Found) -> None:
    label = _said(button, "text", "title", "label")
    url, number = _said(button, "url"), _said(button, "phone_number")
    if button.get("type") == "location_request":
        found.place = label
    elif url:
        found.links.append((label or url, url))
    elif number:
        found.lines.append(f"{label}: {number}" if label else number)
    else:
        found.replies.append((label, _said(button, "payload", "id") or label))


def _said(button: Mapping[str, Any], *names: str) -> str:
    return next((str(button[name]) for name in names if button.get(name)), "")


def _action(found: _Found) -> Document | None:
    """Return the interactive part, and leave the rest to lines; None if all is said in lines."""
    if found.replies or found.links:
        found.lines += filter(None, [found.place])
    if found.replies:
        found.lines += [f"{label}: {url}" for label, url in found.links]
        return _replies(found)
    if found.place is not None and not found.links:
        return {"type": "location_request_message", "action": {"name": "send_location"}}
    if len(found.links) == 1 and len(found.links[0][0]) <= LONGEST_LABEL:
        ((label, url),) = found.links
        return {
            "type": "cta_url",
            "action": {"name": "cta_url", "parameters": {"display_text": label, "url": url}},
        }
    found.lines += [f"{label}: {url}" for label, url in found.links]
    return None


def _replies(found: _Found) -> Document:
    found.lines += [f"- {label}" for label, _ in found.replies[MOST_OPTIONS:]]
    del found.replies[MOST_OPTIONS:]
    long = next((label for label, _ in found.replies if not 0 < len(label) <= LONGEST_LABEL), None)
    if long is not None:
        raise _unsupported(f"the option {long[:40]!r}: a label has 1 to {LONGEST_LABEL} characters")
    named = _unique(found)
    if len(named) <= _MOST_BUTTONS:
        buttons = [{"type": "reply", "reply": {"id": key, "title": label}} for label, key in named]
        return {"type": "button", "action": {"buttons": buttons}}
    rows = [{"id": key, "title": label} for label, key in named]
    return {
        "type": "list",
        "action": {"button": _LIST_LABEL, "sections": [{"title": _LIST_LABEL, "rows": rows}]},
    }


def _unique(found: _Found) -> Sequence[tuple[str, str]]:
    """Return the replies with labels and ids of their own, which WhatsApp asks for; others become lines."""
    kept: dict[str, str] = {}
    for label, key in found.replies:
        if kept.get(label) == key:
            continue  # the same option, given as a button and as a quick reply
        if label in kept or key in kept.values():
            found.lines.append(f"- {label}")
        else:
            kept[label] = key
    most = _LONGEST_ID if len(kept) <= _MOST_BUTTONS else _LONGEST_ROW_ID
    long = next((key for key in kept.values() if len(key) > most), None)
    if long is not None:
        raise _unsupported(f"a payload of {len(long)} characters: it takes {most}")
    return list(kept.items())


def _too_long(what: str) -> Exception:
    return ORIGIN.refused(what, error_code=ErrorCode.TOO_LONG)


def _unsupported(what: str) -> Exception:
    return ORIGIN.refused(f"WhatsApp cannot show {what}", error_code=ErrorCode.UNSUPPORTED_CONTENT)
