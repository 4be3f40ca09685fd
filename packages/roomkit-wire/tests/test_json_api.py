"""A vendor's JSON API: requests, answers and errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import override

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError, code_for_status
from roomkit_plugins.testing.simulators import Exchange, HTTPSimulator, ReceivedRequest
from roomkit_plugins.wire.caller import HTTPAnswer
from roomkit_plugins.wire.json_api import JSONAPI
from roomkit_plugins.wire.origin import Origin

ORIGIN = Origin("acme", "Acme")
KEY = "canary-of-the-key"


class Acme(HTTPSimulator):
    """Answers with what a test puts there."""

    answer: tuple[int, bytes] = (200, b"{}")

    @override
    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        await exchange.send_bytes(*self.answer)


def refusal(answer: HTTPAnswer) -> ProviderError:
    return ORIGIN.answered(
        answer.status, code_for_status(answer.status), answer.body.decode(), headers=answer.headers
    )


@pytest.fixture
async def acme() -> AsyncIterator[Acme]:
    """Return the vendor, running."""
    async with Acme() as simulator:
        yield simulator


@pytest.fixture
async def api() -> AsyncIterator[JSONAPI]:
    """Return the API under test."""
    made = JSONAPI(
        ORIGIN,
        owner="AcmeProvider",
        distribution="roomkit-acme",
        timeout=5.0,
        headers=lambda: {"Authorization": f"Bearer {KEY}"},
        refusal=refusal,
        secrets=lambda: [KEY],
    )
    yield made
    await made.close()


async def test_a_document_is_sent_and_an_object_returned(acme: Acme, api: JSONAPI) -> None:
    acme.answer = (201, b'{"id": "m1"}')
    said = {"text": "ünï 👋", "none": None}
    assert await api.call("POST", acme.origin, said, headers={"X-Key": "k"}) == {"id": "m1"}
    (request,) = acme.requests
    assert (request.method, request.json()) == ("POST", said)
    assert request.headers["content-type"] == "application/json"
    assert (request.headers["authorization"], request.headers["x-key"]) == (f"Bearer {KEY}", "k")


async def test_without_a_document_there_is_no_body(acme: Acme, api: JSONAPI) -> None:
    acme.answer = (200, b"")
    assert await api.call("GET", acme.origin) == {}
    (request,) = acme.requests
    assert (request.body, "content-type" in request.headers) == (b"", False)


@pytest.mark.parametrize("body", [b"[]", b"nonsense", b"null"])
async def test_an_answer_that_is_no_object_is_an_error(acme: Acme, api: JSONAPI, body: bytes) -> None:
    acme.answer = (200, body)
    with pytest.raises(ProviderError) as caught:
        await api.call("POST", acme.origin, {})
    assert (caught.value.error_code, caught.value.accepted) == (ErrorCode.BAD_RESPONSE, None)


async def test_a_refusal_is_classified_and_its_key_masked(acme: Acme, api: JSONAPI) -> None:
    acme.answer = (401, f"no such key {KEY}".encode())
    with pytest.raises(ProviderError, match=r"no such key \*\*\*") as caught:
        await api.call("POST", acme.origin, {})
    assert (caught.value.error_code, caught.value.status_code) == (ErrorCode.AUTH, 401)
    assert KEY not in repr(caught.value)


async def test_an_error_of_the_plugins_own_is_masked_too(api: JSONAPI) -> None:
    assert str(api.masked(ORIGIN.refused(f"no user {KEY}"))) == "no user ***"


async def test_after_close_nothing_is_sent(acme: Acme, api: JSONAPI) -> None:
    await api.close()
    with pytest.raises(ProviderError, match="AcmeProvider is closed"):
        await api.call("POST", acme.origin, {})
    assert acme.requests == []
