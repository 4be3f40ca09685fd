"""Templates with their parameters.

https://developers.facebook.com/documentation/business-messaging/whatsapp/messages (July 2026): template
messages.

The names of `TemplateContent.parameters` say where a value goes: `1`, `2` ... and other plain names are the
body's, by position or by name; `header.1` or `header.name` the text of the header; `header.image`,
`header.video` and `header.document` the URL of its file, `header.filename` the document's name;
`button.0` the end of the URL of the first button, `button.0.payload` what a quick reply returns,
`button.0.code` the code of a copy button, `button.0.flow` the token of a flow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from roomkit.models.content import TemplateContent
from roomkit_plugins.whatsapp.errors import ORIGIN
from roomkit_plugins.wire.plain_message import file_url

__all__ = ["template_message"]

type Document = dict[str, Any]

_FILES = frozenset({"image", "video", "document"})
_BUTTON = re.compile(r"([0-9])(?:\.(payload|code|flow))?")


def template_message(content: TemplateContent) -> Document:
    """Return the message of an approved template. Raises ProviderError for parameters without a place."""
    header, buttons, body = _sorted_out(content.parameters)
    components = [*_header(header), *_body(body), *(_button(name, buttons[name]) for name in sorted(buttons))]
    template: Document = {
        "name": content.template_id,
        "language": {"code": content.language.replace("-", "_")},
        **({"components": components} if components else {}),
    }
    return {"type": "template", "template": template}


def _sorted_out(given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return the parameters of the header, of the buttons, and of the body."""
    header: dict[str, str] = {}
    buttons: dict[str, str] = {}
    body: dict[str, str] = {}
    for name, value in given.items():
        component, dot, rest = name.partition(".")
        place = {"header": header, "button": buttons}.get(component) if dot else body
        if place is None or (place is not body and not rest):
            raise _wrong(name, "name a component that a template has: header, button, or none for the body")
        place[rest if dot else name] = value
    return header, buttons, body


def _body(given: Mapping[str, str]) -> list[Document]:
    return [{"type": "body", "parameters": _texts(given, "")}] if given else []


def _header(given: Mapping[str, str]) -> list[Document]:
    if not given:
        return []
    kind = next((name for name in given if name in _FILES), None)
    if kind is None:
        return [{"type": "header", "parameters": _texts(given, "header.")}]
    extra = next((name for name in given if name != kind and name != "filename"), None)
    if extra is not None or ("filename" in given and kind != "document"):
        raise _wrong(f"header.{extra or 'filename'}", f"a header with {kind} has no other parameter")
    named = {"filename": given["filename"]} if "filename" in given else {}
    file = {"link": file_url(given[kind], ORIGIN), **named}
    return [{"type": "header", "parameters": [{"type": kind, kind: file}]}]


def _texts(given: Mapping[str, str], prefix: str) -> list[Document]:
    """Return texts by position if their names are numbers, from 1 on without a gap, else by name."""
    positions = sorted(int(name) for name in given if name.isascii() and name.isdigit())
    if not positions:
        return [{"type": "text", "parameter_name": name, "text": text} for name, text in given.items()]
    wrong = next((name for name in given if not (name.isascii() and name.isdigit())), None)
    if wrong is not None:
        raise _wrong(prefix + wrong, "a template has parameters by position or by name, not both")
    if positions != list(range(1, len(positions) + 1)):
        raise _wrong(f"{prefix}{positions[-1]}", "positions begin with 1 and leave none out")
    return [{"type": "text", "text": given[str(position)]} for position in positions]


def _parameter(value: str, kind: str, name: str) -> Document:
    return {"type": kind, name: value}


_BUTTONS: Mapping[str | None, tuple[str, Callable[[str], Document]]] = {
    None: ("url", partial(_parameter, kind="text", name="text")),
    "payload": ("quick_reply", partial(_parameter, kind="payload", name="payload")),
    "code": ("copy_code", partial(_parameter, kind="coupon_code", name="coupon_code")),
    "flow": ("flow", lambda token: {"type": "action", "action": {"flow_token": token}}),
}


def _button(name: str, value: str) -> Document:
    found = _BUTTON.fullmatch(name)
    if found is None:
        raise _wrong(f"button.{name}", "write button.0, button.0.payload, button.0.code or button.0.flow")
    kind, parameter = _BUTTONS[found[2]]
    return {"type": "button", "sub_type": kind, "index": found[1], "parameters": [parameter(value)]}


def _wrong(name: str, why: str) -> Exception:
    return ORIGIN.refused(f"the template's parameter {name!r} has no place: {why}")
