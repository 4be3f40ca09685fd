"""What Messenger's Send API takes and refuses.

https://developers.facebook.com/documentation/business-messaging/messenger-platform/send-messages (May 2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.whatsapp_requests import graph_failure

__all__ = ["GraphRefusedError", "checked_action", "checked_message"]

type Document = Mapping[str, Any]

_PSID = re.compile(r"[0-9]{5,30}")
_URL = re.compile(r"https?://[^\s/]+\S*")
_ACTIONS = frozenset({"typing_on", "typing_off", "mark_seen", "react", "unreact"})
_KINDS = frozenset({"image", "audio", "video", "file", "template"})


class GraphRefusedError(Exception):
    """A request that the API refuses; `failure` is its answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.body))
        self.failure = failure


def checked_action(said: Document) -> Document:
    """Return a request to show something. Raises GraphRefusedError where the API refuses."""
    _only(said, "recipient", "sender_action", "payload")
    _check_recipient(said)
    if said["sender_action"] not in _ACTIONS:
        raise _refused("Param sender_action must be one of " + ", ".join(sorted(_ACTIONS)))
    reacts = said["sender_action"] in ("react", "unreact")
    payload = said.get("payload", {})
    if reacts != bool(str(payload.get("message_id", "")).startswith("m_")):
        raise _refused("Param payload[message_id] must be a message ID")
    if (said["sender_action"] == "react") != bool(payload.get("reaction")):
        raise _refused("Param payload[reaction] must be an emoji")
    return said


def checked_message(said: Document, uploads: Mapping[str, str]) -> Document:
    """Return a request to send a message. Raises GraphRefusedError where the API refuses.

    `uploads` are the ids of files that it keeps, with their kinds.
    """
    _only(said, "recipient", "messaging_type", "tag", "message", "reply_to", "notification_type")
    _check_recipient(said)
    kind = said.get("messaging_type")
    if kind not in ("RESPONSE", "UPDATE", "MESSAGE_TAG", "UTILITY"):
        raise _refused("Param messaging_type is required")
    if (kind == "MESSAGE_TAG") != ("tag" in said):
        raise _refused("Param tag goes with messaging_type MESSAGE_TAG")
    if "reply_to" in said and not str(said["reply_to"].get("mid", "")).startswith("m_"):
        raise _refused("Param reply_to[mid] must be a message ID")
    message = said.get("message") or {}
    _only(message, "text", "attachment", "quick_replies", "template")
    bodies = [name for name in ("text", "attachment", "template") if name in message]
    if len(bodies) != 1 or ("template" in message) != (kind == "UTILITY"):
        raise _refused("Param message must have one of text, attachment and template")
    if "text" in message:
        _check_length(message["text"], 2000, "message[text]")
    if "attachment" in message:
        _check_attachment(message["attachment"], uploads)
    _check_replies(message)
    return said


def _check_recipient(said: Document) -> None:
    if not _PSID.fullmatch(str(said.get("recipient", {}).get("id", ""))):
        raise GraphRefusedError(graph_failure(400, 100, "No matching user found", subcode=2018001))


def _check_replies(message: Document) -> None:
    replies = message.get("quick_replies", ())
    if "quick_replies" in message and not 1 <= len(replies) <= 13:
        raise _refused("Param message[quick_replies] has 1 to 13 items")
    for each in replies:
        if each.get("content_type") != "text":
            raise _refused("Param message[quick_replies][content_type] must be text")
        _check_length(each.get("title"), 20, "title")
        _check_length(each.get("payload"), 1000, "payload")


def _check_attachment(attachment: Document, uploads: Mapping[str, str]) -> None:
    kind, payload = attachment.get("type"), attachment.get("payload") or {}
    if kind not in _KINDS:
        raise _refused("Param attachment[type] must be one of " + ", ".join(sorted(_KINDS)))
    if kind == "template":
        _check_template(payload)
        return
    _only(payload, "url", "is_reusable", "attachment_id")
    if ("url" in payload) == ("attachment_id" in payload):
        raise _refused("Param attachment[payload] must have url or attachment_id")
    if "url" in payload and not _URL.fullmatch(str(payload["url"])):
        raise GraphRefusedError(graph_failure(400, 100, "Failed to fetch the file", subcode=2018008))
    if "attachment_id" in payload and uploads.get(payload["attachment_id"]) != kind:
        raise GraphRefusedError(graph_failure(400, 100, "Invalid attachment id", subcode=2018074))


def _check_template(payload: Document) -> None:
    match payload.get("template_type"):
        case "button":
            _check_length(payload.get("text"), 640, "text")
            _check_buttons(payload.get("buttons", ()))
        case "generic":
            elements = payload.get("elements", ())
            if not 1 <= len(elements) <= 10:
                raise _refused("Param elements has 1 to 10 items")
            for each in elements:
                _check_element(each)
        case "media" | "receipt" | "coupon":
            pass
        case _:
            raise _refused("Param template_type is not known")


def _check_element(element: Document) -> None:
    _only(element, "title", "subtitle", "image_url", "default_action", "buttons")
    _check_length(element.get("title"), 80, "title")
    if "subtitle" in element:
        _check_length(element["subtitle"], 80, "subtitle")
    if set(element) == {"title"}:
        raise _refused("Param elements needs more than a title")
    if "buttons" in element:
        _check_buttons(element["buttons"])


def _check_buttons(buttons: Any) -> None:
    if not 1 <= len(buttons) <= 3:
        raise _refused("Param buttons has 1 to 3 items")
    for each in buttons:
        needed = {"postback": "payload", "web_url": "url", "phone_number": "payload"}.get(
            each.get("type"), ""
        )
        if set(each) != {"type", "title", needed}:
            raise _refused("Param buttons has an item of another form")
        _check_length(each["title"], 20, "title")
        _check_length(each[needed], 1000, needed)
        if each["type"] == "phone_number" and not re.fullmatch(r"\+[0-9]+", each["payload"]):
            raise _refused("Param buttons[payload] must be a phone number")


def _only(said: Document, *names: str) -> None:
    unknown = next((name for name in said if name not in names), None)
    if unknown is not None:
        raise _refused(f'Unexpected key "{unknown}"')


def _check_length(value: object, most: int, name: str) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise _refused(f"Length of param {name} must be from 1 to {most}")


def _refused(said: str) -> GraphRefusedError:
    return GraphRefusedError(graph_failure(400, 100, said))
