"""Replies of mail servers as errors: RFC 5321 section 4.2, RFC 3463, RFC 4954."""

from __future__ import annotations

import re

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.wire.origin import Origin

__all__ = ["ORIGIN", "refused"]

ORIGIN = Origin("smtp", "the mail server", setting="host")
_ENHANCED = re.compile(r"^([245])\.(\d{1,3})\.(\d{1,3})(?:\s|$)")

type Step = str
"""The command that was refused: `connect`, `login`, `mail`, `rcpt` or `data`."""

_BY_CLASS: dict[str, ErrorCode] = {
    "4.2.2": ErrorCode.RECIPIENT_RATE_LIMIT,  # the mailbox is full
    "4.7.0": ErrorCode.RATE_LIMIT,
    "4.7.28": ErrorCode.RATE_LIMIT,
    "5.1.7": ErrorCode.PERMISSION,  # the sender's address
    "5.1.8": ErrorCode.PERMISSION,
    "5.2.3": ErrorCode.TOO_LONG,
    "5.3.4": ErrorCode.TOO_LONG,
    "5.4.5": ErrorCode.QUOTA,
    "5.7.0": ErrorCode.PERMISSION,
    "5.7.8": ErrorCode.AUTH,
}
_BY_SUBJECT: dict[str, ErrorCode] = {
    "5.1": ErrorCode.INVALID_RECIPIENT,
    "5.2": ErrorCode.INVALID_RECIPIENT,
    "5.4": ErrorCode.INVALID_RECIPIENT,
    "5.6": ErrorCode.UNSUPPORTED_CONTENT,
    "5.7": ErrorCode.PERMISSION,
}
_BY_REPLY: dict[int, ErrorCode] = {
    421: ErrorCode.OVERLOADED,
    450: ErrorCode.RECIPIENT_RATE_LIMIT,  # busy, or greylisted
    451: ErrorCode.SERVER,
    452: ErrorCode.OVERLOADED,
    454: ErrorCode.SERVER,
    500: ErrorCode.INVALID_REQUEST,
    501: ErrorCode.INVALID_REQUEST,
    502: ErrorCode.INVALID_REQUEST,
    503: ErrorCode.INVALID_REQUEST,
    504: ErrorCode.INVALID_REQUEST,
    530: ErrorCode.AUTH,
    534: ErrorCode.AUTH,
    535: ErrorCode.AUTH,
    538: ErrorCode.AUTH,
    552: ErrorCode.TOO_LONG,
    555: ErrorCode.INVALID_REQUEST,
}
_BY_STEP: dict[Step, ErrorCode] = {
    "connect": ErrorCode.PERMISSION,
    "login": ErrorCode.AUTH,
    "mail": ErrorCode.PERMISSION,
    "rcpt": ErrorCode.INVALID_RECIPIENT,
    "data": ErrorCode.CONTENT_FILTER,
}


def refused(step: Step, reply: int, said: str) -> ProviderError:
    """Classify a reply from 400 on to a command; the server has not taken the message."""
    text = " ".join(said.split())
    found = _ENHANCED.match(text)
    status = ".".join(found.groups()) if found else ""
    return ProviderError(
        f"the mail server refused {step.upper()} ({reply}): {text[:500]}",
        error_code=_classified(step, reply, status),
        provider=ORIGIN.provider,
        status_code=reply,
        vendor_code=status or str(reply),
        accepted=False,
    )


def _classified(step: Step, reply: int, status: str) -> ErrorCode:
    """Return the class of a failure: by its enhanced status, else by its reply, else by the command."""
    if reply >= 500 or status == "4.2.2" or status.startswith("4.7."):
        known = _BY_CLASS.get(status) or _BY_SUBJECT.get(status.rpartition(".")[0])
        if known is not None and (reply >= 500 or known.retryable):
            return known
    if reply in _BY_REPLY:
        return _BY_REPLY[reply]
    return ErrorCode.SERVER if reply < 500 else _BY_STEP[step]
