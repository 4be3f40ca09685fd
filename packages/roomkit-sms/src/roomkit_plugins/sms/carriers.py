"""The webhooks of the carriers: pure functions from a payload to the fields of a `WebhookMeta`.

Twilio: https://www.twilio.com/docs/messaging/guides/webhook-request; Telnyx:
https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks; Sinch:
https://developers.sinch.com/docs/sms/api-reference (Nov 2026). VoiceMeUp documents none.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Mapping
from typing import Any

from roomkit.authoring.addresses import international
from roomkit.authoring.payload import VendorPayload
from roomkit.models.enums import ConsentState

__all__ = ["CARRIERS"]

type Found = Mapping[str, Any]
"""Fields of a `WebhookMeta`, which checks them."""

_CONSENT = {"STOP": ConsentState.REVOKED, "START": ConsentState.GRANTED}
_UNKNOWN_TYPE = "application/octet-stream"


# -- Twilio ---------------------------------------------------------------------------------------


def _twilio(form: VendorPayload) -> Found:
    word = form.text("MessageStatus") or form.text("SmsStatus")
    base = {
        "sender": form.text("From").removeprefix("rcs:"),
        "recipient": form.text("To").removeprefix("rcs:"),
        "external_id": form.text("MessageSid") or form.needed("SmsSid"),
    }
    if word not in ("", "received", "receiving"):
        status = "read" if form.text("EventType") == "READ" else word
        return {**base, **_receipt(status), "error_code": form.text("ErrorCode") or None}
    if "Body" not in form and "NumMedia" not in form:
        raise form.wrong("Body", "there, nor is MessageStatus")
    count = form.text("NumMedia") or "0"
    if not (count.isascii() and count.isdigit() and len(count) <= 2):
        raise form.wrong("NumMedia", "a number")
    return {
        **base,
        **_message(form.text("Body"), _CONSENT.get(form.text("OptOutType"))),
        "media_urls": [
            _file(form.needed(f"MediaUrl{at}"), form.text(f"MediaContentType{at}"))
            for at in range(int(count))
        ],
    }


# -- Telnyx ---------------------------------------------------------------------------------------


def _telnyx(payload: VendorPayload) -> Found:
    data = payload.inside("data")
    kind, said = data.needed("event_type"), data.inside("payload")
    direction = _direction(said, "inbound" if kind == "message.received" else "outbound")
    base = {
        "sender": _telnyx_number(said, "from"),
        "recipient": _telnyx_number(said, "to"),
        "external_id": said.needed("id"),
    }
    if direction == "inbound":
        files = said.several("media")
        return {
            **base,
            **_message(said.text("text"), _CONSENT.get(said.text("autoresponse_type"))),
            "event_type": kind,
            "timestamp": said.time("received_at") or data.time("occurred_at"),
            "media_urls": [_file(each.needed("url"), each.text("content_type")) for each in files],
        }
    error = next(iter(said.several("errors")), None)
    return {
        **base,
        **_receipt(_telnyx_status(said)),
        "event_type": kind,
        "timestamp": said.time("completed_at", "sent_at") or data.time("occurred_at"),
        "error_code": None if error is None else error.text("code") or None,
        "error_message": None if error is None else error.text("detail") or error.text("title") or None,
    }


def _telnyx_number(said: VendorPayload, name: str) -> str:
    """Return a number, of the first of several; WhatsApp's are texts."""
    if said.is_text(name):
        return said.text(name)
    found = said.several(name)[:1] if name == "to" else [said.inside(name)]
    return found[0].text("phone_number") if found else ""


def _telnyx_status(said: VendorPayload) -> str:
    """Return what became of the message: `finalized`, the event's name, does not say it."""
    words = {each.text("status") for each in said.several("to")}
    if len(words) != 1 or "" in words:
        raise said.wrong("to", f"one recipient's outcome, but {len(words)} different ones")
    return words.pop()


# -- Sinch ----------------------------------------------------------------------------------------


def _sinch(payload: VendorPayload) -> Found:
    kind = payload.needed("type")
    if kind.startswith("recipient_delivery_report"):
        return {
            **_receipt(payload.needed("status")),
            "external_id": payload.needed("batch_id"),
            "recipient": international(payload.text("recipient")),
            "timestamp": payload.time("operator_status_at", "at"),
            "error_code": _sinch_error(payload),
        }
    if kind.startswith("delivery_report"):
        return _sinch_batch(payload)
    return {
        **_sinch_message(payload, kind),
        "sender": international(payload.text("from")),
        "recipient": international(payload.text("to")),
        "external_id": payload.needed("id"),
        "timestamp": payload.time("received_at"),
    }


def _sinch_batch(payload: VendorPayload) -> Found:
    """Return the receipt of a batch, which says one thing only if all its messages have one outcome."""
    found = payload.several("statuses")
    if len(found) != 1:
        raise payload.wrong("statuses", 'one outcome: send with "delivery_report": "per_recipient"')
    return {
        **_receipt(found[0].needed("status")),
        "external_id": payload.needed("batch_id"),
        "error_code": _sinch_error(found[0]),
    }


def _sinch_error(report: VendorPayload) -> str | None:
    """Return the code of a failure; 0 is delivered, 400 and 401 are on the way."""
    code = report.text("code")
    return None if code in ("", "0", "400", "401") else code


def _sinch_message(payload: VendorPayload, kind: str) -> Found:
    if kind == "mo_text":
        return _message(payload.text("body"), None)
    if kind == "mo_binary":
        return {**_message("", None), "media_urls": [_binary(payload)]}
    if kind != "mo_media":
        raise payload.wrong("type", "mo_text, mo_binary, mo_media or a delivery report")
    body = payload.inside("body")
    files = body.several("media")
    kept = [each for each in files if "url" in each]
    texts = filter(None, (body.text("subject"), body.text("message")))
    return {
        **_message("\n".join(texts), None),
        "media_urls": [_file(each.needed("url"), each.text("content_type")) for each in kept],
        "missing_files": len(files) - len(kept),
    }


def _binary(payload: VendorPayload) -> Mapping[str, str]:
    """Return the octets of a binary message as a file."""
    body = payload.text("body")
    try:
        b64decode(body, validate=True)
    except (Error, ValueError) as error:
        raise payload.wrong("body", "base64") from error
    return _file(f"data:{_UNKNOWN_TYPE};base64,{body}", _UNKNOWN_TYPE)


# -- VoiceMeUp ------------------------------------------------------------------------------------


def _voicemeup(payload: VendorPayload) -> Found:
    direction = _direction(payload, "inbound")
    url = payload.text("attachment") or payload.text("attachment_url")
    mime_type = payload.text("attachment_mime_type") or payload.text("attachment_type")
    # The first of an MMS's two webhooks has the text, and a page about the file in the file's place.
    is_page = url.endswith(".mms.html") or (mime_type == "text/html" and ".mms." in url)
    return {
        **_message(payload.text("message"), None),
        "sender": international(payload.text("source_number"), shortest=11),
        "recipient": international(payload.text("destination_number"), shortest=11),
        "external_id": payload.needed("sms_hash"),
        "media_urls": [_file(url, mime_type)] if url and not is_page else [],
        "direction": direction,
        "event_type": "message.received" if direction == "inbound" else None,
    }


# -- parts of all ---------------------------------------------------------------------------------


def _direction(payload: VendorPayload, otherwise: str) -> str:
    direction = payload.text("direction") or otherwise
    if direction not in ("inbound", "outbound"):
        raise payload.wrong("direction", "inbound or outbound")
    return direction


def _message(body: str, consent: ConsentState | None) -> dict[str, Any]:
    return {"direction": "inbound", "event_type": "message.received", "body": body, "consent": consent}


def _receipt(status: str) -> dict[str, Any]:
    return {"direction": "outbound", "event_type": f"message.{status.lower()}", "status": status}


def _file(url: str, mime_type: str) -> dict[str, str]:
    return {"url": url, "mime_type": mime_type or _UNKNOWN_TYPE}


CARRIERS: Mapping[str, Callable[[VendorPayload], Found]] = {
    "twilio": _twilio,
    "telnyx": _telnyx,
    "sinch": _sinch,
    "voicemeup": _voicemeup,
}
