"""The signature of webhooks; the SDK's validator is the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from roomkit.abc.errors import WebhookRejected
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.twilio.signature import Form, check_signature, form_of, signature_of

TOKEN = "12345-token"
URL = "https://chat.example.org/webhooks/sms"
FORM = {"MessageSid": "SM1", "Body": "Hi & bye", "From": "+14165550123"}


def signed(
    form: Mapping[str, str], *, url: str = URL, signed_url: str | None = None, **headers: str
) -> WebhookRequest:
    signature = RequestValidator(TOKEN).compute_signature(signed_url or url, dict(form))
    given = {"X-Twilio-Signature": signature, **headers}
    return WebhookRequest(method="POST", url=url, headers=given, body=urlencode(form).encode())


def verified(request: WebhookRequest, **options: object) -> Form:
    check_signature(request, **{"token": TOKEN, "keys": {}, "public_url": None, **options})  # type: ignore[arg-type]
    return form_of(request)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=8), st.text(max_size=20)), max_size=8))
def test_signatures_are_those_of_the_sdk(pairs: list[tuple[str, str]]) -> None:
    """Of any parameters, also of a name that comes several times, in any order."""
    pairs = [
        (name.encode(errors="ignore").decode(), value.encode(errors="ignore").decode())
        for name, value in pairs
    ]
    theirs = RequestValidator(TOKEN).compute_signature(URL, _Repeated(pairs))
    assert signature_of(TOKEN, URL, pairs) == theirs


class _Repeated(dict[str, str]):
    """Parameters as web frameworks hand them over: a name may have several values."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs

    def getlist(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]


def test_a_signed_form_is_read() -> None:
    assert verified(signed(FORM)) == FORM


@pytest.mark.parametrize(
    ("seen", "called"),
    [
        ("https://a.example/x", "https://a.example:443/x"),
        ("https://a.example:443/x", "https://a.example/x"),
        ("http://a.example/x?q=1", "http://a.example:80/x?q=1"),
        ("https://a.example:8443/x", "https://a.example:8443/x"),
        ("https://a.example:8443/x", "https://a.example/x"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]:443/x"),
    ],
)
def test_the_usual_port_may_be_in_the_url_or_not(seen: str, called: str) -> None:
    """Twilio signs either spelling."""
    assert verified(signed(FORM, url=seen, signed_url=called)) == FORM


@pytest.mark.parametrize(
    "called", ["https://a.example:8443/x", "https://a.example:80/x", "http://a.example/x"]
)
def test_another_port_or_scheme_is_another_url(called: str) -> None:
    with pytest.raises(WebhookRejected, match="public_url"):
        verified(signed(FORM, url="https://a.example/x", signed_url=called))


@pytest.mark.parametrize(
    ("public_url", "called"),
    [
        ("https://chat.example.org", "https://chat.example.org/webhooks/sms?a=b"),
        ("https://example.org/chat/", "https://example.org/chat/webhooks/sms?a=b"),
    ],
)
def test_behind_a_proxy_the_public_url_is_verified(public_url: str, called: str) -> None:
    """The server sees its own address; headers that say otherwise are not believed."""
    forwarded = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    request = signed(FORM, url="http://10.0.0.7:8000/webhooks/sms?a=b", signed_url=called, **forwarded)
    assert verified(request, public_url=public_url) == FORM
    with pytest.raises(WebhookRejected):
        verified(request)


def test_a_body_is_bound_by_its_hash_in_the_url() -> None:
    """Where Twilio signs the URL alone."""
    body = urlencode(FORM).encode()
    url = f"{URL}?bodySHA256={sha256(body).hexdigest()}"
    request = replace(signed({}, url=url), body=body)
    assert verified(request) == FORM
    with pytest.raises(WebhookRejected, match="hash"):
        verified(replace(request, body=body + b"x"))


@pytest.mark.parametrize("algorithm", ["HMAC_SHA1", "HMAC_SHA256"])
def test_a_shared_key_signs_by_its_own_secret(algorithm: str) -> None:
    """With the algorithm that the header names; a key that is not known signs nothing."""
    settings = f"key=K1,algorithm={algorithm}"
    signature = signature_of("shared", URL, FORM.items(), algorithm)
    headers = {"X-Twilio-Signature": signature, "X-Twilio-Webhooks-Signature-Settings": settings}
    request = WebhookRequest(method="POST", url=URL, headers=headers, body=urlencode(FORM).encode())
    assert verified(request, keys={"K1": "shared"}) == FORM
    for keys in ({}, {"K1": "other"}, {"K2": "shared"}):
        with pytest.raises(WebhookRejected):
            verified(request, keys=keys)


@pytest.mark.parametrize(
    "settings", ["key=K1,algorithm=none", "key=K2", "algorithm=HMAC_SHA1", "K1;HMAC_SHA1"]
)
def test_an_unknown_algorithm_is_refused(settings: str) -> None:
    """Even with a signature that the auth token made."""
    request = signed(FORM, **{"X-Twilio-Webhooks-Signature-Settings": settings})
    with pytest.raises(WebhookRejected, match="shared key"):
        verified(request, keys={"K1": "shared"})


def test_a_parameter_that_comes_twice_is_refused() -> None:
    """The signature does not cover the order of its values."""
    pairs = [*FORM.items(), ("Body", "other")]
    headers = {"X-Twilio-Signature": signature_of(TOKEN, URL, pairs)}
    request = WebhookRequest(method="POST", url=URL, headers=headers, body=urlencode(pairs).encode())
    with pytest.raises(WebhookRejected, match="twice") as caught:
        verified(request)
    assert caught.value.status_code == 400
