"""Requests that an SDK writes: kept for the provider, sent by it, and never mixed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.wire.capture import Sender, capturing_client, written
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.sdk import Mask


async def test_what_an_sdk_sends_is_kept_and_answered_with_nothing() -> None:
    """The SDK reads a stream without events; the last request counts."""
    client = capturing_client(httpx2)
    heard: list[bytes] = []

    async def call() -> None:
        for body in (b"first", b"last"):
            request = client.build_request("POST", "http://nowhere.invalid/x", content=body)
            heard.append((await client.send(request, stream=True)).content)

    request = await written(call)
    await client.aclose()
    assert (request.content, heard) == (b"last", [b"", b""])


async def test_requests_of_two_tasks_do_not_mix() -> None:
    """Also when both wait inside the SDK."""
    client = capturing_client(httpx2)
    both = asyncio.Barrier(2)

    async def ask(body: bytes) -> bytes:
        async def call() -> None:
            await both.wait()
            await client.post("http://nowhere.invalid/x", content=body)
            await both.wait()

        content: bytes = (await written(call)).content
        return content

    async with asyncio.timeout(10):
        assert await asyncio.gather(ask(b"one"), ask(b"two")) == [b"one", b"two"]
    await client.aclose()


async def test_what_the_sdk_raises_comes_through() -> None:
    async def call() -> None:
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        await written(call)


def refused(status: int, said: Any, headers: Mapping[str, str]) -> ProviderError:
    """Say what the vendor said, which repeats the key."""
    return ProviderError(f"{status} {said} {headers.get('location')} hunter22-hunter22", provider="acme")


SENDER = Sender(Origin("acme"), Mask(lambda: "hunter22-hunter22"), refused, timeout=7)


async def test_a_sent_request_has_the_clients_headers_and_no_redirect() -> None:
    """The SDK's headers go before the client's own; the timeout is the provider's; the key is not told."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(302, headers={"location": "elsewhere"}, json={"no": 1})

    transport = httpx2.MockTransport(answer)
    headers = {"x-mine": "1", "x-both": "1"}
    async with httpx2.AsyncClient(transport=transport, headers=headers, follow_redirects=True) as client:
        request = httpx2.Request("POST", "http://nowhere.invalid/x", headers={"x-both": "2"})
        with pytest.raises(ProviderError) as caught:
            async with SENDER.answer(client, httpx2, request):
                pass
    assert str(caught.value) == "302 {'no': 1} elsewhere ***"
    assert (seen[0].headers["x-mine"], seen[0].headers["x-both"]) == ("1", "2")
    assert seen[0].extensions["timeout"]["read"] == 7


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (httpx2.ConnectError("gone"), ErrorCode.CONNECTION),
        (httpx2.ReadTimeout("late"), ErrorCode.TIMEOUT),
        (httpx2.DecodingError("not gzip"), ErrorCode.BAD_RESPONSE),
    ],
    ids=["connection", "timeout", "unreadable"],
)
@pytest.mark.parametrize("late", [False, True], ids=["sending", "reading"])
async def test_a_failure_until_the_answer_ends_is_the_vendors(
    raised: Exception, code: ErrorCode, late: bool
) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if late:
            return httpx2.Response(200, content=b"x")
        raise raised

    async def read(client: httpx2.AsyncClient) -> None:
        request = httpx2.Request("POST", "http://nowhere.invalid/x")
        async with SENDER.answer(client, httpx2, request) as response:
            assert await response.aread() == b"x"
            raise raised

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        with pytest.raises(ProviderError) as caught:
            await read(client)
    assert (caught.value.error_code, caught.value.provider) == (code, "acme")
