"""Whose answer is being read, and the errors that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.wire.retry_after import retry_after, should_retry

__all__ = ["Origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose answer is being read, for its errors."""

    provider: str
    """The provider's component name."""
    vendor: str = ""
    """What messages call it; the provider's name when empty."""
    request_id: str | None = None
    """The vendor's id of the request, to find it there."""
    setting: str = "base_url"
    """The setting that says where the vendor is."""

    def answered(
        self,
        status: int,
        error_code: ErrorCode,
        said: str,
        *,
        headers: Mapping[str, str],
        codes: Sequence[str] = (),
        request_id: str | None = None,
    ) -> ProviderError:
        """Make the error for an error answer that the plugin has classified.

        `codes` are the vendor's own, the most telling one first.
        """
        known_as = ", ".join(codes) or "without a code"
        return ProviderError(
            f"{self._who} refused the request ({status} {known_as}): {said[:500]}",
            error_code=error_code,
            retryable=should_retry(headers),
            retry_after=retry_after(headers),
            provider=self.provider,
            status_code=status,
            vendor_code=codes[0] if codes else None,
            request_id=request_id or self.request_id,
        )

    def redirected(self, status: int, headers: Mapping[str, str]) -> ProviderError:
        """Make the error for an answer that sends the request elsewhere, where no key is to go."""
        host = _host(headers.get("location", ""))
        where = f"to {host}" if host else "without saying to which host"
        return ProviderError(
            f"{self._who} redirected the request ({status}) {where}: set {self.setting} to where the API is",
            error_code=ErrorCode.NOT_FOUND,
            provider=self.provider,
            status_code=status,
            request_id=self.request_id,
        )

    def bad_response(self, what: str) -> ProviderError:
        """Make the error for an answer that is not what the API answers."""
        return self._error(f"{self._who}'s answer cannot be read: {what}", ErrorCode.BAD_RESPONSE)

    def refused(self, what: str, *, error_code: ErrorCode = ErrorCode.INVALID_REQUEST) -> ProviderError:
        """Make the error for what this API cannot be asked; nothing was sent."""
        return self._error(what, error_code)

    def timed_out(self, seconds: float) -> ProviderError:
        """Make the error for an answer that did not come in time."""
        return self._error(f"{self._who} did not answer within {seconds:g} s", ErrorCode.TIMEOUT)

    def not_reached(self, error: Exception) -> ProviderError:
        """Make the error for a connection that could not be made: the vendor certainly has nothing."""
        return ProviderError(
            f"{self._who} cannot be reached ({type(error).__name__})",
            error_code=ErrorCode.CONNECTION,
            accepted=False,
            provider=self.provider,
            request_id=self.request_id,
        )

    def broke_off(self, error: Exception) -> ProviderError:
        """Make the error for a connection that could not be made, or broke."""
        said = f"{self._who} cannot be reached, or broke off ({type(error).__name__})"
        return self._error(said, ErrorCode.CONNECTION)

    def without_credentials(self, error: Exception) -> ProviderError:
        """Make the error for a client that found nothing to sign the request with."""
        said = f"{self._who} got no credentials from the SDK ({type(error).__name__})"
        return self._error(said, ErrorCode.AUTH)

    @property
    def _who(self) -> str:
        return self.vendor or self.provider

    def _error(self, message: str, error_code: ErrorCode) -> ProviderError:
        return ProviderError(
            message, error_code=error_code, provider=self.provider, request_id=self.request_id
        )


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
