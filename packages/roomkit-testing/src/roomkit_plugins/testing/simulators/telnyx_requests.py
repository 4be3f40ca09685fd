"""What Telnyx's API refuses.

https://developers.telnyx.com/api-reference/messages/send-a-message, .../rcs/send-an-rcs-message (Nov 2026).
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Mapping, Sequence
from typing import Any

from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.http import ReceivedRequest

__all__ = ["TelnyxRefusedError", "checked_agent_message", "checked_message", "telnyx_failure"]

type Document = Mapping[str, Any]

_KNOWN = frozenset(
    {
        "to", "from", "text", "media_urls", "subject", "messaging_profile_id", "type", "webhook_url",
        "webhook_failover_url", "use_profile_webhooks", "auto_detect", "encoding", "send_at",
    }
)  # fmt: skip
_KNOWN_OF_AGENT = frozenset(
    {
        "agent_id", "to", "messaging_profile_id", "agent_message", "type", "webhook_url", "sms_fallback",
        "mms_fallback",
    }
)  # fmt: skip
_KNOWN_CONTENT = frozenset({"text", "content_info", "rich_card", "suggestions"})
_ACTIONS = frozenset(
    {
        "open_url_action", "dial_action", "view_location_action", "share_location_action",
        "create_calendar_event_action",
    }
)  # fmt: skip
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_URL = re.compile(r"https?://[^\s/]+\S*")
_LONGEST = 3072


class TelnyxRefusedError(Exception):
    """A request that the vendor refuses; `failure` is its answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.body))
        self.failure = failure


_SIGNALS = [{"event": {"event_type": kind}} for kind in ("IS_TYPING", "READ")]


def telnyx_failure(
    status: int, code: str, title: str, *, pointer: str = "", headers: Mapping[str, str] | None = None
) -> Failure:
    """Return an error as Telnyx reports it."""
    error: dict[str, Any] = {"code": code, "title": title, "detail": title}
    if pointer:
        error["source"] = {"pointer": pointer}
    return Failure(status, {"errors": [error]}, headers or {})


def checked_message(request: ReceivedRequest, numbers: Sequence[str], profiles: Sequence[str]) -> Document:
    """Return a request for an SMS or MMS. Raises TelnyxRefusedError where the vendor refuses."""
    said = _document(request, _KNOWN)
    _check_number(said, "to", "40310", "Invalid 'to' address")
    sender, profile = said.get("from"), said.get("messaging_profile_id")
    if sender is None and profile is None:
        raise _refused("40313", "Missing messaging profile ID", "/messaging_profile_id")
    if sender is not None and sender not in numbers:
        raise _refused("40305", "Invalid 'from' address", "/from")
    if profile is not None and profile not in profiles:
        raise _refused("40311", "Invalid messaging profile", "/messaging_profile_id")
    text, urls = said.get("text", ""), said.get("media_urls", [])
    if not isinstance(text, str) or not isinstance(urls, list) or not (text.strip() or urls):
        raise _refused("40316", "No content provided", "/text")
    if len(text) > _LONGEST:
        raise _refused("40302", "Message too large", "/text")
    if not all(isinstance(url, str) and _URL.fullmatch(url) for url in urls):
        raise _refused("40317", "Invalid MMS content", "/media_urls")
    if said.get("type", "MMS" if urls else "SMS") != ("MMS" if urls else "SMS"):
        raise _refused("40301", "Unsupported message type", "/type")
    _check_urls(said, "webhook_url", "webhook_failover_url")
    return said


def checked_agent_message(
    request: ReceivedRequest, agents: Sequence[str], profiles: Sequence[str]
) -> Document:
    """Return a request for an RCS message. Raises TelnyxRefusedError where the vendor refuses."""
    said = _document(request, _KNOWN_OF_AGENT)
    for name in ("agent_id", "to", "messaging_profile_id", "agent_message"):
        if name not in said:
            raise _refused("10004", "Missing required parameter", f"/{name}")
    _check_number(said, "to", "40310", "Invalid 'to' address")
    if said["agent_id"] not in agents:
        raise _refused("10005", "Resource not found", "/agent_id")
    if said["messaging_profile_id"] not in profiles:
        raise _refused("40311", "Invalid messaging profile", "/messaging_profile_id")
    if said.get("type", "RCS") != "RCS":
        raise _refused("40301", "Unsupported message type", "/type")
    _check_urls(said, "webhook_url")
    if "event" not in said["agent_message"]:
        _check_content(said["agent_message"])
    elif said["agent_message"] not in _SIGNALS:
        raise _bad("agent_message/event")
    fallback = said.get("sms_fallback")
    if fallback is not None and not (
        set(fallback) == {"from", "text"} and 0 < len(fallback["text"]) <= _LONGEST
    ):
        raise _refused("10015", "Bad Request", "/sms_fallback")
    return said


def _document(request: ReceivedRequest, known: frozenset[str]) -> Document:
    if request.headers.get("content-type") != "application/json":
        raise TelnyxRefusedError(telnyx_failure(415, "10014", "Unsupported Media Type"))
    try:
        said = request.json()
    except ValueError:
        raise _refused("10023", "Invalid JSON", "") from None
    if not isinstance(said, dict):
        raise _refused("10015", "Bad Request", "")
    for name in said:
        if name not in known:
            raise _refused("10015", "Bad Request: unknown parameter", f"/{name}")
    return said


def _check_number(said: Document, name: str, code: str, title: str) -> None:
    if not isinstance(said.get(name), str) or not _NUMBER.fullmatch(said[name]):
        raise _refused(code, title, f"/{name}")


def _check_urls(said: Document, *names: str) -> None:
    for name in names:
        if name in said and not _URL.fullmatch(said[name]):
            raise _refused("10003", "Invalid URL", f"/{name}")


# -- RCS ----------------------------------------------------------------------------------------


def _check_content(message: Document) -> None:
    content = message.get("content_message")
    if set(message) != {"content_message"} or not isinstance(content, dict):
        raise _bad("agent_message")
    if set(content) - _KNOWN_CONTENT or len(set(content) - {"suggestions"}) != 1:
        raise _bad("agent_message/content_message")
    text = content.get("text")
    if text is not None and not 0 < len(text) <= _LONGEST:
        raise _bad("agent_message/content_message/text")
    if "content_info" in content:
        _check_file(content["content_info"])
    if "rich_card" in content:
        _check_rich_card(content["rich_card"])
    _check_suggestions(content.get("suggestions", []), 11)


def _check_rich_card(card: Document) -> None:
    match card:
        case {"standalone_card": {"card_orientation": "HORIZONTAL" | "VERTICAL", "card_content": one}}:
            _check_card(one)
        case {"carousel_card": {"card_width": "SMALL" | "MEDIUM", "card_contents": several}}:
            if not 2 <= len(several) <= 10:
                raise _bad("carousel_card/card_contents")
            for each in several:
                _check_card(each)
        case _:
            raise _bad("rich_card")


def _check_card(card: Document) -> None:
    if set(card) - {"title", "description", "media", "suggestions"} or not set(card) - {"suggestions"}:
        raise _bad("card_content")
    if len(card.get("title", "")) > 200 or len(card.get("description", "")) > 2000:
        raise _bad("card_content/title")
    if "media" in card:
        if card["media"].get("height") not in ("SHORT", "MEDIUM", "TALL"):
            raise _bad("card_content/media/height")
        _check_file(card["media"]["content_info"])
    _check_suggestions(card.get("suggestions", []), 4)


def _check_file(info: Document) -> None:
    if not _URL.fullmatch(info.get("file_url", "")):
        raise _bad("content_info/file_url")


def _check_suggestions(suggestions: Sequence[Document], most: int) -> None:
    if len(suggestions) > most:
        raise _bad("suggestions")
    for each in suggestions:
        (kind,) = each or {"": {}}
        said = each.get(kind, {})
        if kind not in ("reply", "action") or not 0 < len(said.get("text", "")) <= 25:
            raise _bad("suggestions/text")
        if kind == "action" and len(set(said) & _ACTIONS) != 1:
            raise _bad("suggestions/action")
        try:
            b64decode(said["postback_data"], validate=True)
        except (Error, ValueError, KeyError):
            raise _bad("suggestions/postback_data") from None
        if len(said["postback_data"]) > 2048:
            raise _bad("suggestions/postback_data")


def _bad(pointer: str) -> TelnyxRefusedError:
    return _refused("10015", "Bad Request", f"/{pointer}")


def _refused(code: str, title: str, pointer: str) -> TelnyxRefusedError:
    return TelnyxRefusedError(telnyx_failure(400, code, title, pointer=pointer))
