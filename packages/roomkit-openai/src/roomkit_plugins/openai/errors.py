"""OpenAI's errors, classified once: https://developers.openai.com/api/docs/guides/error-codes (Nov 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status

__all__ = ["Origin", "retry_after"]

_BY_CODE = {
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


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose answer is being read, for what goes wrong with it."""

    provider: str
    request_id: str | None = None

    def api_error(self, status: int, body: object, headers: Mapping[str, str]) -> ProviderError:
        """Classify an error answer, or an error inside an answer (with its status of 200)."""
        inner = body.get("error", body) if isinstance(body, dict) else body
        error = inner if isinstance(inner, dict) else {"message": inner}
        codes = [value for value in (error.get("code"), error.get("type")) if isinstance(value, str)]
        said = error.get("message")
        said = said if isinstance(said, str) else "no message"
        return ProviderError(
            f"{self.provider} refused the request ({status} {', '.join(codes) or 'without a code'}): "
            f"{said[:500]}",
            error_code=_classify(status, codes, said),
            retryable={"true": True, "false": False}.get(headers.get("x-should-retry", "")),
            retry_after=retry_after(headers),
            provider=self.provider,
            status_code=status,
            vendor_code=codes[0] if codes else None,
            request_id=headers.get("x-request-id") or self.request_id,
        )

    def bad_response(self, what: str) -> ProviderError:
        """Make the error for an answer that is not what the API answers."""
        return ProviderError(
            f"{self.provider}'s answer cannot be read: {what}",
            error_code=ErrorCode.BAD_RESPONSE,
            provider=self.provider,
            request_id=self.request_id,
        )

    def refused(self, what: str, *, error_code: ErrorCode = ErrorCode.INVALID_REQUEST) -> ProviderError:
        """Make the error for a context that this API cannot be asked; nothing was sent."""
        return ProviderError(what, error_code=error_code, provider=self.provider)


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


def _classify(status: int, codes: list[str], said: str) -> ErrorCode:
    for code in codes:
        if code in _BY_CODE:
            return _BY_CODE[code]
    # vLLM gives this one no code (checked 2026-11-22); the wording is OpenAI's own.
    if status == 400 and said.startswith("This model's maximum context length is"):
        return ErrorCode.CONTEXT_OVERFLOW
    return code_for_status(status) if status >= 400 else ErrorCode.SERVER


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
