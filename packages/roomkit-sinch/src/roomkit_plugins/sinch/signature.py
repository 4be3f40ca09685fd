"""Sinch's signature of a callback: https://developers.sinch.com/docs/sms/api-reference/webhooks (Nov 2026).

Base64 of an HMAC over body, nonce and POSIX seconds, joined by dots, with the secret of the service plan.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping

from roomkit.abc.errors import WebhookRejected
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.wire.vendor_provider import check_age

__all__ = ["ALGORITHM", "NONCE", "SIGNATURE", "TIMESTAMP", "check_signature"]

SIGNATURE = "x-sinch-webhook-signature"
NONCE = "x-sinch-webhook-signature-nonce"
TIMESTAMP = "x-sinch-webhook-signature-timestamp"
ALGORITHM = "x-sinch-webhook-signature-algorithm"
_ALGORITHMS: Mapping[str, str] = {"HmacSHA256": "sha256", "HmacSHA384": "sha384", "HmacSHA512": "sha512"}


def check_signature(request: WebhookRequest, secret: str) -> None:
    """Raise WebhookRejected for a request that Sinch did not sign, or not within five minutes of now."""
    algorithm = _ALGORITHMS.get(request.header(ALGORITHM) or "")
    nonce = request.header(NONCE)
    if algorithm is None or not nonce:
        raise WebhookRejected(
            f"the callback is not signed, or by an algorithm that is none of {', '.join(_ALGORITHMS)}: have "
            "Sinch sign the callbacks of the service plan"
        )
    signed = b".".join((request.body, nonce.encode(), check_age(request, TIMESTAMP).encode()))
    expected = b64encode(hmac.new(secret.encode(), signed, algorithm).digest())
    if not hmac.compare_digest((request.header(SIGNATURE) or "").encode(), expected):
        raise WebhookRejected("the signature is not Sinch's: check that webhook_secret is the service plan's")
