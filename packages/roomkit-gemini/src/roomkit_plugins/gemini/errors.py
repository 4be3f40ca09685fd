"""Gemini's errors, classified once: https://ai.google.dev/gemini-api/docs/troubleshooting (Nov 2026)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status
from roomkit_plugins.wire.origin import Origin

__all__ = ["ORIGIN", "api_error"]

ORIGIN = Origin("gemini", "Gemini")

_HEADERS = ("date", "retry-after", "retry-after-ms", "x-should-retry")

_BY_STATUS = {
    "INVALID_ARGUMENT": ErrorCode.INVALID_REQUEST,
    "FAILED_PRECONDITION": ErrorCode.PERMISSION,  # the region, or billing that is not enabled
    "OUT_OF_RANGE": ErrorCode.INVALID_REQUEST,
    "UNAUTHENTICATED": ErrorCode.AUTH,
    "PERMISSION_DENIED": ErrorCode.PERMISSION,
    "NOT_FOUND": ErrorCode.NOT_FOUND,
    "RESOURCE_EXHAUSTED": ErrorCode.RATE_LIMIT,
    "ABORTED": ErrorCode.OVERLOADED,
    "INTERNAL": ErrorCode.SERVER,
    "UNAVAILABLE": ErrorCode.OVERLOADED,
    "DEADLINE_EXCEEDED": ErrorCode.TIMEOUT,
}
_BY_WORDING = (
    ("exceeds the maximum number of tokens", ErrorCode.CONTEXT_OVERFLOW),
    ("Unable to process input image", ErrorCode.UNSUPPORTED_CONTENT),
    ("Cannot fetch content from the provided URL", ErrorCode.UNSUPPORTED_CONTENT),
)
"""Errors without a code of their own, all INVALID_ARGUMENT (checked 2026-11-30)."""


def api_error(
    status: int, body: object, headers: Mapping[str, str], *, origin: Origin = ORIGIN
) -> ProviderError:
    """Classify an error answer, or an error event of a stream (with its status of 200)."""
    if 300 <= status < 400:
        return origin.redirected(status, headers)
    # Some deployments wrap the error in a list, as a stream without SSE does.
    first = body[0] if isinstance(body, list) and body else body
    error = _dict(_dict(first).get("error"))
    details = [_dict(detail) for detail in error.get("details") or () if isinstance(detail, dict)]
    reasons = [detail["reason"] for detail in details if isinstance(detail.get("reason"), str)]
    said = _text(error.get("message")) or "no message"
    word = _text(error.get("status"))
    known = {name: value for name in _HEADERS if (value := headers.get(name))}
    return origin.answered(
        status,
        _classify(status, word, said, reasons, details),
        said,
        headers={**_delay(details), **known},
        codes=[*reasons, word] if word else reasons,
        request_id=headers.get("x-request-id"),
    )


def _classify(
    status: int, word: str, said: str, reasons: list[str], details: list[dict[str, Any]]
) -> ErrorCode:
    if "API_KEY_INVALID" in reasons:
        return ErrorCode.AUTH
    if word == "RESOURCE_EXHAUSTED" and _is_spent(details):
        return ErrorCode.QUOTA
    if word == "INVALID_ARGUMENT":
        for wording, code in _BY_WORDING:
            if wording in said:
                return code
    if word in _BY_STATUS:
        return _BY_STATUS[word]
    return code_for_status(status) if status >= 400 else ErrorCode.SERVER


def _is_spent(details: list[dict[str, Any]]) -> bool:
    """Whether a quota of the day is used up, which no wait of minutes brings back."""
    violations = (one for detail in details for one in detail.get("violations") or ())
    return any("PerDay" in _text(_dict(violation).get("quotaId")) for violation in violations)


def _delay(details: list[dict[str, Any]]) -> dict[str, str]:
    """Return RetryInfo, such as `12s` or `0.5s`, as the header that says the same."""
    matches = (re.fullmatch(r"([0-9.]+)s", _text(detail.get("retryDelay"))) for detail in details)
    return next(({"retry-after": found[1]} for found in matches if found), {})


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
