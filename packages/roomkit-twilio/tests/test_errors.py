"""Errors: Twilio's code decides, not its prose."""

from __future__ import annotations

import json

import pytest

from roomkit.abc import ErrorCode
from roomkit_plugins.twilio.errors import api_error


@pytest.mark.parametrize(
    ("status", "code", "error", "retryable"),
    [
        (401, 20003, ErrorCode.AUTH, False),
        (429, 20429, ErrorCode.RATE_LIMIT, True),
        (400, 14107, ErrorCode.RATE_LIMIT, True),
        (400, 21211, ErrorCode.INVALID_RECIPIENT, False),
        (400, 21602, ErrorCode.INVALID_REQUEST, False),
        (400, 21610, ErrorCode.OPTED_OUT, False),
        (400, 21611, ErrorCode.OVERLOADED, True),
        (400, 21617, ErrorCode.TOO_LONG, False),
        (403, 30002, ErrorCode.PERMISSION, False),
        (404, 20404, ErrorCode.NOT_FOUND, False),
        (500, 20500, ErrorCode.SERVER, True),
        (503, None, ErrorCode.OVERLOADED, True),
    ],
)
def test_errors_have_the_class_of_their_code(
    status: int, code: int | None, error: ErrorCode, retryable: bool
) -> None:
    body = json.dumps({"code": code, "message": "x", "status": status}).encode()
    found = api_error(status, body, {"retry-after": "7", "twilio-request-id": "RQ7"})
    assert (found.error_code, found.retryable, found.accepted) == (error, retryable, False)
    assert (found.retry_after, found.request_id, found.status_code) == (7.0, "RQ7", status)
    assert found.vendor_code == (None if code is None else f"twilio_{code}")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"code": "21610"}', b'{"code": true, "message": 5}']
)
def test_any_body_gives_the_class_of_the_status(body: bytes) -> None:
    assert api_error(502, body, {}).error_code is ErrorCode.SERVER
