"""Telnyx's errors: https://developers.telnyx.com/docs/messaging/messages/error-codes (Nov 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status
from roomkit_plugins.wire.caller import HTTPAnswer
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import json_value

__all__ = ["ORIGIN", "api_error"]

ORIGIN = Origin("telnyx", "Telnyx")

_BY_CODE: Mapping[str, ErrorCode] = {
    "10002": ErrorCode.INVALID_RECIPIENT,
    "10007": ErrorCode.SERVER,
    "10008": ErrorCode.TIMEOUT,
    "10009": ErrorCode.AUTH,
    "10010": ErrorCode.PERMISSION,
    "10011": ErrorCode.RATE_LIMIT,
    "10016": ErrorCode.INVALID_RECIPIENT,
    "20100": ErrorCode.QUOTA,
    "40001": ErrorCode.INVALID_RECIPIENT,  # a landline
    "40010": ErrorCode.PERMISSION,  # the number is not registered for 10DLC
    "40011": ErrorCode.RATE_LIMIT,
    "40012": ErrorCode.INVALID_RECIPIENT,
    "40300": ErrorCode.OPTED_OUT,
    "40301": ErrorCode.UNSUPPORTED_CONTENT,
    "40302": ErrorCode.TOO_LONG,
    # A region that the profile may not write to is a matter of this recipient: no circuit opens for others.
    "40309": ErrorCode.INVALID_RECIPIENT,
    "40310": ErrorCode.INVALID_RECIPIENT,
    "40312": ErrorCode.PERMISSION,
    "40314": ErrorCode.PERMISSION,
    "40317": ErrorCode.UNSUPPORTED_CONTENT,
    "40318": ErrorCode.OVERLOADED,
    "40319": ErrorCode.INVALID_RECIPIENT,
}


def api_error(answer: HTTPAnswer) -> ProviderError:
    """Classify an error answer: by the first of Telnyx's codes that says more, else by the HTTP status."""
    errors = _errors(answer.body)
    codes = [each["code"] for each in errors if isinstance(each.get("code"), str)]
    known = next((code for code in codes if code in _BY_CODE), None)
    said = next((_said(each) for each in errors), "no message")
    return ORIGIN.answered(
        answer.status,
        code_for_status(answer.status) if known is None else _BY_CODE[known],
        said,
        headers=answer.headers,
        codes=[f"telnyx_{code}" for code in sorted(codes, key=lambda code: code != known)],
        request_id=answer.headers.get("x-request-id"),
    )


def _said(error: Mapping[str, Any]) -> str:
    source = error.get("source")
    where = source.get("pointer") if isinstance(source, Mapping) else None
    words = error.get("detail") or error.get("title")
    said = words if isinstance(words, str) else "no message"
    return f"{said} ({where})" if isinstance(where, str) else said


def _errors(body: bytes) -> list[Mapping[str, Any]]:
    try:
        said = json_value(body)
    except ValueError:
        return []
    found = said.get("errors") if isinstance(said, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
