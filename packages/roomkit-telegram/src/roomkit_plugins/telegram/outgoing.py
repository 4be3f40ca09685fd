"""What a content is to Telegram: the method of the Bot API and its parameters. Pure functions.

https://core.telegram.org/bots/api#available-methods (Bot API 10.0). Methods have the library's names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.base import Json
from roomkit.models.content import (
    AudioContent,
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
from roomkit_plugins.telegram.entities import utf16_length
from roomkit_plugins.telegram.errors import ORIGIN
from roomkit_plugins.telegram.markup import telegram_html, words_shown

__all__ = ["LONGEST", "LONGEST_CAPTION", "TelegramCall", "call_of"]

LONGEST = 4096
"""UTF-16 code units of a text, without its marks."""
LONGEST_CAPTION = 1024
LONGEST_DATA = 64
"""Bytes of what a button sends back."""
MOST_BUTTONS = 100
MOST_OPTIONS = 12
"""Answers of a poll."""
_PER_ROW = 8
_PHOTOS = frozenset({"image/jpeg", "image/png", "image/webp"})
_VOICES = frozenset({"audio/ogg", "audio/opus"})
_SONGS = frozenset({"audio/mpeg", "audio/mp3", "audio/mp4", "audio/x-m4a", "audio/aac"})


@dataclass(frozen=True, slots=True)
class TelegramCall:
    """A call: `method` of the library's bot, its parameters, and the file that one of them is.

    `plain` are parameters in place of those that have marks, for when Telegram refuses the marks.
    """

    method: str
    fields: dict[str, Any] = field(default_factory=dict)
    file: str | None = None
    url: str = ""
    filename: str | None = None
    mime_type: str = ""
    plain: Mapping[str, Any] | None = None


def call_of(content: EventContent) -> TelegramCall:
    """Return the call that sends a content as one message. Raises ProviderError for what cannot be sent."""
    match content:
        case CustomContent() if content.kind in _KINDS:
            return _KINDS[content.kind](content.data)
        case TextContent() | SystemContent() | CustomContent():
            return _text(content.body)
        case TemplateContent() if content.body:
            return _text(content.body)
        case RichContent():
            return _rich(content)
        case MediaContent():
            return _file(content.url, content.mime_type, content.filename, content.caption)
        case AudioContent():
            return _file(content.url, content.mime_type, seconds=content.duration_seconds)
        case VideoContent():
            return _file(content.url, content.mime_type, seconds=content.duration_seconds)
        case LocationContent():
            return _location(content)
        case _:
            raise ORIGIN.refused(
                f"Telegram cannot carry {content.type} content in one message",
                error_code=ErrorCode.UNSUPPORTED_CONTENT,
            )


def _text(text: str) -> TelegramCall:
    _check_text(text, LONGEST)
    return TelegramCall("send_message", {"text": text})


def _check_text(text: str, most: int) -> None:
    if not text.strip():
        raise ORIGIN.refused("the message is empty: it has neither text nor a file")
    if (length := utf16_length(text)) > most:
        raise ORIGIN.refused(
            f"the text has {length} UTF-16 code units, Telegram takes {most}: send it in parts",
            error_code=ErrorCode.TOO_LONG,
        )


def _location(content: LocationContent) -> TelegramCall:
    where = {"latitude": content.latitude, "longitude": content.longitude}
    if content.label is None and content.address is None:
        return TelegramCall("send_location", where)
    title = content.label or content.address
    return TelegramCall("send_venue", {**where, "title": title, "address": content.address or content.label})


# -- polls, contacts and dice -------------------------------------------------------------------


def _poll(data: Json) -> TelegramCall:
    found = data.get("options")
    options = [
        text
        for each in (found if isinstance(found, list | tuple) else ())
        if isinstance(text := each.get("text") if isinstance(each, Mapping) else each, str) and text
    ]
    if not 1 <= len(options) <= MOST_OPTIONS:
        raise ORIGIN.refused(f"the poll has {len(options)} options: give 1 to {MOST_OPTIONS} texts")
    fields = {name: data[name] for name in ("is_anonymous", "allows_multiple_answers") if name in data}
    return TelegramCall(
        "send_poll", {"question": _word(data, "question", "poll"), "options": options, **fields}
    )


def _contact(data: Json) -> TelegramCall:
    fields = {name: _word(data, name, "contact") for name in ("phone_number", "first_name")}
    more = {name: data[name] for name in ("last_name", "vcard") if isinstance(data.get(name), str)}
    return TelegramCall("send_contact", {**fields, **more})


def _dice(data: Json) -> TelegramCall:
    return TelegramCall("send_dice", {"emoji": _word(data, "emoji", "dice")})


_KINDS: Mapping[str, Callable[[Json], TelegramCall]] = {
    "telegram.poll": _poll,
    "telegram.contact": _contact,
    "telegram.dice": _dice,
}


# -- files --------------------------------------------------------------------------------------


def _file(
    url: str,
    mime_type: str,
    filename: str | None = None,
    caption: str | None = None,
    *,
    seconds: float | None = None,
) -> TelegramCall:
    method, name = _way(mime_type.partition(";")[0].strip().lower())
    fields: dict[str, Any] = {}
    if caption and caption.strip():
        _check_text(caption, LONGEST_CAPTION)
        fields["caption"] = caption
    if seconds is not None and name in ("voice", "audio", "video", "animation"):
        fields["duration"] = round(seconds)
    return TelegramCall(method, fields, file=name, url=url, filename=filename, mime_type=mime_type)


def _way(mime_type: str) -> tuple[str, str]:
    """Return the method that shows a type of file, and the name of its parameter."""
    if mime_type in _PHOTOS:
        return "send_photo", "photo"
    if mime_type == "image/gif":
        return "send_animation", "animation"
    if mime_type in _VOICES:
        return "send_voice", "voice"
    if mime_type in _SONGS:
        return "send_audio", "audio"
    if mime_type == "video/mp4":
        return "send_video", "video"
    return "send_document", "document"


# -- marks, buttons and cards -------------------------------------------------------------------


def _rich(content: RichContent) -> TelegramCall:
    html = telegram_html(content.body, content.format)
    plain = content.plain_text if content.plain_text is not None else html.plain
    lines = [line for card in content.cards for line in _card(card)]
    rows, calls = _rows(content)
    lines += [f"{escape(text)}: {escape(number)}" for text, number in calls]
    shown = "\n".join(filter(None, (html.text, *lines)))
    _check_text(words_shown(shown), LONGEST)
    fields: dict[str, Any] = {"text": shown, "parse_mode": "HTML"}
    if markup := _markup(content, rows):
        fields["reply_markup"] = markup
    bare = "\n".join(filter(None, (plain, *map(words_shown, lines))))
    return TelegramCall("send_message", fields, plain={"text": bare, "parse_mode": None})


def _markup(content: RichContent, rows: list[list[dict[str, Any]]]) -> dict[str, Any] | None:
    """Return the keyboard: buttons stand under the message, quick replies in place of the phone's keys."""
    if rows:
        return {"inline_keyboard": rows}
    if content.quick_replies:
        keys = [[{"text": reply}] for reply in content.quick_replies]
        return {"keyboard": keys, "one_time_keyboard": True, "resize_keyboard": True}
    return None


def _rows(content: RichContent) -> tuple[list[list[dict[str, Any]]], list[tuple[str, str]]]:
    """Return the rows of buttons, and the numbers to call, which Telegram has no button for."""
    rows: list[list[dict[str, Any]]] = []
    calls: list[tuple[str, str]] = []
    buttons = [*content.buttons, *(each for card in content.cards for each in _buttons(card))]
    if buttons:  # a message has one keyboard, so quick replies are buttons, too
        buttons += [{"text": reply, "payload": reply} for reply in content.quick_replies]
    for button in buttons:
        text = _word(button, "text")
        if button.get("type") == "call":
            calls.append((text, _word(button, "phone_number")))
        else:
            rows.append([_button(button, text)])
    if len(rows) > MOST_BUTTONS:
        raise ORIGIN.refused(
            f"the message has {len(rows)} buttons, Telegram takes {MOST_BUTTONS}",
            error_code=ErrorCode.UNSUPPORTED_CONTENT,
        )
    return _wrapped(rows), calls


def _wrapped(rows: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """Return short buttons beside each other: two short words fit a phone's width."""
    wrapped: list[list[dict[str, Any]]] = []
    for (button,) in rows:
        last = wrapped[-1] if wrapped else []
        width = sum(len(each["text"]) for each in last) + len(button["text"])
        if last and width <= 24 and len(last) < _PER_ROW:
            last.append(button)
        else:
            wrapped.append([button])
    return wrapped


def _button(button: Mapping[str, Any], text: str) -> dict[str, Any]:
    if button.get("type") == "url" or "url" in button:
        return {"text": text, "url": _word(button, "url")}
    payload = button.get("payload")
    data = payload if isinstance(payload, str) and payload else text
    if (size := len(data.encode())) > LONGEST_DATA:
        raise ORIGIN.refused(
            f"the payload of the button {text[:40]!r} has {size} bytes, Telegram takes {LONGEST_DATA}: give "
            "a shorter one, such as an id"
        )
    return {"text": text, "callback_data": data}


def _word(holder: Mapping[str, Any], name: str, what: str = "button of the message") -> str:
    value = holder.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ORIGIN.refused(f"a {what} has no {name}: give it a text")
    return value


def _card(card: Json) -> list[str]:
    title, description, url = (card.get(name) for name in ("title", "description", "media_url"))
    lines = [f"<b>{escape(title)}</b>"] if isinstance(title, str) and title else []
    lines += [escape(description)] if isinstance(description, str) and description else []
    return lines + ([escape(url)] if isinstance(url, str) and url.startswith("http") else [])


def _buttons(card: Json) -> Sequence[Mapping[str, Any]]:
    found = card.get("buttons", ())
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list | tuple) else []


def undecodable(what: str) -> ProviderError:
    """Return the error for a file that is in no form that can be sent."""
    return ORIGIN.refused(f"the file cannot be sent: {what}", error_code=ErrorCode.UNSUPPORTED_CONTENT)
