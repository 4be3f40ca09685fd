"""Anthropic's errors, classified once: https://platform.claude.com/docs/en/api/errors (Nov 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status

__all__ = ["api_error", "bad_response", "refused", "retry_after"]

_BY_TYPE = {
    "invalid_request_error": ErrorCode.INVALID_REQUEST,
    "authentication_error": ErrorCode.AUTH,
    "billing_error": ErrorCode.QUOTA,
    "permission_error": ErrorCode.PERMISSION,
    "not_found_error": ErrorCode.NOT_FOUND,
    "request_too_large": ErrorCode.TOO_LONG,
    "rate_limit_error": ErrorCode.RATE_LIMIT,
    "timeout_error": ErrorCode.TIMEOUT,
    "api_error": ErrorCode.SERVER,
    "overloaded_error": ErrorCode.OVERLOADED,
    "conflict_error": ErrorCode.OVERLOADED,
}

_SPENT = frozenset(
    {
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "linked_organization_spend_limit_reached",
    }
)
"""Codes of `error.details.error_code` that no waiting helps: the money is spent."""


def api_error(status: int, body: object, headers: Mapping[str, str]) -> ProviderError:
    """Classify an error answer, or an error event of a stream (with its status of 200)."""
    error = _dict(_dict(body).get("error"))
    kind = _text(error.get("type"))
    said = _text(error.get("message")) or "no message"
    code = _classify(status, kind, said, _text(_dict(error.get("details")).get("error_code")))
    return ProviderError(
        f"Anthropic refused the request ({status} {kind or 'without a type'}): {said[:500]}",
        error_code=code,
        retryable=_should_retry(headers),
        retry_after=retry_after(headers),
        provider="anthropic",
        status_code=status,
        vendor_code=kind or None,
        request_id=headers.get("request-id") or _text(_dict(body).get("request_id")) or None,
    )


def bad_response(what: str, *, request_id: str | None = None) -> ProviderError:
    """Make the error for an answer that is not what the API answers."""
    return ProviderError(
        f"Anthropic's answer cannot be read: {what}",
        error_code=ErrorCode.BAD_RESPONSE,
        provider="anthropic",
        request_id=request_id,
    )


def refused(what: str, *, error_code: ErrorCode = ErrorCode.INVALID_REQUEST) -> ProviderError:
    """Make the error for a context that this API cannot be asked; nothing was sent."""
    return ProviderError(what, error_code=error_code, provider="anthropic")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `retry-after-ms` or `retry-after` ask to wait.

    A date is counted from the answer's own `date`, so that clocks need not agree.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    until = _date(value)
    if until is None:
        return None
    now = _date(headers.get("date")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _classify(status: int, kind: str, said: str, detail: str) -> ErrorCode:
    if detail in _SPENT:
        return ErrorCode.QUOTA
    # The one error without a code of its own (checked 2026-11-22); its wording is documented.
    if kind == "invalid_request_error" and said.startswith("prompt is too long"):
        return ErrorCode.CONTEXT_OVERFLOW
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    return code_for_status(status) if status >= 400 else ErrorCode.SERVER


def _should_retry(headers: Mapping[str, str]) -> bool | None:
    return {"true": True, "false": False}.get(headers.get("x-should-retry", ""))


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _date(value: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
