"""OpenAI's errors, classified once: https://developers.openai.com/api/docs/guides/error-codes (Nov 2026)."""

from __future__ import annotations

from collections.abc import Mapping

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status
from roomkit_plugins.wire.origin import Origin

__all__ = ["api_error"]

_IMAGES = (
    "empty_image_file",
    "failed_to_download_image",
    "image_file_not_found",
    "image_file_too_large",
    "image_parse_error",
    "image_too_large",
    "image_too_small",
    "invalid_base64_image",
    "invalid_image",
    "invalid_image_format",
    "invalid_image_mode",
    "invalid_image_url",
    "unsupported_image_media_type",
)
"""Codes for an unreadable image in an otherwise good request."""

_BY_CODE = {
    **dict.fromkeys(_IMAGES, ErrorCode.UNSUPPORTED_CONTENT),
    "bio_policy": ErrorCode.CONTENT_FILTER,
    "billing_hard_limit_reached": ErrorCode.QUOTA,
    "content_filter": ErrorCode.CONTENT_FILTER,
    "content_policy_violation": ErrorCode.CONTENT_FILTER,
    "context_length_exceeded": ErrorCode.CONTEXT_OVERFLOW,
    "image_content_policy_violation": ErrorCode.CONTENT_FILTER,
    "insufficient_quota": ErrorCode.QUOTA,
    "invalid_api_key": ErrorCode.AUTH,
    "invalid_prompt": ErrorCode.INVALID_REQUEST,
    "misalignment_policy_violation": ErrorCode.CONTENT_FILTER,
    "model_not_found": ErrorCode.NOT_FOUND,
    "rate_limit_exceeded": ErrorCode.RATE_LIMIT,
}


def api_error(origin: Origin, status: int, body: object, headers: Mapping[str, str]) -> ProviderError:
    """Classify an error answer, or an error inside an answer (with its status of 200)."""
    if 300 <= status < 400:
        return origin.redirected(status, headers)
    inner = body.get("error", body) if isinstance(body, dict) else body
    error = inner if isinstance(inner, dict) else {"message": inner}
    codes = [value for value in (error.get("code"), error.get("type")) if isinstance(value, str)]
    said = error.get("message")
    said = said if isinstance(said, str) else "no message"
    code = _classify(status, codes, said)
    return origin.answered(
        status, code, said, headers=headers, codes=codes, request_id=headers.get("x-request-id")
    )


def _classify(status: int, codes: list[str], said: str) -> ErrorCode:
    for code in codes:
        if code in _BY_CODE:
            return _BY_CODE[code]
    # vLLM gives this one no code (checked 2026-11-22); the wording is OpenAI's own.
    if status == 400 and said.startswith("This model's maximum context length is"):
        return ErrorCode.CONTEXT_OVERFLOW
    return code_for_status(status) if status >= 400 else ErrorCode.SERVER
