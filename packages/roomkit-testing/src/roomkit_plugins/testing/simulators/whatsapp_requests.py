"""What WhatsApp's Cloud API takes and refuses.

https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages,
.../support/error-codes (July 2026).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from email import message_from_bytes
from email.message import Message
from typing import Any

from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.http import ReceivedRequest

__all__ = ["WhatsAppRefusedError", "checked_message", "checked_upload", "graph_failure"]

type Document = Mapping[str, Any]

_KNOWN = frozenset(
    {
        "messaging_product", "recipient_type", "to", "recipient", "type", "context",
        "biz_opaque_callback_data", "text", "image", "video", "audio", "document", "sticker", "location",
        "contacts", "interactive", "template", "reaction",
    }
)  # fmt: skip
_NUMBER = re.compile(r"\+?[1-9][0-9]{6,14}")
_USER_ID = re.compile(r"[A-Z]{2}\.[0-9A-Za-z]{1,128}")
_URL = re.compile(r"https?://[^\s/]+\S*")
_FILES = frozenset({"image", "video", "audio", "document", "sticker"})
_UPLOADS = {
    "image/jpeg": 5, "image/png": 5, "image/webp": 1, "video/mp4": 16, "video/3gpp": 16, "audio/aac": 16,
    "audio/amr": 16, "audio/mpeg": 16, "audio/mp4": 16, "audio/ogg": 16,
}  # fmt: skip
"""Megabytes of the types that have a limit of their own; any other is a document of 100."""


class WhatsAppRefusedError(Exception):
    """A request that the API refuses; `failure` is its answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.body))
        self.failure = failure


def graph_failure(
    status: int,
    code: int,
    message: str,
    *,
    details: str = "",
    subcode: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Failure:
    """Return an error as the Graph API reports it."""
    error: dict[str, Any] = {
        "message": f"(#{code}) {message}",
        "type": "OAuthException",
        "code": code,
        "fbtrace_id": "AbCdEfGhIjK",
    }
    if details:
        error["error_data"] = {"messaging_product": "whatsapp", "details": details}
    if subcode is not None:
        error["error_subcode"] = subcode
    return Failure(status, {"error": error}, headers or {})


def checked_message(request: ReceivedRequest, uploads: Mapping[str, str]) -> Document:
    """Return a request to send a message. Raises WhatsAppRefusedError where the API refuses.

    `uploads` are the ids of files that it keeps, with their types.
    """
    said = _document(request)
    if said.get("messaging_product") != "whatsapp":
        raise _refused(100, "The parameter messaging_product is required.")
    unknown = next((name for name in said if name not in _KNOWN), None)
    if unknown is not None:
        raise _refused(100, f'Unexpected key "{unknown}" on param "$".')
    _check_recipient(said)
    kind = said.get("type", "text")
    check = _CHECKS.get(kind)
    if check is None:
        raise _refused(131009, f"type must be one of {sorted(_CHECKS)}")
    given = {name for name in said if name in _CHECKS}
    if given != {kind}:
        raise _refused(131008, f"Required parameter is missing: {kind}, and none of another type")
    check(said[kind], uploads)
    if len(said.get("biz_opaque_callback_data", "")) > 512:
        raise _refused(100, "biz_opaque_callback_data must be at most 512 characters")
    context = said.get("context", {"message_id": "wamid.x"})
    if set(context) != {"message_id"} or not str(context["message_id"]).startswith("wamid."):
        raise _refused(131009, "context.message_id is not a WhatsApp message ID")
    return said


def _document(request: ReceivedRequest) -> dict[str, Any]:
    if request.headers.get("content-type") != "application/json":
        raise _refused(100, "Invalid parameter: the body is not JSON")
    try:
        said = request.json()
    except ValueError:
        raise _refused(100, "Invalid parameter: the body is not JSON") from None
    if not isinstance(said, dict):
        raise _refused(100, "Invalid parameter: the body is not an object")
    return said


def _check_recipient(said: Document) -> None:
    to, user_id = said.get("to"), said.get("recipient")
    if (to is None) == (user_id is None):
        raise _refused(131008, "Required parameter is missing: to, or recipient")
    kind = said.get("recipient_type", "individual")
    if kind not in ("individual", "group"):
        raise _refused(131009, "recipient_type must be individual or group")
    if user_id is not None and not _USER_ID.fullmatch(str(user_id)):
        raise _refused(131009, "recipient is not a business-scoped user ID")
    if to is not None and kind == "individual" and not _NUMBER.fullmatch(str(to)):
        raise _refused(131009, "to is not a valid phone number")


# -- types --------------------------------------------------------------------------------------


def _text(said: Document, uploads: Mapping[str, str]) -> None:
    _only(said, "body", "preview_url")
    _check_length(said.get("body"), 4096, "text.body")


def _file(kind: str) -> Callable[[Document, Mapping[str, str]], None]:
    captions = {"caption"} if kind in ("image", "video", "document") else set()
    named = {"filename"} if kind == "document" else {"voice"} if kind == "audio" else set()

    def check(said: Document, uploads: Mapping[str, str]) -> None:
        _only(said, "id", "link", *captions, *named)
        if ("id" in said) == ("link" in said):
            raise _refused(131008, f"Required parameter is missing: {kind}.id or {kind}.link")
        if "id" in said and said["id"] not in uploads:
            raise WhatsAppRefusedError(
                graph_failure(400, 100, f"Media {said['id']} does not exist", subcode=33)
            )
        if "link" in said and not _URL.fullmatch(str(said["link"])):
            raise _refused(131009, f"{kind}.link is not a valid URL")
        if "caption" in said:
            _check_length(said["caption"], 1024, f"{kind}.caption")
        if "id" in said and not _is_for(kind, uploads[said["id"]]):
            raise _refused(131053, f"{uploads[said['id']]} is not a type of {kind}")

    return check


def _is_for(kind: str, mime_type: str) -> bool:
    if kind == "document":
        return True
    if kind == "sticker" or mime_type == "image/webp":
        return kind == "sticker" and mime_type == "image/webp"
    return mime_type in _UPLOADS and mime_type.startswith(kind)


def _location(said: Document, uploads: Mapping[str, str]) -> None:
    _only(said, "latitude", "longitude", "name", "address")
    for name, most in (("latitude", 90), ("longitude", 180)):
        if not isinstance(said.get(name), int | float) or abs(said[name]) > most:
            raise _refused(131008, f"Required parameter is missing: location.{name}")


def _contacts(said: Sequence[Document], uploads: Mapping[str, str]) -> None:
    if not said or not all(each.get("name", {}).get("formatted_name") for each in said):
        raise _refused(131008, "Required parameter is missing: contacts.name.formatted_name")


def _reaction(said: Document, uploads: Mapping[str, str]) -> None:
    _only(said, "message_id", "emoji")
    if not str(said.get("message_id", "")).startswith("wamid."):
        raise _refused(131009, "reaction.message_id is not a WhatsApp message ID")
    emoji = said.get("emoji")
    if not isinstance(emoji, str) or len(emoji) > 10 or (emoji and emoji.isascii()):
        raise _refused(131009, "reaction.emoji is not an emoji")


def _template(said: Document, uploads: Mapping[str, str]) -> None:
    _only(said, "name", "language", "components")
    if not re.fullmatch(r"[a-z0-9_]{1,512}", str(said.get("name", ""))):
        raise _refused(131008, "Required parameter is missing: template.name")
    if not isinstance(said.get("language", {}).get("code"), str):
        raise _refused(131008, "Required parameter is missing: template.language.code")
    for component in said.get("components", []):
        _check_component(component)


def _check_component(component: Document) -> None:
    kind = component.get("type")
    if kind not in ("header", "body", "button") or not component.get("parameters"):
        raise _refused(131009, "template.components has a component without parameters")
    if (kind == "button") != ("sub_type" in component and "index" in component):
        raise _refused(131009, "template.components has a button without sub_type and index")
    for parameter in component["parameters"]:
        value = parameter.get(parameter.get("type"))
        if value is None or (parameter["type"] == "text" and not 0 < len(value) <= 1024):
            raise _refused(132012, "Template parameter format does not match")


def _interactive(said: Document, uploads: Mapping[str, str]) -> None:
    _only(said, "type", "header", "body", "footer", "action")
    check = _ACTIONS.get(said.get("type", ""))
    if check is None:
        raise _refused(131009, f"interactive.type must be one of {sorted(_ACTIONS)}")
    _check_length(said.get("body", {}).get("text"), 1024, "interactive.body.text")
    if "footer" in said:
        _check_length(said["footer"].get("text"), 60, "interactive.footer.text")
    check(said.get("action") or {})


def _buttons(action: Document) -> None:
    buttons = action.get("buttons", [])
    if not 1 <= len(buttons) <= 3:
        raise _refused(131009, "Invalid buttons count. Min allowed buttons: 1, Max allowed buttons: 3")
    for button in buttons:
        if button.get("type") != "reply":
            raise _refused(131009, "interactive.action.buttons.type must be reply")
        _check_length(button.get("reply", {}).get("title"), 20, "button title")
        _check_length(button.get("reply", {}).get("id"), 256, "button id")
    _check_unique([each["reply"] for each in buttons])


def _list(action: Document) -> None:
    _check_length(action.get("button"), 20, "interactive.action.button")
    sections = action.get("sections", [])
    rows = [row for section in sections for row in section.get("rows", [])]
    if not 1 <= len(sections) <= 10 or not 1 <= len(rows) <= 10:
        raise _refused(131009, "Total row count exceed max allowed count: 10")
    for row in rows:
        _check_length(row.get("title"), 24, "row title")
        _check_length(row.get("id"), 200, "row id")
        if "description" in row:
            _check_length(row["description"], 72, "row description")
    _check_unique(rows)


def _link(action: Document) -> None:
    parameters = action.get("parameters", {})
    if action.get("name") != "cta_url" or set(parameters) != {"display_text", "url"}:
        raise _refused(131009, "interactive.action is not one of cta_url")
    _check_length(parameters["display_text"], 20, "display_text")
    if not _URL.fullmatch(parameters["url"]):
        raise _refused(131009, "interactive.action.parameters.url is not a valid URL")


def _location_request(action: Document) -> None:
    if action != {"name": "send_location"}:
        raise _refused(131009, "interactive.action.name must be send_location")


def _flow(action: Document) -> None:
    if action.get("name") != "flow" or "flow_message_version" not in action.get("parameters", {}):
        raise _refused(131009, "interactive.action is not one of a flow")


_ACTIONS: Mapping[str, Callable[[Document], None]] = {
    "button": _buttons,
    "list": _list,
    "cta_url": _link,
    "location_request_message": _location_request,
    "flow": _flow,
}
_CHECKS: Mapping[str, Callable[[Any, Mapping[str, str]], None]] = {
    "text": _text,
    **{kind: _file(kind) for kind in _FILES},
    "location": _location,
    "contacts": _contacts,
    "interactive": _interactive,
    "template": _template,
    "reaction": _reaction,
}


# -- uploads ------------------------------------------------------------------------------------


def checked_upload(request: ReceivedRequest) -> tuple[str, bytes]:
    """Return the type and the bytes of a file that is uploaded. Raises WhatsAppRefusedError."""
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    form = message_from_bytes(head + request.body)
    parts = {str(part.get_param("name", header="content-disposition")): part for part in form.walk()}
    if _field(parts, "messaging_product") != b"whatsapp" or "file" not in parts:
        raise _refused(100, "The parameters messaging_product and file are required.")
    kind, data = _field(parts, "type").decode(), _field(parts, "file")
    if parts["file"].get_content_type() != kind:
        raise _refused(131053, f"the file is of {parts['file'].get_content_type()}, not {kind}")
    if not data or len(data) > _UPLOADS.get(kind, 100) * 1_000_000:
        raise _refused(131053, f"a file of {kind} has at most {_UPLOADS.get(kind, 100)} MB")
    return kind, data


def _field(parts: Mapping[str, Message], name: str) -> bytes:
    data = parts[name].get_payload(decode=True) if name in parts else b""
    return data if isinstance(data, bytes) else b""


# -- checks -------------------------------------------------------------------------------------


def _only(said: Document, *names: str) -> None:
    unknown = next((name for name in said if name not in names), None)
    if unknown is not None:
        raise _refused(100, f'Unexpected key "{unknown}"')


def _check_length(value: object, most: int, name: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise _refused(131008, f"Required parameter is missing: {name}")
    if len(value) > most:
        raise _refused(131009, f"{name} length invalid. Min length: 1, Max length: {most}")


def _check_unique(options: Sequence[Document]) -> None:
    for name in ("id", "title"):
        values = [option[name] for option in options]
        if len(set(values)) < len(values):
            raise _refused(131009, f"Duplicated {name} in interactive.action")


def _refused(code: int, details: str) -> WhatsAppRefusedError:
    titles = {100: "Invalid parameter", 131008: "Required parameter is missing"}
    title = titles.get(code, "Parameter value is not valid")
    return WhatsAppRefusedError(graph_failure(400, code, title, details=details))
