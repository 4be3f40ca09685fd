"""What the kinds of WhatsApp's inbound messages say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    CustomContent,
    EventContent,
    LocationContent,
    MediaContent,
    TextContent,
    VideoContent,
)
from roomkit_plugins.wire.reading import json_value

__all__ = ["CONTENTS", "MessagePart", "unsupported"]

_UNKNOWN_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class MessagePart:
    """The part of a message that is of its type (of contacts, the message), and where files are asked for."""

    said: VendorPayload
    media_url: str
    phone_number_id: str

    def file_url(self) -> str:
        """Return the URL that names a file by its id: it answers where the file is, for five minutes."""
        identity = quote(self.said.needed("id"), safe="")
        return f"{self.media_url}/{identity}?phone_number_id={self.phone_number_id}"


def _text(part: MessagePart) -> EventContent:
    return TextContent(body=part.said.text("body"))


def _file(part: MessagePart) -> EventContent:
    said = part.said
    return MediaContent(
        url=part.file_url(),
        mime_type=said.text("mime_type") or _UNKNOWN_TYPE,
        filename=said.text("filename") or None,
        caption=said.text("caption") or None,
    )


def _audio(part: MessagePart) -> EventContent:
    return AudioContent(url=part.file_url(), mime_type=part.said.text("mime_type") or "audio/ogg")


def _video(part: MessagePart) -> EventContent:
    film = VideoContent(url=part.file_url(), mime_type=part.said.text("mime_type") or "video/mp4")
    caption = part.said.text("caption")
    return CompositeContent(parts=(TextContent(body=caption), film)) if caption else film


def _location(part: MessagePart) -> EventContent:
    said = part.said
    return LocationContent(
        latitude=said.number("latitude"),
        longitude=said.number("longitude"),
        label=said.text("name") or None,
        address=said.text("address") or None,
    )


def _interactive(part: MessagePart) -> EventContent:
    kind = part.said.text("type")
    if kind == "nfm_reply":
        return _flow_reply(part.said.inside(kind))
    return unsupported(f"interactive {kind}".strip(), part.said)


def _flow_reply(said: VendorPayload) -> EventContent:
    """Return a flow's answers: an address, an order of fields, whatever the flow asked."""
    answers = said.text("response_json")
    try:
        read: Any = json_value(answers, strict=True) if answers else {}
    except ValueError:
        raise said.wrong("response_json", "JSON") from None
    data = {"name": said.text("name"), "response": read}
    return CustomContent(kind="whatsapp.flow_reply", body=said.text("body") or "Sent", data=data)


def _contacts(part: MessagePart) -> EventContent:
    """Each person is a line: the name, and the numbers."""
    people = part.said.several("contacts")
    lines = [_contact_in_words(each) for each in people]
    data = {"contacts": [dict(each.raw) for each in people]}
    return CustomContent(kind="whatsapp.contacts", body="\n".join(lines), data=data)


def _contact_in_words(said: VendorPayload) -> str:
    numbers = [each.text("phone") or each.text("wa_id") for each in said.several("phones")]
    name = said.inside("name").text("formatted_name")
    return f"{name}: {', '.join(numbers)}" if name and numbers else name or ", ".join(numbers)


def _order(part: MessagePart) -> EventContent:
    """Each item is a line; the catalogue's ids and prices are in the data."""
    said = part.said
    lines = [said.text("text")] if said.text("text") else []
    for item in said.several("product_items"):
        price = (
            f" at {item.raw['item_price']} {item.text('currency')}".rstrip() if "item_price" in item else ""
        )
        lines.append(f"{item.text('quantity') or '1'} x {item.text('product_retailer_id')}{price}")
    return CustomContent(kind="whatsapp.order", body="\n".join(lines), data=dict(said.raw))


def _welcome(part: MessagePart) -> EventContent:
    return CustomContent(kind="whatsapp.request_welcome", body="opened the conversation")


def unsupported(kind: str, item: VendorPayload, why: str = "") -> EventContent:
    """Return what stands for a message that the API does not carry, or that cannot be read; never nothing."""
    errors = item.raw.get("errors")
    error = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], Mapping) else {}
    reason = why or str(error.get("title") or error.get("message") or "")
    data = {"type": kind, **({"reason": reason} if reason else {})}
    return CustomContent(
        kind="whatsapp.unsupported", body=f"[Unsupported message: {kind or 'unknown'}]", data=data
    )


type _Read = Callable[[MessagePart], EventContent]
CONTENTS: Mapping[str, _Read] = {
    "text": _text,
    "image": _file,
    "document": _file,
    "sticker": _file,
    "audio": _audio,
    "video": _video,
    "location": _location,
    "interactive": _interactive,
    "contacts": _contacts,
    "order": _order,
    "request_welcome": _welcome,
}
