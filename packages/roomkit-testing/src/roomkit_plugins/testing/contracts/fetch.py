"""The contract suite of guarded fetches."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from roomkit.abc.errors import (
    FetchFailedError,
    FetchRefusedError,
    InvalidInputError,
    MediaTooLargeError,
    MediaTypeRefusedError,
)
from roomkit.abc.services.fetch import GuardedFetch
from roomkit_plugins.testing.contracts.base import ContractSuite, unsaid

__all__ = ["GuardedFetchContract", "Site"]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
LIMIT = 1_000_000

NAMES = {
    "localhost": ("127.0.0.1", "::1"),
    "inside.example": ("10.0.0.5",),
    "metadata.google.internal": ("169.254.169.254",),
    "127.0.0.1.nip.example": ("127.0.0.1",),
    "one-of-two.example": ("93.184.215.14", "127.0.0.1"),
    "mapped.example": ("::ffff:127.0.0.1",),
    "zoned.example": ("fe80::1%eth0",),
}
"""What the suite's resolver knows, but for the names of a test's own."""

HOSTS = (
    *(
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
    ),
    *(
        "127.0.0.1.",
        "127.0.0.01",
        "127.0.0.0x1",
        "0x7F.1",
        "4294967295",
        "localhost",
        "LOCALHOST",
        "localhost.",
    ),
    *("0", "0.0.0.0", "127.127.127.127", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"),
    *("169.254.169.254", "0xa9fea9fe", "2852039166", "100.64.0.1", "100.100.100.200", "192.0.0.192"),
    *("168.63.129.16", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "203.0.113.7"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"),
    *("[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]"),
    *("[2002:7f00:1::]", "[2001:0:7f00:1::]", "[2001:db8::1]", "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]"),
    *("[fd00:ec2::254]", "[ff02::1]", "[fec0::1]", "[100::1]", "[::1", "::1", "[127.0.0.1]"),
    *(
        "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "\uff4cocalhost",
        "loc\u00adalhost",
        "\u24dbocalhost",
    ),
    *("127%2e0.0.1", "%31%32%37.0.0.1", "%6cocalhost", "127.0.0.1%00.example", "local\thost", "local host"),
    *(
        "user@127.0.0.1",
        "public.example@127.0.0.1",
        "public.example:80@127.0.0.1",
        "127.0.0.1\\@public.example",
    ),
    *("public.example\\@127.0.0.1", "public.example\\.127.0.0.1", "@127.0.0.1", "-.example", ".", ""),
    *(name for name in NAMES if name != "localhost"),
)
"""Hosts that must not be reached, in the spellings by which they were."""

URLS = (
    *(
        "ftp://public.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "data:text/plain,a",
        "",
        "//localhost/",
    ),
    *(
        "http:127.0.0.1/",
        "http:/127.0.0.1/",
        "http:///127.0.0.1/",
        " http://127.0.0.1/",
        "http://127.0.0.1/\r\nX: y",
    ),
    *(
        "media:abc",
        "unix:///var/run/docker.sock",
        "http://public.example:99999/",
        "http://public.example:22/",
    ),
    *("javascript:alert(1)", "http+unix://%2Fvar%2Frun/", "dict://localhost:11211/", "HTTP://LOCALHOST/"),
)


type Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Site:
    """A real server on this machine: what it answers by path, and what it was asked."""

    answers: dict[str, Script] = field(default_factory=dict)
    connections: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split(" ")[1]
            fields = (line.partition(":") for line in head[1:] if line)
            self.requests.append((path, {name.lower(): value.strip() for name, _, value in fields}))
            await self.answers[path](writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away: some tests wait for that
        finally:
            writer.close()

    def answer(
        self,
        path: str,
        body: bytes = PNG,
        *,
        status: str = "200 OK",
        content_type: str | None = "image/png",
        **headers: str,
    ) -> None:
        """Answer a path with a whole response."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [] if content_type is None else [f"Content-Type: {content_type}"]
        whole = "\r\n".join((*lines, "", "")).encode() + body

        async def write(writer: asyncio.StreamWriter) -> None:
            writer.write(whole)

        self.answers[path] = write


class GuardedFetchContract(ContractSuite):
    """Only public addresses are reached, and all limits hold, on real sockets."""

    def make_fetch(
        self,
        *,
        resolver: Callable[[str, int], Awaitable[Sequence[str]]],
        ports: frozenset[int],
        networks: Sequence[str] = (),
    ) -> GuardedFetch:
        """Return a fetch that resolves names by `resolver`, and may use these ports and networks."""
        raise unsaid(self, "make_fetch", "how a fetch is made for a resolver, ports and allowed networks")

    @pytest.fixture
    def factory(self) -> Callable[[], Any]:
        """Make fetches that reach nothing but public addresses."""
        return lambda: self.make_fetch(resolver=self._resolve, ports=frozenset({80, 443}))

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        if host not in NAMES:
            raise OSError(f"no such host: {host}")
        return NAMES[host]

    @pytest.fixture
    async def site(self) -> AsyncIterator[Site]:
        """Start a server on every address of this machine."""
        site = Site()
        async with await asyncio.start_server(site.serve, "0.0.0.0") as server:
            site.port = server.sockets[0].getsockname()[1]
            yield site

    @pytest.fixture
    async def strict(self, site: Site) -> AsyncIterator[GuardedFetch]:
        """Make a fetch that may use the server's port, and nothing but public addresses."""
        fetch = self.make_fetch(resolver=self._resolve, ports=frozenset({80, 443, site.port}))
        yield fetch
        await fetch.close()

    @pytest.fixture
    async def fetch(self, site: Site) -> AsyncIterator[GuardedFetch]:
        """Make a fetch that may reach the server at 127.0.0.1, under any name of `example`."""

        async def resolve(host: str, port: int) -> Sequence[str]:
            return ("127.0.0.1",) if host.endswith(".test") else await self._resolve(host, port)

        ports = frozenset({80, 443, site.port})
        fetch = self.make_fetch(resolver=resolve, ports=ports, networks=("127.0.0.1/32",))
        yield fetch
        await fetch.close()

    @pytest.mark.parametrize("host", HOSTS)
    async def test_no_spelling_reaches_an_address_inside(
        self, strict: GuardedFetch, site: Site, host: str
    ) -> None:
        """Neither as it stands, nor as the target of a redirect; the server counts connections."""
        for url in (
            f"http://{host}:{site.port}/",
            f"https://{host}/",
            f"http://{host}:{site.port}#@public.example/",
        ):
            with pytest.raises(FetchRefusedError):
                await strict(url, limit=LIMIT)
        assert site.connections == 0

    @pytest.mark.parametrize("url", URLS)
    async def test_only_plain_web_urls_are_requested(
        self, strict: GuardedFetch, site: Site, url: str
    ) -> None:
        """And only on the ports that are allowed."""
        with pytest.raises(FetchRefusedError, match="nothing was requested"):
            await strict(url, limit=LIMIT)
        assert site.connections == 0

    async def test_a_refusal_shows_neither_query_nor_address(self, strict: GuardedFetch) -> None:
        """A query may hold a key, and the address is the network's."""
        with pytest.raises(FetchRefusedError) as caught:
            await strict("http://inside.example/file?key=secret", limit=LIMIT)
        assert "secret" not in str(caught.value)
        assert "10.0.0.5" not in str(caught.value)

    async def test_a_name_is_resolved_once_and_the_connection_is_pinned(self, site: Site) -> None:
        """A resolver that changes its answer after the check gains nothing."""
        asked: list[str] = []

        async def rebinding(host: str, port: int) -> Sequence[str]:
            asked.append(host)
            return ("127.0.0.1",) if len(asked) == 1 else ("127.0.0.2",)

        ports, networks = frozenset({site.port}), ("127.0.0.1/32",)
        fetch = self.make_fetch(resolver=rebinding, ports=ports, networks=networks)
        site.answer("/a")
        found = await fetch(f"http://files.test:{site.port}/a", limit=LIMIT)
        assert found.data == PNG
        assert asked == ["files.test"]
        with pytest.raises(FetchRefusedError):
            await fetch(f"http://files.test:{site.port}/a", limit=LIMIT)
        assert site.connections == 1
        await fetch.close()

    async def test_the_name_stays_in_the_request(self, fetch: GuardedFetch, site: Site) -> None:
        """Servers of many hosts need it; the file's name is the path's last part."""
        site.answer("/files/a%20b.png?x=1")
        found = await fetch(
            f"http://Files.Test.:{site.port}/files/a b.png?x=1".replace(" ", "%20"), limit=LIMIT
        )
        assert site.requests[0][1]["host"] == f"files.test:{site.port}"
        assert (found.mime_type, found.filename) == ("image/png", "a b.png")

    async def test_redirects_are_checked_like_urls(self, fetch: GuardedFetch, site: Site) -> None:
        """To an address inside, to another scheme, to another port."""
        targets = (
            f"http://127.0.0.2:{site.port}/x",
            "file:///etc/passwd",
            "http://one.test:1/",
            "http://[::1]/",
        )
        for target in targets:
            site.answer("/a", b"", status="302 Found", Location=target)
            with pytest.raises(FetchRefusedError):
                await fetch(f"http://one.test:{site.port}/a", limit=LIMIT)
        assert len(site.requests) == len(targets)

    async def test_three_redirects_are_followed(self, fetch: GuardedFetch, site: Site) -> None:
        """Relative ones too; a fourth is refused."""
        for number in range(4):
            site.answer(f"/{number}", b"", status="307 Temporary Redirect", Location=f"{number + 1}")
        site.answer("/4")
        found = await fetch(f"http://one.test:{site.port}/1", limit=LIMIT)
        assert found.url == f"http://one.test:{site.port}/4"
        with pytest.raises(FetchRefusedError, match="redirects"):
            await fetch(f"http://one.test:{site.port}/0", limit=LIMIT)

    async def test_headers_stay_with_the_first_origin(self, fetch: GuardedFetch, site: Site) -> None:
        """A redirect must not carry a key elsewhere."""
        site.answer("/a", b"", status="302 Found", Location=f"http://two.test:{site.port}/b")
        site.answer("/b")
        await fetch(f"http://one.test:{site.port}/a", limit=LIMIT, headers={"Authorization": "Bearer key"})
        assert ["authorization" in headers for _, headers in site.requests] == [True, False]

    @pytest.mark.parametrize("name", ["Host", "content-length", "X-A\r\nX-B", "Accept-Encoding"])
    async def test_headers_that_would_change_the_request_are_refused(
        self, fetch: GuardedFetch, site: Site, name: str
    ) -> None:
        """Before anything is sent."""
        with pytest.raises(InvalidInputError):
            await fetch(f"http://one.test:{site.port}/a", limit=LIMIT, headers={name: "1"})
        assert site.connections == 0

    async def test_a_file_of_the_limit_passes_and_one_byte_more_does_not(
        self, fetch: GuardedFetch, site: Site
    ) -> None:
        """By the header, before the body is read."""
        site.answer("/a")
        url = f"http://one.test:{site.port}/a"
        assert len((await fetch(url, limit=len(PNG))).data) == len(PNG)
        with pytest.raises(MediaTooLargeError):
            await fetch(url, limit=len(PNG) - 1)

    async def test_reading_stops_at_the_limit(self, fetch: GuardedFetch, site: Site) -> None:
        """An answer without an end is left, whatever its header says."""
        sent = 0

        async def endless(writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n\r\n" + PNG)
            while not writer.is_closing():
                writer.write(bytes(65_536))
                sent += 65_536
                await writer.drain()

        site.answers["/a"] = endless
        with pytest.raises(MediaTooLargeError):
            await fetch(f"http://one.test:{site.port}/a", limit=100_000)
        assert sent < 50_000_000

    async def test_the_limit_counts_what_is_unpacked(self, fetch: GuardedFetch, site: Site) -> None:
        """A small answer may unpack to a thousand times its size."""
        site.answer("/small", gzip.compress(PNG), Content_Encoding="gzip")
        found = await fetch(f"http://one.test:{site.port}/small", limit=LIMIT)
        assert found.data == PNG
        site.answer("/bomb", gzip.compress(PNG + bytes(50 * LIMIT)), Content_Encoding="gzip")
        with pytest.raises(MediaTooLargeError):
            await fetch(f"http://one.test:{site.port}/bomb", limit=LIMIT)

    @pytest.mark.parametrize(
        "body", [b"no gzip", gzip.compress(PNG, mtime=0)[:-12]], ids=["no gzip", "cut off"]
    )
    async def test_a_body_that_cannot_be_unpacked_is_a_failure(
        self, fetch: GuardedFetch, site: Site, body: bytes
    ) -> None:
        """Never half a file."""
        site.answer("/a", body, Content_Encoding="gzip")
        with pytest.raises(FetchFailedError):
            await fetch(f"http://one.test:{site.port}/a", limit=LIMIT)

    async def test_the_type_is_that_of_header_and_bytes(self, fetch: GuardedFetch, site: Site) -> None:
        """Each alone may lie."""
        url = f"http://one.test:{site.port}"
        site.answer("/page", b"<!DOCTYPE html><script>", content_type="image/png")
        site.answer("/other", PNG, content_type="text/html")
        site.answer("/none", PNG, content_type=None)
        for path in ("/page", "/other", "/none"):
            with pytest.raises(MediaTypeRefusedError):
                await fetch(url + path, limit=LIMIT, types=("image/*", "application/pdf"))
        found = await fetch(f"{url}/page", limit=LIMIT)
        assert found.mime_type == "text/html"

    async def test_the_time_limit_holds_for_an_answer_that_drips(
        self, fetch: GuardedFetch, site: Site
    ) -> None:
        """No single read is late, the whole is."""
        began, gone = asyncio.Event(), asyncio.Event()

        async def drip(writer: asyncio.StreamWriter) -> None:
            began.set()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n")
            try:
                while not writer.is_closing():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.01)
            finally:
                gone.set()

        site.answers["/a"] = drip
        for timeout in (0.2, 1.0, 5.0):  # on a busy machine the first may end before the site is asked
            with pytest.raises(FetchFailedError, match="did not answer within") as caught:
                await fetch(f"http://one.test:{site.port}/a", limit=LIMIT, timeout=timeout)
            assert caught.value.retryable
            if began.is_set():
                break
        await asyncio.wait_for(gone.wait(), 10)

    @pytest.mark.parametrize(
        ("status", "retryable"),
        [("404 Not Found", False), ("403 No", False), ("503 Busy", True), ("429 Slow", True)],
    )
    async def test_an_answer_that_is_no_success_is_a_failure(
        self, fetch: GuardedFetch, site: Site, status: str, retryable: bool
    ) -> None:
        """With its status, and whether a later try may succeed."""
        site.answer("/a", status=status)
        with pytest.raises(FetchFailedError, match=status[:3]) as caught:
            await fetch(f"http://one.test:{site.port}/a", limit=LIMIT)
        assert (caught.value.status, caught.value.retryable) == (int(status[:3]), retryable)

    async def test_a_connection_that_breaks_is_a_failure(self, fetch: GuardedFetch, site: Site) -> None:
        """Before the answer, in the middle of it, or because no server listens."""

        async def nothing(writer: asyncio.StreamWriter) -> None:
            writer.close()

        async def half(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 500\r\n\r\n" + PNG)

        site.answers |= {"/nothing": nothing, "/half": half}
        for path in ("/nothing", "/half"):
            with pytest.raises(FetchFailedError) as caught:
                await fetch(f"http://one.test:{site.port}{path}", limit=LIMIT)
            assert caught.value.retryable
        with pytest.raises(FetchFailedError, match="has no address"):
            await fetch("http://unknown.example/", limit=LIMIT)
