"""Requests that an SDK writes: kept for the provider, sent by it, and never mixed."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from roomkit_plugins.wire.capture import capturing_client, send, written


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


async def test_a_sent_request_has_the_clients_headers_and_no_redirect() -> None:
    """The SDK's headers go before the client's own; the timeout is the provider's."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(302, headers={"location": "http://elsewhere.invalid"})

    transport = httpx2.MockTransport(answer)
    headers = {"x-mine": "1", "x-both": "1"}
    async with httpx2.AsyncClient(transport=transport, headers=headers, follow_redirects=True) as client:
        request = httpx2.Request("POST", "http://nowhere.invalid/x", headers={"x-both": "2"})
        response = await send(client, httpx2, request, timeout=7)
        await response.aclose()
    assert response.status_code == 302
    assert (seen[0].headers["x-mine"], seen[0].headers["x-both"]) == ("1", "2")
    assert seen[0].extensions["timeout"]["read"] == 7
