"""Twilio's errors, classified once: https://www.twilio.com/docs/api/errors (Nov 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import json_value

__all__ = ["ORIGIN", "api_error"]

ORIGIN = Origin("twilio", "Twilio")

_BY_CODE: Mapping[int, ErrorCode] = {
    10001: ErrorCode.PERMISSION,  # the account is not active
    14107: ErrorCode.RATE_LIMIT,
    20003: ErrorCode.AUTH,
    20005: ErrorCode.PERMISSION,
    20429: ErrorCode.RATE_LIMIT,
    21211: ErrorCode.INVALID_RECIPIENT,
    21214: ErrorCode.INVALID_RECIPIENT,
    21217: ErrorCode.INVALID_RECIPIENT,
    21265: ErrorCode.INVALID_RECIPIENT,
    # The account may not write to that country: a matter of this recipient, so that no circuit opens for
    # all others.
    21408: ErrorCode.INVALID_RECIPIENT,
    21604: ErrorCode.MISSING_RECIPIENT,
    21610: ErrorCode.OPTED_OUT,
    21611: ErrorCode.OVERLOADED,  # the sender's queue is full
    21612: ErrorCode.INVALID_RECIPIENT,
    21614: ErrorCode.INVALID_RECIPIENT,
    21617: ErrorCode.TOO_LONG,
    21620: ErrorCode.UNSUPPORTED_CONTENT,
    21623: ErrorCode.UNSUPPORTED_CONTENT,
    30001: ErrorCode.OVERLOADED,
    30002: ErrorCode.PERMISSION,
    30022: ErrorCode.RATE_LIMIT,
    30023: ErrorCode.RATE_LIMIT,
}


def api_error(
    status: int, body: bytes, headers: Mapping[str, str], *, origin: Origin = ORIGIN
) -> ProviderError:
    """Classify an error answer: by Twilio's code, else by the HTTP status. Headers ignore case."""
    said = _fields(body)
    code = said.get("code")
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    message = said.get("message")
    return origin.answered(
        status,
        _BY_CODE.get(number or 0) or code_for_status(status),
        message if isinstance(message, str) else "no message",
        headers=headers,
        codes=[] if number is None else [f"twilio_{number}"],
        request_id=headers.get("twilio-request-id"),
    )


def _fields(body: bytes) -> dict[str, Any]:
    try:
        said = json_value(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
