"""What Twilio's API refuses: https://www.twilio.com/docs/messaging/api/message-resource (Nov 2026)."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import Error
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.http import ReceivedRequest

__all__ = ["TwilioRefusedError", "checked_message", "credentials_of", "twilio_failure"]

type Fields = Mapping[str, Sequence[str]]

_KNOWN = frozenset(
    {
        "To",
        "From",
        "MessagingServiceSid",
        "Body",
        "MediaUrl",
        "StatusCallback",
        "ContentSid",
        "ContentVariables",
    }
    | {
        "ValidityPeriod",
        "SendAt",
        "ScheduleType",
        "SmartEncoded",
        "SendAsMms",
        "FallbackFrom",
        "MessageIntent",
    }
    | {
        "RiskCheck",
        "ShortenUrls",
        "PersistentAction",
        "MaxPrice",
        "Attempt",
        "ProvideFeedback",
        "ForceDelivery",
    }
)
_LONGEST = 1600
_MOST_MEDIA = 10
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_URL = re.compile(r"https?://[^\s/]+\S*")
_CONTENT = re.compile(r"HX[0-9a-f]{32}")


class TwilioRefusedError(Exception):
    """A request that the vendor refuses; `failure` is its answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.body))
        self.failure = failure


def twilio_failure(status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> Failure:
    """Return an error as Twilio reports it."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    return Failure(
        status, {"code": code, "message": message, "more_info": more, "status": status}, headers or {}
    )


def credentials_of(request: ReceivedRequest) -> tuple[str, str] | None:
    """Return user and password of HTTP's basic authentication; None for any other."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        user, colon, password = b64decode(value, validate=True).decode().partition(":")
    except (Error, ValueError):
        return None
    return (user, password) if kind == "Basic" and colon else None


def checked_message(request: ReceivedRequest, senders: Sequence[str], services: Sequence[str]) -> Fields:
    """Return the fields of a request for a message. Raises TwilioRefusedError where the vendor refuses."""
    if request.headers.get("content-type") != "application/x-www-form-urlencoded":
        raise _refused(20001, "The content type is not application/x-www-form-urlencoded")
    fields = parse_qs(request.body.decode(), keep_blank_values=True, errors="strict")
    for name, values in fields.items():
        if name not in _KNOWN:
            raise _refused(20001, f"Unknown parameter {name}")
        if len(values) > 1 and name != "MediaUrl":
            raise _refused(20001, f"{name} comes more than once")
    _check_addresses(fields, senders, services)
    _check_content(fields)
    callback = one(fields, "StatusCallback")
    if callback and not _URL.fullmatch(callback):
        raise _refused(21609, "The 'StatusCallback' URL is not a valid URL")
    return fields


def one(fields: Fields, name: str) -> str:
    """Return the value of a field, "" without it."""
    return fields.get(name, [""])[0]


def _check_addresses(fields: Fields, senders: Sequence[str], services: Sequence[str]) -> None:
    to, sender, service = (one(fields, name) for name in ("To", "From", "MessagingServiceSid"))
    if not to:
        raise _refused(21604, "A 'To' phone number is required.")
    if not _NUMBER.fullmatch(to.removeprefix("rcs:")):
        raise _refused(21211, f"Invalid 'To' Phone Number: {to}")
    if not sender and not service:
        raise _refused(21603, "A 'From' phone number is required.")
    if sender and sender not in senders:
        raise _refused(21659, f"'{sender}' is not a Twilio phone number or short code country mismatch")
    if service and service not in services:
        raise _refused(21701, "The Messaging Service resource does not exist.")
    fallback = one(fields, "FallbackFrom")
    if fallback and (not service or fallback not in senders):
        raise _refused(21664, "FallbackFrom is only valid for a sender of the Messaging Service")
    if to == sender:
        raise _refused(21266, "'To' and 'From' number cannot be the same")
    if to.startswith("rcs:") != sender.startswith("rcs:") and not service:
        raise _refused(21910, "Invalid From and To pair. From and To should be of the same channel")


def _check_content(fields: Fields) -> None:
    body, urls, content = one(fields, "Body"), fields.get("MediaUrl", []), one(fields, "ContentSid")
    if not body.strip() and not urls and not content:
        raise _refused(21602, "Message body is required.")
    if len(body.encode("utf-16-le")) // 2 > _LONGEST:
        raise _refused(21617, "The concatenated message body exceeds the 1600 character limit")
    if len(urls) > _MOST_MEDIA:
        raise _refused(21623, "Number of media files exceeds allowed limit of 10")
    if any(not _URL.fullmatch(url) for url in urls):
        raise _refused(21620, "Invalid media URL(s)")
    if content and not _CONTENT.fullmatch(content):
        raise _refused(21655, "The ContentSid is invalid")
    variables = one(fields, "ContentVariables")
    if variables and not (content and _is_object(variables)):
        raise _refused(21656, "The ContentVariables Parameter is invalid")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _refused(code: int, message: str) -> TwilioRefusedError:
    return TwilioRefusedError(twilio_failure(400, code, message))
