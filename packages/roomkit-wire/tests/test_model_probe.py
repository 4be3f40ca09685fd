"""The messages about a model that a vendor was asked for."""

from __future__ import annotations

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.wire.model_probe import asking_for_model, model_found, model_listed
from roomkit_plugins.wire.origin import Origin

ORIGIN = Origin("acme", "Acme")


def test_an_alias_is_shown_with_what_it_stands_for() -> None:
    said = model_found(b'{"id": "acme-1-2026"}', "acme-1", "api.acme.example", ORIGIN)
    assert said == "api.acme.example takes the key and has model acme-1, as acme-1-2026"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"id": 7}'])
def test_an_answer_that_is_no_model_is_an_error(body: bytes) -> None:
    with pytest.raises(ProviderError) as caught, asking_for_model("acme-1", "api.acme.example"):
        model_found(body, "acme-1", "api.acme.example", ORIGIN)
    assert caught.value.error_code is ErrorCode.BAD_RESPONSE
    assert "check that base_url is the API, and that api.acme.example can be reached" in str(caught.value)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_failure_keeps_its_class_and_names_the_host(code: ErrorCode) -> None:
    with pytest.raises(ProviderError) as caught, asking_for_model("acme-1", "api.acme.example"):
        raise ProviderError("planted", error_code=code)
    assert caught.value.error_code is code
    assert str(caught.value).startswith("planted; ")
    assert "api.acme.example" in str(caught.value)


def test_a_list_without_the_model_names_what_is_there() -> None:
    body = b'{"data": [{"id": "a"}, {"id": "b"}]}'
    assert model_listed(body, "b", "here", ORIGIN) == "here has model b"
    with pytest.raises(ProviderError, match="here lists 2 models: a, b") as caught:
        model_listed(body, "c", "here", ORIGIN)
    assert caught.value.error_code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"data": 1}', b'{"data": [1]}', b'{"data": [{}]}']
)
def test_an_answer_that_is_no_list_is_an_error(body: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        model_listed(body, "c", "here", ORIGIN)
    assert caught.value.error_code is ErrorCode.BAD_RESPONSE
