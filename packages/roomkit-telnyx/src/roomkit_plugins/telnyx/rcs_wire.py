"""What Telnyx takes as an RCS message: pure functions, without network.

https://developers.telnyx.com/api-reference/rcs/send-an-rcs-message (Nov 2026).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.authoring.plain_text import label_of, markup_to_text, options_as_lines
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TextContent,
    VideoContent,
)
from roomkit_plugins.telnyx.errors import ORIGIN
from roomkit_plugins.wire.plain_message import file_url, parts_of

__all__ = [
    "DESCRIPTION",
    "LABEL",
    "LONGEST",
    "MOST_CARDS",
    "MOST_ON_CARD",
    "MOST_SUGGESTIONS",
    "TITLE",
    "content_message",
]

LONGEST = 3072
"""Characters of a text."""
MOST_SUGGESTIONS = 11
MOST_ON_CARD = 4
MOST_CARDS = 10
LABEL = 25
_DATA = 2048
TITLE = 200
DESCRIPTION = 2000

type JSON = dict[str, Any]


def content_message(content: EventContent) -> JSON:
    """Return the `content_message` of a content. Raises ProviderError for what RCS cannot carry."""
    match content:
        case TextContent() | SystemContent():
            return _text(content.body)
        case RichContent():
            return _rich(content)
        case LocationContent():
            return _place(content)
        case MediaContent() | AudioContent() | VideoContent() | CompositeContent():
            return _files(content)
        case _:
            raise _unsupported(f"{content.type} content by RCS")


# -- text and suggestions -----------------------------------------------------------------------


def _text(body: str, suggestions: Sequence[JSON] = ()) -> JSON:
    if not body.strip():
        raise ORIGIN.refused("the message is empty: it has neither text nor a file")
    if len(body) > LONGEST:
        raise ORIGIN.refused(
            f"the text has more than {LONGEST} characters: send it by an RCSChannel, which divides it",
            error_code=ErrorCode.TOO_LONG,
        )
    return {"text": body, **_suggested(suggestions, MOST_SUGGESTIONS)}


def _rich(content: RichContent) -> JSON:
    """Return formatted text as plain text, which is all that RCS shows, with its suggestions or cards."""
    replies = [{"text": each, "payload": each} for each in content.quick_replies]
    buttons = (*content.buttons, *replies)
    if not content.cards:
        # Buttons and quick replies have their places together: those without one are lines of text.
        words = "\n".join((_plain(content), *options_as_lines(buttons[MOST_SUGGESTIONS:])))
        return _text(words, [_suggestion(each) for each in buttons[:MOST_SUGGESTIONS]])
    suggestions = [_suggestion(each) for each in buttons]
    cards = [_card(each) for each in content.cards]
    intro = _plain(content)
    if intro.strip():
        cards.insert(0, {"description": _within(intro, DESCRIPTION, "the text before cards")})
    return {"rich_card": _rich_card(cards), **_suggested(suggestions, MOST_SUGGESTIONS)}


def _plain(content: RichContent) -> str:
    if content.plain_text is not None:
        return content.plain_text
    return markup_to_text(content.body, content.format)


def _place(content: LocationContent) -> JSON:
    point = {"latitude": content.latitude, "longitude": content.longitude}
    label = content.label or content.address or f"{content.latitude}, {content.longitude}"
    words = "\n".join(filter(None, (content.label, content.address))) or label
    shown = {"view_location_action": {"lat_long": point, "label": label[:100]}}
    return _text(words, [{"action": {"text": "Map", "postback_data": _encoded("map"), **shown}}])


def _suggested(suggestions: Sequence[JSON], most: int) -> JSON:
    if len(suggestions) > most:
        raise _unsupported(f"{len(suggestions)} suggestions: RCS takes {most} here")
    return {"suggestions": list(suggestions)} if suggestions else {}


def _suggestion(button: Mapping[str, Any]) -> JSON:
    """Return a button as a suggestion: an action where it opens or dials, else a reply."""
    text = label_of(button)
    if not text:
        raise _unsupported("a button without a text")
    label = _within(text, LABEL, "the text of a suggestion")
    payload = button.get("payload") or button.get("value") or text
    common = {"text": label, "postback_data": _encoded(payload if isinstance(payload, str) else text)}
    url, number = button.get("url"), button.get("phone_number")
    if isinstance(url, str) and url:
        return {"action": {**common, "open_url_action": {"url": url, "application": "BROWSER"}}}
    if isinstance(number, str) and number:
        return {"action": {**common, "dial_action": {"phone_number": number}}}
    match button:
        case {"type": "location_request"}:
            return {"action": {**common, "share_location_action": {}}}
        case {"type": "calendar", "start_time": str(start), "end_time": str(end)}:
            event = {"start_time": start, "end_time": end, "title": _said(button, "title", text, 100)}
            about = _said(button, "description", "", 500)
            described = {**event, **({"description": about} if about else {})}
            return {"action": {**common, "create_calendar_event_action": described}}
        case {"type": "location", "latitude": float() | int() as lat, "longitude": float() | int() as long}:
            point = {
                "lat_long": {"latitude": lat, "longitude": long},
                "label": _said(button, "label", text, 100),
            }
            return {"action": {**common, "view_location_action": point}}
    return {"reply": common}


def _said(button: Mapping[str, Any], name: str, otherwise: str, most: int) -> str:
    value = button.get(name)
    return _within(value if isinstance(value, str) else otherwise, most, f"the {name} of a suggestion")


# -- files and cards ----------------------------------------------------------------------------


def _files(content: EventContent) -> JSON:
    """Return one file by itself, and text with files as cards."""
    texts: list[str] = []
    cards: list[JSON] = []
    for part in parts_of(content):
        match part:
            case TextContent() | SystemContent():
                texts.append(part.body)
            case MediaContent():
                cards.append(_file_card(part.url, part.caption))
            case AudioContent() | VideoContent():
                cards.append(_file_card(part.url, None))
            case _:
                raise _unsupported(f"{part.type} content beside others by RCS")
    text = "\n".join(filter(None, texts))
    if not cards:
        return _text(text)
    if text.strip():
        cards.insert(0, {"description": _within(text, DESCRIPTION, "the text beside files")})
    if len(cards) == 1 and "description" not in cards[0]:
        return {"content_info": cards[0]["media"]["content_info"]}
    return {"rich_card": _rich_card(cards)}


def _file_card(url: str, caption: str | None) -> JSON:
    media = {"height": "MEDIUM", "content_info": {"file_url": file_url(url, ORIGIN)}}
    said = {"description": _within(caption, DESCRIPTION, "the caption")} if caption else {}
    return {**said, "media": media}


def _card(card: Mapping[str, Any]) -> JSON:
    made: JSON = {}
    for name, most in (("title", TITLE), ("description", DESCRIPTION)):
        value = card.get(name)
        if isinstance(value, str) and value:
            made[name] = _within(value, most, f"the {name} of a card")
    url = card.get("media_url")
    if isinstance(url, str) and url:
        made["media"] = {"height": "MEDIUM", "content_info": {"file_url": file_url(url, ORIGIN)}}
    if not made:
        raise _unsupported("a card without title, description and media_url")
    buttons = card.get("buttons")
    suggestions = [_suggestion(each) for each in _objects(buttons)]
    return {**made, **_suggested(suggestions, MOST_ON_CARD)}


def _rich_card(cards: Sequence[JSON]) -> JSON:
    if len(cards) == 1:
        shape = {"card_orientation": "VERTICAL", "card_content": cards[0]}
        return {"standalone_card": shape}
    if len(cards) > MOST_CARDS:
        raise _unsupported(f"{len(cards)} cards: a carousel has {MOST_CARDS} at most")
    return {"carousel_card": {"card_width": "MEDIUM", "card_contents": list(cards)}}


def _objects(value: object) -> Iterable[Mapping[str, Any]]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(each, Mapping) for each in value):
        raise _unsupported("buttons of a card that are no list of objects")
    return value


def _encoded(data: str) -> str:
    encoded = b64encode(data.encode()).decode()
    return _within(encoded, _DATA, "the payload of a suggestion")


def _within(text: str, most: int, what: str) -> str:
    if len(text) > most:
        raise ORIGIN.refused(f"{what} has more than {most} characters", error_code=ErrorCode.TOO_LONG)
    return text


def _unsupported(what: str) -> ProviderError:
    return ORIGIN.refused(f"Telnyx cannot carry {what}", error_code=ErrorCode.UNSUPPORTED_CONTENT)
