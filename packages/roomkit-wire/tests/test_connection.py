"""How a vendor is reached: no secret stands where it shows."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from roomkit_plugins.wire.connection import check_base_url, check_headers, check_secure_url, plain_headers


@pytest.mark.parametrize(
    "url",
    [
        "http://ann:SECRET@host/v1",
        "https://SECRET@host",
        "//SECRET:x@host",
        "http://[SECRET",
        "https://host/v1?key=SECRET",
        "https://host/v1?SECRET",
        "https://host/v1#SECRET",
        "https://host#SECRET?x",
        "https://host/v1?",
    ],
)
def test_a_url_that_is_more_than_an_address_is_refused_without_repeating_it(url: str) -> None:
    """A key in a URL shows in logs, and so may not be there."""
    with pytest.raises(ValueError, match="base_url") as caught:
        check_base_url(url)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("url", [None, "https://api.example/v1", "http://127.0.0.1:8000/a@b"])
def test_other_urls_stay(url: str | None) -> None:
    """An at-sign behind the host is none of a user's."""
    assert check_base_url(url) == url


@pytest.mark.parametrize(
    "name", ["Authorization", "x-api-key", "API_KEY", "Helicone-Auth", "x-goog-token", "cookie", "my-secret"]
)
def test_a_header_that_is_secret_by_its_name_is_given_as_one(name: str) -> None:
    """Then it is sent as it is."""
    with pytest.raises(ValueError, match="SecretStr") as caught:
        check_headers({name: "hunter2"})
    assert "hunter2" not in str(caught.value)
    headers = {name: SecretStr("hunter2"), "anthropic-beta": "x"}
    check_headers(headers)
    assert plain_headers(headers) == {name: "hunter2", "anthropic-beta": "x"}


@pytest.mark.parametrize("url", ["https://api.example", "http://127.0.0.1:8080/x", "http://[::1]:1", None])
def test_a_secure_url_is_taken(url: str | None) -> None:
    """By https, or on this machine."""
    assert check_secure_url(url) == url


@pytest.mark.parametrize(
    "url",
    ["http://api.example", "http://127.0.0.1.example", "ftp://127.0.0.1", "api.example", "", "https://"],
)
def test_a_url_by_which_secrets_would_be_seen_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="https://"):
        check_secure_url(url)
