"""One request to an HTTP API: whether the vendor may have it is always said."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.wire.caller import HTTPCaller
from roomkit_plugins.wire.origin import Origin

ORIGIN = Origin("acme", "Acme")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Id: 7\r\n\r\nhi"


@asynccontextmanager
async def vendor(answer: bytes | None, *, hold: bool = False) -> AsyncIterator[str]:
    """Answer each request with these bytes, and close; None closes without any."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is not None:
            writer.write(answer)
        if hold:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"


async def failure_of(url: str, *, timeout: float = 5.0) -> ProviderError:
    caller = HTTPCaller(ORIGIN, httpx2, timeout=timeout)
    with pytest.raises(ProviderError) as caught:
        await caller.call("POST", url, headers={}, body=b"hello")
    await caller.close()
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 204, 400, 429, 503])
async def test_an_answer_is_returned_whatever_its_status(status: int) -> None:
    async with vendor(OK.replace(b"200", str(status).encode())) as url:
        caller = HTTPCaller(ORIGIN, httpx2, timeout=5.0)
        answer = await caller.call("POST", url, headers={"X-Mine": "1"}, body=b"hello")
        await caller.close()
        await caller.close()
    assert (answer.status, answer.headers["x-id"]) == (status, "7")
    assert answer.body == (b"" if status == 204 else b"hi")


async def test_a_vendor_that_is_not_reached_has_nothing() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    error = await failure_of(url)
    assert (error.error_code, error.accepted, error.retryable) == (ErrorCode.CONNECTION, False, True)


@pytest.mark.parametrize(
    ("answer", "hold", "code"),
    [
        (None, False, ErrorCode.CONNECTION),
        (OK[:-1], False, ErrorCode.CONNECTION),
        (b"nonsense\r\n\r\n", False, ErrorCode.CONNECTION),
        (None, True, ErrorCode.TIMEOUT),
        (OK[:-1], True, ErrorCode.TIMEOUT),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1_048_577), False, ErrorCode.BAD_RESPONSE),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nhi", False, ErrorCode.BAD_RESPONSE),
    ],
    ids=["closed", "cut short", "no HTTP", "silent", "stalled", "endless", "undecodable"],
)
async def test_without_a_whole_answer_the_vendor_may_have_it(
    answer: bytes | None, hold: bool, code: ErrorCode
) -> None:
    async with vendor(answer, hold=hold) as url:
        error = await failure_of(url, timeout=0.3 if hold else 5.0)
    assert (error.error_code, error.accepted) == (code, None)


async def test_a_redirect_is_not_followed() -> None:
    """No secret goes where it leads; the error names the host."""
    async with vendor(
        b"HTTP/1.1 307 X\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n"
    ) as url:
        error = await failure_of(url)
    assert (error.error_code, error.accepted) == (ErrorCode.NOT_FOUND, False)
    assert "evil.example" in str(error)


async def test_a_client_of_the_program_stays_its_own() -> None:
    async with vendor(OK) as url, httpx2.AsyncClient() as client:
        caller = HTTPCaller(ORIGIN, httpx2, timeout=5.0, client=client)
        await caller.call("GET", url, headers={})
        await caller.close()
        assert not client.is_closed


async def test_the_url_of_a_request_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """It may hold a key; requests of other clients stay in the library's log."""
    caplog.set_level("INFO")
    async with vendor(OK) as url:
        caller = HTTPCaller(ORIGIN, httpx2, timeout=5.0)
        await caller.call("POST", f"{url}/CANARY", headers={}, body=b"hello")
        await caller.close()
        assert "CANARY" not in caplog.text
        async with httpx2.AsyncClient() as other:
            await other.get(f"{url}/other")
    assert "/other" in caplog.text


async def test_a_call_may_have_a_time_limit_and_a_size_of_its_own() -> None:
    """For a request that the vendor keeps open, and for a file."""
    caller = HTTPCaller(ORIGIN, httpx2, timeout=0.01)
    async with vendor(OK) as url:
        assert (await caller.call("GET", url, headers={}, timeout=5.0)).body == b"hi"
    async with vendor(None, hold=True) as url:
        with pytest.raises(ProviderError, match=r"within 0\.02 s"):
            await caller.call("GET", url, headers={}, timeout=0.02)
    async with vendor(OK) as url:
        with pytest.raises(ProviderError, match="more than 1 bytes"):
            await caller.call("GET", url, headers={}, timeout=5.0, largest=1)
    large = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1_048_577)
    async with vendor(large) as url:
        answer = await caller.call("GET", url, headers={}, timeout=5.0, largest=2_000_000)
        assert len(answer.body) == 1_048_577
    await caller.close()
