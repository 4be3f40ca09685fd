"""Anthropic's errors, classified once: https://platform.claude.com/docs/en/api/errors (Nov 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status
from roomkit_plugins.wire.origin import Origin

__all__ = ["ORIGIN", "api_error"]

ORIGIN = Origin("anthropic", "Anthropic")

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


def api_error(
    status: int, body: object, headers: Mapping[str, str], *, origin: Origin = ORIGIN
) -> ProviderError:
    """Classify an error answer, or an error event of a stream (with its status of 200)."""
    if 300 <= status < 400:
        return origin.redirected(status, headers)
    error = _dict(_dict(body).get("error"))
    kind = _text(error.get("type"))
    said = _text(error.get("message")) or "no message"
    code = _classify(status, kind, said, _text(_dict(error.get("details")).get("error_code")))
    return origin.answered(
        status,
        code,
        said,
        headers=headers,
        codes=[kind] if kind else [],
        request_id=headers.get("request-id") or _text(_dict(body).get("request_id")),
    )


def _classify(status: int, kind: str, said: str, detail: str) -> ErrorCode:
    if detail in _SPENT:
        return ErrorCode.QUOTA
    # An error without a code of its own (checked 2026-11-22); its wording is documented.
    if kind == "invalid_request_error" and said.startswith("prompt is too long"):
        return ErrorCode.CONTEXT_OVERFLOW
    # Nor has a picture that cannot be decoded (checked 2026-11-29).
    if kind == "invalid_request_error" and said == "Could not process image":
        return ErrorCode.UNSUPPORTED_CONTENT
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    return code_for_status(status) if status >= 400 else ErrorCode.SERVER


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
