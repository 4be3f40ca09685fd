"""Pydantic AI's errors, classified once: https://pydantic.dev/docs/ai/api/exceptions (Nov 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.retry_after import retry_after, should_retry

if TYPE_CHECKING:
    from pydantic_ai.exceptions import ModelAPIError

__all__ = ["ORIGIN", "failure"]

ORIGIN = Origin("pydantic-ai", "Pydantic AI")


def failure(error: Exception) -> ProviderError:
    """Classify an error. Its text is omitted: it repeats the vendor's, which may hold a key."""
    from pydantic_ai import exceptions

    if isinstance(error, ProviderError):
        return error
    if isinstance(error, exceptions.ModelAPIError):
        return _refused(error)
    if isinstance(error, exceptions.ContentFilterError):
        code = ErrorCode.CONTENT_FILTER
    elif isinstance(error, exceptions.UsageLimitExceeded):
        code = ErrorCode.QUOTA
    elif isinstance(error, exceptions.UserError):
        code = ErrorCode.INVALID_REQUEST
    else:  # the library's adapters raise anything for an answer of an odd shape
        code = ErrorCode.BAD_RESPONSE
    return ProviderError(
        f"Pydantic AI failed with {type(error).__name__}", error_code=code, provider=ORIGIN.provider
    )


def _refused(error: ModelAPIError) -> ProviderError:
    from pydantic_ai.exceptions import ModelHTTPError

    status = error.status_code if isinstance(error, ModelHTTPError) else None
    headers = (error.headers if isinstance(error, ModelHTTPError) else None) or {}
    cause: Any = error.__cause__  # the exception of a vendor's SDK, of any kind
    sent_elsewhere = getattr(cause, "status_code", 0)
    if isinstance(sent_elsewhere, int) and 300 <= sent_elsewhere < 400:
        return ORIGIN.redirected(sent_elsewhere, cause.response.headers)
    vendor_code = error.provider_error_code or error.provider_error_type
    known_as = ", ".join(str(part) for part in (status, vendor_code) if part) or "without a code"
    return ProviderError(
        f"the model {error.model_name!r} failed ({known_as}: {type(error).__name__.lstrip('_')})",
        error_code=_classify(error, status, vendor_code or ""),
        retryable=should_retry(headers),
        retry_after=retry_after(headers) if headers else error.retry_after,
        provider=ORIGIN.provider,
        status_code=status,
        vendor_code=vendor_code,
        request_id=headers.get("request-id") or headers.get("x-request-id"),
    )


def _classify(error: ModelAPIError, status: int | None, vendor_code: str) -> ErrorCode:
    from pydantic_ai import exceptions

    by_kind: tuple[tuple[type[Exception], ErrorCode], ...] = (
        (exceptions.ModelRateLimitError, ErrorCode.RATE_LIMIT),
        (exceptions.ModelQuotaExceededError, ErrorCode.QUOTA),
        (exceptions.ModelUnavailableError, ErrorCode.OVERLOADED),
        (exceptions.ModelTimeoutError, ErrorCode.TIMEOUT),
        (exceptions.ModelRequestTimeout, ErrorCode.TIMEOUT),
        (exceptions.ModelConnectionError, ErrorCode.CONNECTION),
        (exceptions.ModelContextWindowExceededError, ErrorCode.CONTEXT_OVERFLOW),
        (exceptions.ModelNotFoundError, ErrorCode.NOT_FOUND),
    )
    for kind, code in by_kind:
        if isinstance(error, kind):
            return code
    if "content_filter" in vendor_code or "content_policy" in vendor_code:
        return ErrorCode.CONTENT_FILTER
    if status is not None and status < 500 and "image" in vendor_code:  # as several vendors name these
        return ErrorCode.UNSUPPORTED_CONTENT
    if status is not None and status >= 400:
        return code_for_status(status)
    if isinstance(error, exceptions.ModelAuthenticationError):
        return ErrorCode.AUTH
    if isinstance(error, exceptions.ModelRequestRejectedError):
        return ErrorCode.INVALID_REQUEST
    return ErrorCode.SERVER if isinstance(error, exceptions.ModelServerError) else ErrorCode.BAD_RESPONSE
