"""Errors: the vendor's code decides, not its prose."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.openai.errors import api_error
from roomkit_plugins.wire.origin import Origin


def body(code: str | None, kind: str = "invalid_request_error", message: str = "x") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (400, body("context_length_exceeded"), ErrorCode.CONTEXT_OVERFLOW),
        (400, body("content_filter"), ErrorCode.CONTENT_FILTER),
        (400, body(None, message="rate limit 429"), ErrorCode.INVALID_REQUEST),
        (401, body("invalid_api_key"), ErrorCode.AUTH),
        (404, body("model_not_found"), ErrorCode.NOT_FOUND),
        (429, body("rate_limit_exceeded", "requests"), ErrorCode.RATE_LIMIT),
        (429, body("insufficient_quota", "insufficient_quota"), ErrorCode.QUOTA),
        (429, body(None, "insufficient_quota"), ErrorCode.QUOTA),
        (500, body(None, "server_error"), ErrorCode.SERVER),
        (503, body(None, "server_error"), ErrorCode.OVERLOADED),
        (502, "<html>Bad gateway</html>", ErrorCode.SERVER),
        (504, None, ErrorCode.TIMEOUT),
        (401, {"error": "Unauthorized"}, ErrorCode.AUTH),
        (
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens.",
                "code": 400,
            },
            ErrorCode.CONTEXT_OVERFLOW,
        ),
        (200, body("new_code"), ErrorCode.SERVER),
    ],
)
def test_errors_are_classified(status: int, answer: object, code: ErrorCode) -> None:
    """By code and type, then by status, whatever the body is."""
    error = api_error(Origin("openai"), status, answer, {})
    assert error.error_code is code
    assert error.retryable is code.retryable
    assert error.status_code == status
