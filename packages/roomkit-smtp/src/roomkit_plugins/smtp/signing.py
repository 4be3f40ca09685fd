"""DKIM (RFC 6376): a signature of the domain, by dkimpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.smtp.errors import ORIGIN

if TYPE_CHECKING:
    from roomkit_plugins.smtp.config import SMTPConfig

__all__ = ["signed"]

_HEADERS = (
    b"from to cc reply-to subject date message-id in-reply-to references mime-version content-type "
    b"auto-submitted list-unsubscribe list-unsubscribe-post"
).split()


def signed(message: bytes, config: SMTPConfig) -> bytes:
    """Return a message with its signature before it; as it is without a key. Blocks for some milliseconds.

    Raises ProviderError for a key that cannot sign, and without dkimpy.
    """
    if config.dkim_key is None or config.dkim_selector is None:
        return message
    try:
        import dkim
    except ImportError as error:
        raise _unsigned("dkimpy is not installed: pip install roomkit-smtp[dkim]") from error
    present = {line.partition(b":")[0].lower() for line in message.partition(b"\r\n\r\n")[0].split(b"\r\n")}
    try:
        header: bytes = dkim.sign(
            message,
            selector=config.dkim_selector.encode(),
            domain=(config.dkim_domain or config.sender.domain).encode(),
            privkey=config.dkim_key.get_secret_value().encode(),
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=[name for name in _HEADERS if name in present],
        )
    except dkim.DKIMException as error:
        raise _unsigned(f"dkim_key cannot sign ({type(error).__name__}): give an RSA key as PEM") from error
    return header + message


def _unsigned(why: str) -> ProviderError:
    return ORIGIN.refused(f"the mail was not signed: {why}", error_code=ErrorCode.INVALID_REQUEST)
