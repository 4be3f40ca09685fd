"""Signatures of webhooks: an HMAC-SHA256 over the time of sending and the exact body.

`X-RoomKit-Timestamp` has POSIX seconds, `X-RoomKit-Signature-V2` one `v1=<hexadecimal>` for each secret,
separated by commas. `X-RoomKit-Signature` is the first version: the same HMAC over the body alone.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from hashlib import sha256

from roomkit.abc.errors import WebhookRejected
from roomkit.models.webhook import WebhookRequest

__all__ = ["SIGNATURE", "TIMESTAMP", "is_recent", "is_signed", "sign_webhook", "signature_headers", "verify"]

TIMESTAMP = "X-RoomKit-Timestamp"
SIGNATURE = "X-RoomKit-Signature-V2"
_FIRST_SIGNATURE = "X-RoomKit-Signature"
_MOST_SIGNATURES = 8
_LONGEST_TIMESTAMP = 12


def sign_webhook(body: bytes, secret: str, timestamp: int) -> str:
    """Return what `X-RoomKit-Signature-V2` holds for a body sent at `timestamp`, in POSIX seconds."""
    return f"v1={_digest(secret, f'{timestamp}.'.encode() + body)}"


def signature_headers(body: bytes, secrets: Sequence[str], timestamp: int) -> dict[str, str]:
    """Return the headers that sign a body with each secret; none without a secret."""
    if not secrets:
        return {}
    signatures = ",".join(sign_webhook(body, secret, timestamp) for secret in secrets)
    return {_FIRST_SIGNATURE: _digest(secrets[0], body), TIMESTAMP: str(timestamp), SIGNATURE: signatures}


def is_signed(body: bytes, signature: str, timestamp: str, secrets: Sequence[str]) -> bool:
    """Return whether one of the signatures is that of one of the secrets; the time is not judged."""
    given = list(_signatures(signature))
    known = [_digest(secret, timestamp.encode() + b"." + body).encode() for secret in secrets]
    # Each is compared, whatever the ones before were.
    matches = [hmac.compare_digest(each, mine) for each in given for mine in known]
    return True in matches


def verify(request: WebhookRequest, secrets: Sequence[str], *, tolerance: float) -> str:
    """Return the timestamp that a request was signed with. Raises WebhookRejected; nothing is read before."""
    if not secrets:
        raise WebhookRejected("the webhook cannot be verified: set secret of HTTPProviderConfig")
    timestamp = request.header(TIMESTAMP) or ""
    if not is_signed(request.body, request.header(SIGNATURE) or "", timestamp, secrets):
        raise WebhookRejected(
            f"the webhook is not signed: {SIGNATURE} must be 'v1=' and the hexadecimal HMAC-SHA256 of "
            f"{TIMESTAMP}, a dot and the body, with the secret of HTTPProviderConfig"
        )
    if not is_recent(timestamp, now=request.received_at, tolerance=tolerance):
        raise WebhookRejected(
            f"the webhook was signed for another time: {TIMESTAMP} must be POSIX seconds within "
            f"{tolerance:g} s of its arrival; sign again for each attempt, and check the clocks of both sides"
        )
    return timestamp


def is_recent(timestamp: str, *, now: float, tolerance: float) -> bool:
    """Return whether a timestamp is a number of POSIX seconds not further from `now` than `tolerance`."""
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _LONGEST_TIMESTAMP
    return is_number and abs(now - int(timestamp)) <= tolerance


def _signatures(header: str) -> Iterator[bytes]:
    for each in header.split(",")[:_MOST_SIGNATURES]:
        scheme, _, signature = each.strip().partition("=")
        if scheme == "v1":
            yield signature.encode()


def _digest(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, sha256).hexdigest()
