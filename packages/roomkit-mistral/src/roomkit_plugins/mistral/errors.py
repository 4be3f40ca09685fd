"""Mistral's errors, classified once: https://docs.mistral.ai/api (Nov 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status
from roomkit_plugins.wire.origin import Origin

__all__ = ["ORIGIN", "api_error"]

ORIGIN = Origin("mistral", "Mistral")

_BY_TYPE = {
    "invalid_model": ErrorCode.NOT_FOUND,
    "invalid_request_file": ErrorCode.UNSUPPORTED_CONTENT,
    "rate_limited": ErrorCode.RATE_LIMIT,
    "service_tier_capacity_exceeded": ErrorCode.RATE_LIMIT,
    "internal_server_error": ErrorCode.SERVER,
    "service_unavailable": ErrorCode.OVERLOADED,
}
_TOO_LONG = "3051"
"""The code of a prompt that is longer than the model takes."""


def api_error(
    status: int, body: object, headers: Mapping[str, str], *, origin: Origin = ORIGIN
) -> ProviderError:
    """Classify an error answer, or an error event of a stream (with its status of 200)."""
    if 300 <= status < 400:
        return origin.redirected(status, headers)
    outer = _dict(body)
    error = outer["error"] if isinstance(outer.get("error"), dict) else outer
    kind, code = _text(error.get("type")), _text(error.get("code"))
    return origin.answered(
        status,
        _classify(status, kind, code),
        _message(error),
        headers=headers,
        codes=[word for word in (kind, code) if word],
        request_id=headers.get("x-request-id") or headers.get("mistral-correlation-id"),
    )


def _classify(status: int, kind: str, code: str) -> ErrorCode:
    if code == _TOO_LONG:
        return ErrorCode.CONTEXT_OVERFLOW
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    return code_for_status(status) if status >= 400 else ErrorCode.SERVER


def _message(error: dict[str, Any]) -> str:
    """Return what an error says: a text, or the fault of each field."""
    said = error.get("message", error.get("detail"))
    if isinstance(said, dict):
        said = said.get("detail")
    if isinstance(said, list):
        return "; ".join(_field(_dict(each)) for each in said) or "no message"
    return _text(said) or "no message"


def _field(problem: dict[str, Any]) -> str:
    place = problem.get("loc")
    where = ".".join(str(part) for part in place) if isinstance(place, list) else "?"
    return f"{where}: {_text(problem.get('msg')) or 'invalid'}"


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
