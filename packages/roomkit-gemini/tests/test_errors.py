"""Errors: the vendor's code decides, not its prose."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.gemini.errors import api_error


def body(word: str, message: str = "x", *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": 0, "status": word, "message": message, "details": list(details)}}


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (400, body("INVALID_ARGUMENT"), ErrorCode.INVALID_REQUEST),
        (400, body("INVALID_ARGUMENT", "API key", {"reason": "API_KEY_INVALID"}), ErrorCode.AUTH),
        (
            400,
            body("INVALID_ARGUMENT", "The input token count (2) exceeds the maximum number of tokens (1)."),
            ErrorCode.CONTEXT_OVERFLOW,
        ),
        (400, body("INVALID_ARGUMENT", "rate limit 429 quota"), ErrorCode.INVALID_REQUEST),
        (400, body("FAILED_PRECONDITION", "User location is not supported"), ErrorCode.PERMISSION),
        (401, body("UNAUTHENTICATED"), ErrorCode.AUTH),
        (429, body("RESOURCE_EXHAUSTED"), ErrorCode.RATE_LIMIT),
        (
            429,
            body("RESOURCE_EXHAUSTED", "x", {"violations": [{"quotaId": "RequestsPerDay"}]}),
            ErrorCode.QUOTA,
        ),
        (429, body("RESOURCE_EXHAUSTED", "x", {"violations": [None, {"quotaId": 5}]}), ErrorCode.RATE_LIMIT),
        (503, [body("UNAVAILABLE")], ErrorCode.OVERLOADED),
        (502, "<html>Bad gateway</html>", ErrorCode.SERVER),
        (503, None, ErrorCode.OVERLOADED),
        (504, {"error": "odd"}, ErrorCode.TIMEOUT),
        (500, [], ErrorCode.SERVER),
        (200, body("NEW_WORD"), ErrorCode.SERVER),
    ],
)
def test_errors_are_classified(status: int, answer: object, code: ErrorCode) -> None:
    """By reason and status word, then by HTTP status, whatever the body is."""
    error = api_error(status, answer, {})
    assert error.error_code is code
    assert error.retryable is code.retryable
    assert error.status_code == status


@pytest.mark.parametrize(
    ("headers", "seconds"), [({}, 12.5), ({"retry-after": "3"}, 3.0), ({"retry-after-ms": "500"}, 0.5)]
)
def test_how_long_to_wait_stands_in_the_body_too(headers: dict[str, str], seconds: float) -> None:
    """A header goes before `RetryInfo`."""
    answer = body("RESOURCE_EXHAUSTED", "x", {"retryDelay": "12.5s"})
    assert api_error(429, answer, headers).retry_after == seconds
    assert api_error(429, body("RESOURCE_EXHAUSTED", "x", {"retryDelay": "soon"}), {}).retry_after is None


def test_the_request_can_be_found_at_the_vendor() -> None:
    assert api_error(500, {}, {"x-request-id": "r1"}).request_id == "r1"
