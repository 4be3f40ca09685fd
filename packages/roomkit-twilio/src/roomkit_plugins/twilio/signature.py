"""Twilio's signature of a webhook: https://www.twilio.com/docs/usage/security (Nov 2026).

Base64 of an HMAC over the URL that Twilio called, followed by each parameter of the form, name and value,
sorted by name; a name that comes twice is there with each of its distinct values, sorted. A body that is no
form is covered by its SHA-256 in the URL (`bodySHA256`).
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha1, sha256
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit, urlunsplit

from roomkit.abc.errors import WebhookRejected
from roomkit.models.webhook import WebhookRequest

__all__ = ["Form", "check_signature", "form_of", "signature_of"]

type Form = Mapping[str, str]
"""The parameters of a webhook, each once."""

_SIGNATURE = "x-twilio-signature"
_SETTINGS = "x-twilio-webhooks-signature-settings"
_ALGORITHMS: Mapping[str, Callable[..., Any]] = {"HMAC_SHA1": sha1, "HMAC_SHA256": sha256}
_DEFAULT_PORTS = {"https": 443, "http": 80}
_MOST_FIELDS = 1000


def signature_of(
    secret: str, url: str, pairs: Iterable[tuple[str, str]] = (), algorithm: str = "HMAC_SHA1"
) -> str:
    """Return the signature of a request to `url` with these form parameters."""
    signed = url + "".join(name + value for name, value in sorted(set(pairs)))
    digest = hmac.new(secret.encode(), signed.encode(), _ALGORITHMS[algorithm]).digest()
    return b64encode(digest).decode()


def check_signature(
    request: WebhookRequest, *, token: str, keys: Mapping[str, str], public_url: str | None
) -> None:
    """Raise WebhookRejected for a request that Twilio did not sign; `keys` are shared ones, by their ids."""
    secret, algorithm = _secret_of(request, token, keys)
    given = (request.header(_SIGNATURE) or "").encode()
    pairs = _pairs(request.body)
    url = _called(request.url, public_url)
    hashed = parse_qs(urlsplit(url).query).get("bodySHA256", [""])[-1]
    if hashed and not hmac.compare_digest(hashed.lower().encode(), sha256(request.body).hexdigest().encode()):
        raise WebhookRejected("the body is not the one whose hash the webhook's URL has")
    signed = () if hashed else pairs
    candidates = [signature_of(secret, each, signed, algorithm).encode() for each in _spellings(url)]
    matches = [hmac.compare_digest(given, each) for each in candidates]  # each, whatever the ones before were
    if True not in matches:
        raise WebhookRejected(
            f"the signature is not Twilio's for {urlsplit(url)._replace(query='').geturl()}: check the auth "
            "token, and behind a proxy set public_url to what the URL of the webhook begins with"
        )


def form_of(request: WebhookRequest) -> Form:
    """Return a request's form. Raises WebhookRejected for other bytes, and for a name that comes twice."""
    pairs = _pairs(request.body)
    form = dict(pairs)
    if len(form) != len(pairs):
        raise WebhookRejected("a parameter of the webhook comes twice", status_code=400)
    return form


def _secret_of(request: WebhookRequest, token: str, keys: Mapping[str, str]) -> tuple[str, str]:
    """Return what a request was signed with: the auth token, or the shared key that its header names."""
    settings = request.header(_SETTINGS)
    if not settings:
        return token, "HMAC_SHA1"
    said = dict(each.strip().partition("=")[::2] for each in settings.split(","))
    secret, algorithm = keys.get(said.get("key", "")), said.get("algorithm", "HMAC_SHA1")
    if secret is None or algorithm not in _ALGORITHMS:
        raise WebhookRejected(
            "the webhook was signed with a shared key that is not known, or by an unknown algorithm: put the "
            "key into webhook_keys"
        )
    return secret, algorithm


def _pairs(body: bytes) -> list[tuple[str, str]]:
    """Return a form's parameters. Raises WebhookRejected for bytes that a form cannot have.

    Decoded strictly: two different bodies may not read alike, or the signature of one would be good for the
    other.
    """
    try:
        return parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError as error:
        raise WebhookRejected(f"the webhook's body is not a form: {error}", status_code=400) from error


def _called(url: str, public_url: str | None) -> str:
    """Return the URL that Twilio called, where the server was reached by another."""
    if public_url is None:
        return url
    parts = urlsplit(url)
    return public_url.rstrip("/") + urlunsplit(("", "", parts.path, parts.query, ""))


def _spellings(url: str) -> Iterator[str]:
    """Yield a URL as it stands, and with or without its port: Twilio signs either."""
    parts = urlsplit(url)
    yield url
    try:
        port, usual = parts.port, _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return
    if port is not None:
        yield parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()
    elif usual is not None:
        yield parts._replace(netloc=f"{parts.netloc}:{usual}").geturl()
