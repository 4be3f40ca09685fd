"""Errors: the vendor's code decides, not its prose."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.anthropic.errors import api_error


def body(kind: str, message: str = "x", **error: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message, **error}}


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (400, body("invalid_request_error"), ErrorCode.INVALID_REQUEST),
        (400, body("invalid_request_error", "prompt is too long: 3 tokens"), ErrorCode.CONTEXT_OVERFLOW),
        (400, body("invalid_request_error", "rate limit 429 token limit"), ErrorCode.INVALID_REQUEST),
        (409, body("conflict_error"), ErrorCode.OVERLOADED),
        (429, body("rate_limit_error"), ErrorCode.RATE_LIMIT),
        (
            429,
            body("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}),
            ErrorCode.QUOTA,
        ),
        (418, body("new_error"), ErrorCode.INVALID_REQUEST),
        (502, "<html>Bad gateway</html>", ErrorCode.SERVER),
        (503, None, ErrorCode.OVERLOADED),
        (504, {"error": "odd"}, ErrorCode.TIMEOUT),
        (529, [], ErrorCode.OVERLOADED),
        (200, body("new_error"), ErrorCode.SERVER),
    ],
)
def test_errors_are_classified(status: int, answer: object, code: ErrorCode) -> None:
    """By type and detail, then by status, whatever the body is."""
    error = api_error(status, answer, {})
    assert error.error_code is code
    assert error.retryable is code.retryable
    assert error.status_code == status


def test_the_request_can_be_found_at_the_vendor() -> None:
    """The id of the request is kept, from the header or the body."""
    assert api_error(500, {}, {"request-id": "req_1"}).request_id == "req_1"
    assert api_error(500, {"request_id": "req_2"}, {}).request_id == "req_2"
