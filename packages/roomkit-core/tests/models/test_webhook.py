"""WebhookRequest: any vendor's request, and only typed errors."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.models import WebhookRequest
from roomkit.models.webhook import WebhookBodyError
from roomkit_plugins.testing.contracts.strategies import PROPERTY


def request(**fields: object) -> WebhookRequest:
    return WebhookRequest(**{"method": "POST", "url": "https://h/x", "headers": {}, **fields})  # type: ignore[arg-type]


def test_headers_are_found_whatever_their_case() -> None:
    got = request(headers={"X-Twilio-Signature": "abc"})

    assert got.header("x-twilio-signature") == got.header("X-TWILIO-SIGNATURE") == "abc"
    assert got.header("nope") is None
    assert got.header("nope", "-") == "-"


@pytest.mark.parametrize(
    ("url", "query"),
    [
        ("https://h/x", {}),
        ("https://h/x?a=1&b=", {"a": "1", "b": ""}),
        ("https://h/x?a=1&a=2", {"a": "2"}),
        ("https://h/x?q=a%20b+c", {"q": "a b c"}),
    ],
)
def test_the_query_is_read(url: str, query: dict[str, str]) -> None:
    """Blank values are values."""
    assert request(url=url).query() == query


@given(form=st.dictionaries(st.text(), st.lists(st.text(), min_size=1, max_size=3), max_size=5))
@PROPERTY
def test_a_form_is_read_as_it_was_written(form: dict[str, list[str]]) -> None:
    try:
        body = urlencode(form, doseq=True).encode()
    except UnicodeEncodeError:
        return
    assert request(body=body).form() == form


@given(body=st.binary(max_size=200))
@PROPERTY
def test_any_bytes_are_read_or_refused_with_one_error(body: bytes) -> None:
    """Nothing else comes out of a body."""
    for read, what in ((request(body=body).json, "JSON"), (request(body=body).form, "a form")):
        try:
            read()
        except WebhookBodyError as error:
            assert str(error).startswith(f"the webhook's body is not {what}: ")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": NaN}', b'"\\ud800"'])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookBodyError, match="the webhook's body is not JSON"):
        request(body=body).json()


@pytest.mark.parametrize("body", [b"a=\xff\xfe", b"&".join(b"f%d=1" % n for n in range(1001))])
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookBodyError, match="the webhook's body is not a form"):
        request(body=body).form()


def test_the_body_does_not_show() -> None:
    assert "canary" not in repr(request(body=b"canary"))
