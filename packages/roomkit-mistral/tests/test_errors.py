"""Errors: the vendor's code decides, not its prose."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.mistral.errors import api_error


def body(kind: str, code: str | int | None = None, **fields: Any) -> dict[str, Any]:
    return {"object": "error", "type": kind, "code": code, "message": "x", **fields}


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (400, body("invalid_request_error", "3230"), ErrorCode.INVALID_REQUEST),
        (400, body("invalid_request_error", "3051"), ErrorCode.CONTEXT_OVERFLOW),
        (400, body("invalid_request_error", 3051), ErrorCode.CONTEXT_OVERFLOW),
        (400, body("invalid_model", "1500"), ErrorCode.NOT_FOUND),
        (400, body("invalid_request_file", "3310"), ErrorCode.UNSUPPORTED_CONTENT),
        (400, body("invalid_request_error", message="rate limit 429"), ErrorCode.INVALID_REQUEST),
        (401, {"detail": "Unauthorized"}, ErrorCode.AUTH),
        (429, body("service_tier_capacity_exceeded", "3505"), ErrorCode.RATE_LIMIT),
        (200, {"error": body("service_unavailable")}, ErrorCode.OVERLOADED),
        (200, body("new_type"), ErrorCode.SERVER),
        (502, "<html>Bad gateway</html>", ErrorCode.SERVER),
        (503, None, ErrorCode.OVERLOADED),
        (504, {"error": "odd"}, ErrorCode.TIMEOUT),
        (500, [], ErrorCode.SERVER),
    ],
)
def test_errors_are_classified(status: int, answer: object, code: ErrorCode) -> None:
    """By code and type, then by HTTP status, whatever the body is."""
    error = api_error(status, answer, {})
    assert error.error_code is code
    assert error.retryable is code.retryable
    assert error.status_code == status


def test_each_field_that_is_wrong_is_named() -> None:
    """As the validation error lists them, in either place where servers put the list."""
    problems = [{"loc": ["body", "stop"], "msg": "Input should be a string"}, {"loc": 5}, None]
    for answer in ({"detail": problems}, {"message": {"detail": problems}}):
        said = str(api_error(422, answer, {}))
        assert "body.stop: Input should be a string; ?: invalid; ?: invalid" in said


def test_the_request_can_be_found_at_the_vendor() -> None:
    assert api_error(500, {}, {"mistral-correlation-id": "c1"}).request_id == "c1"
