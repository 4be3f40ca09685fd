"""What Telegram's Bot API refuses: https://core.telegram.org/bots/api (Bot API 10.0)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from html import unescape
from typing import Any
from urllib.parse import parse_qsl

from roomkit_plugins.testing.simulators.http import ReceivedRequest

__all__ = ["BotRefused", "UploadedFile", "check_keyboard", "parameters_of", "shown_text", "utf16_units"]

_JSON = frozenset(
    {
        "reply_markup", "reply_parameters", "link_preview_options", "entities", "caption_entities",
        "reaction", "message_ids", "allowed_updates", "media",
    }
)  # fmt: skip
_TAG = re.compile(r"</?([a-z-]*)((?:\s[^<>]*)?)>|<")
_SHOWN = frozenset(
    {
        "b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "span", "tg-spoiler", "a", "tg-emoji",
        "code", "pre", "blockquote",
    }
)  # fmt: skip
_NAMED = ("lt", "gt", "amp", "quot")
LONGEST_DATA = 64
MOST_BUTTONS = 100


class BotRefused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status = status
        self.body: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
        if parameters:
            self.body["parameters"] = parameters


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file in a request."""

    filename: str
    data: bytes


def utf16_units(text: str) -> int:
    """Return the length of a text as Telegram counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def parameters_of(request: ReceivedRequest) -> dict[str, Any]:
    """Return the parameters of a request: JSON or a form, in which numbers and objects are texts too."""
    kind = request.headers.get("content-type", "")
    given: dict[str, Any] = {}
    if kind.startswith("multipart/form-data"):
        given = _form(kind, request.body)
    elif kind.startswith("application/x-www-form-urlencoded"):
        given = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    elif request.body:
        try:
            given = json.loads(request.body)
        except ValueError:
            raise BotRefused(400, "Bad Request: can't parse JSON object") from None
    return {name: _decoded(name, value) for name, value in {**request.query, **given}.items()}


def _form(kind: str, body: bytes) -> dict[str, Any]:
    parsed = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    found: dict[str, Any] = {}
    for part in parsed.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        filename = part.get_filename()
        found[name] = data.decode() if filename is None else UploadedFile(filename, data)
    return found


def _decoded(name: str, value: Any) -> Any:
    if name not in _JSON or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise BotRefused(400, f"Bad Request: can't parse {name} JSON object") from None


def shown_text(text: object, parse_mode: object, *, most: int, what: str = "message") -> str:
    """Return a text as a person sees it. Raises BotRefused for marks that are wrong, and by its length."""
    if text is None and what == "caption":
        return ""
    if not isinstance(text, str):
        raise BotRefused(400, f"Bad Request: {what} text is empty")
    if parse_mode not in (None, "", "HTML"):
        raise BotRefused(400, "Bad Request: unsupported parse_mode")
    shown = _without_tags(text) if parse_mode == "HTML" else text
    if what == "message" and not shown.strip():
        raise BotRefused(400, "Bad Request: message text is empty")
    if utf16_units(shown) > most:
        raise BotRefused(400, f"Bad Request: {what} is too long")
    return shown


def _without_tags(text: str) -> str:
    out, at, stack = [], 0, list[str]()
    for found in _TAG.finditer(text):
        out.append(_words(text[at : found.start()]))
        at = found.end()
        offset, name = len(text[: found.start()].encode()), found[1]
        if name is None or name not in _SHOWN:
            raise _unreadable(f'Unsupported start tag "{name or ""}" at byte offset {offset}')
        if found[0].startswith("</"):
            if not stack or stack.pop() != name:
                raise _unreadable(f"Unexpected end tag at byte offset {offset}")
            continue
        inside = next((each for each in stack if each in ("code", "pre")), None)
        if inside is not None and not (inside == "pre" and name == "code"):
            raise _unreadable(f"an entity within <{inside}> at byte offset {offset}")
        if name == "blockquote" and name in stack:
            raise _unreadable(f"a quotation within a quotation at byte offset {offset}")
        stack.append(name)
    if stack:
        raise _unreadable(f'Can\'t find end tag corresponding to start tag "{stack[-1]}"')
    out.append(_words(text[at:]))
    return "".join(out)


def _words(text: str) -> str:
    for name in re.findall(r"&([a-z]+);", text):
        if name not in _NAMED:
            raise _unreadable(f"the entity &{name}; is not supported")
    return unescape(text)


def _unreadable(why: str) -> BotRefused:
    return BotRefused(400, f"Bad Request: can't parse entities: {why}")


def check_keyboard(markup: object) -> None:
    """Raise BotRefused for a keyboard that Telegram does not take."""
    if markup is None:
        return
    if not isinstance(markup, Mapping):
        raise BotRefused(400, "Bad Request: object expected as reply markup")
    rows = markup.get("inline_keyboard", markup.get("keyboard"))
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise BotRefused(400, "Bad Request: object expected as reply markup")
    buttons = [button for row in rows for button in row]
    if len(buttons) > MOST_BUTTONS or any(len(row) > 8 for row in rows):
        raise BotRefused(400, "Bad Request: reply markup is too long")
    for button in buttons:
        if not isinstance(button, Mapping) or not button.get("text"):
            raise BotRefused(
                400, "Bad Request: can't parse inline keyboard button: Text buttons must be non-empty"
            )
        if "inline_keyboard" in markup:
            _check_inline(button)


def _check_inline(button: Mapping[str, Any]) -> None:
    kinds = set(button) - {"text", "style", "icon_custom_emoji_id"}
    if len(kinds) != 1:
        raise BotRefused(400, "Bad Request: text buttons are unallowed in the inline keyboard")
    if "callback_data" in button and not 1 <= len(str(button["callback_data"]).encode()) <= LONGEST_DATA:
        raise BotRefused(400, "Bad Request: BUTTON_DATA_INVALID")
    if "url" in button and not re.match(r"(https?|tg)://[^\s/]+", str(button["url"])):
        raise BotRefused(400, "Bad Request: BUTTON_URL_INVALID")
