"""Telnyx's signature: https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks (Nov 2026).

Ed25519 over the POSIX seconds of sending, a `|`, and the body, each as they were received.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from typing import TYPE_CHECKING

from roomkit.abc.errors import WebhookRejected
from roomkit_plugins.wire.vendor_provider import check_age

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from roomkit.models.webhook import WebhookRequest

__all__ = ["SIGNATURE", "TIMESTAMP", "check_signature", "public_key"]

SIGNATURE = "telnyx-signature-ed25519"
TIMESTAMP = "telnyx-timestamp"


def public_key(text: str) -> Ed25519PublicKey:
    """Return the key of a base64 text. Imports the library: not on the loop."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(b64decode(text, validate=True))


def check_signature(request: WebhookRequest, key: Ed25519PublicKey) -> None:
    """Raise WebhookRejected for a request that Telnyx did not sign, or not within five minutes of now."""
    from cryptography.exceptions import InvalidSignature

    timestamp = check_age(request, TIMESTAMP)
    try:
        signature = b64decode((request.header(SIGNATURE) or "").encode(), validate=True)
        key.verify(signature, timestamp.encode() + b"|" + request.body)
    except (Error, ValueError, InvalidSignature) as error:
        raise WebhookRejected(
            "the signature is not Telnyx's: check that public_key is the portal's, Keys & Credentials"
        ) from error
