"""What only this fetch has: names and networks that an operator allows, and TLS to a pinned address."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network

import pytest
import trustme

from roomkit.abc.errors import FetchFailedError, FetchRefusedError
from roomkit_plugins.media import FetchConfig, PinnedFetch
from roomkit_plugins.testing.contracts.fetch import PNG, Site

AUTHORITY = trustme.CA()


async def resolve(host: str, port: int) -> Sequence[str]:
    return ("127.0.0.1",)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Serve over TLS, and note the name that a client asks for."""
    site = Site()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("files.test").configure_cert(context)
    names: list[str | None] = []
    context.sni_callback = lambda sock, name, context: names.append(name)
    async with await asyncio.start_server(site.serve, "127.0.0.1", ssl=context) as server:
        site.port = server.sockets[0].getsockname()[1]
        site.answer("/a")
        site.names = names  # type: ignore[attr-defined]  # of this test alone
        yield site


async def test_the_certificate_is_checked_for_the_name(site: Site) -> None:
    """The connection is to an address; name and certificate are the host's."""
    config = FetchConfig(allow_hosts=(f"files.test:{site.port}", f"other.test:{site.port}"))
    trusting = ssl.create_default_context()
    AUTHORITY.configure_trust(trusting)
    fetch = PinnedFetch(config, resolver=resolve, ssl_context=trusting)
    found = await fetch(f"https://files.test:{site.port}/a", limit=1000)
    assert found.data == PNG
    assert site.names == ["files.test"]  # type: ignore[attr-defined]  # of this test alone
    with pytest.raises(FetchFailedError, match=r"other\.test cannot be reached"):
        await fetch(f"https://other.test:{site.port}/a", limit=1000)
    with pytest.raises(FetchFailedError):
        await PinnedFetch(config, resolver=resolve)(f"https://files.test:{site.port}/a", limit=1000)
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    ("allowed", "host", "passes"),
    [
        ("files.test:{port}", "files.test", True),
        ("files.test", "files.test", False),  # not on that port
        ("other.test:{port}", "files.test", False),
        ("127.0.0.1:{port}", "127.0.0.1", True),
    ],
)
async def test_a_host_is_allowed_by_name_and_port(site: Site, allowed: str, host: str, passes: bool) -> None:
    """Its addresses are not checked; every other host's are."""
    config = FetchConfig(allow_hosts=(allowed.format(port=site.port),))
    fetch = PinnedFetch(config, resolver=resolve)
    with pytest.raises(FetchFailedError if passes else FetchRefusedError):  # it is http to a TLS server
        await fetch(f"http://{host}:{site.port}/a", limit=1000)


async def test_a_network_is_allowed_on_the_ports_that_are(site: Site) -> None:
    """And no other network."""
    for networks, ports in ((("127.0.0.2/32",), {site.port}), (("127.0.0.0/8",), {80})):
        config = FetchConfig(allow_networks=tuple(map(ip_network, networks)), ports=frozenset(ports))
        with pytest.raises(FetchRefusedError):
            await PinnedFetch(config, resolver=resolve)(f"http://files.test:{site.port}/a", limit=1000)
    assert site.connections == 0


async def test_the_next_address_is_tried_when_one_cannot_be_reached(site: Site) -> None:
    async def two(host: str, port: int) -> Sequence[str]:
        return ("127.0.0.9", "127.0.0.1")

    config = FetchConfig(allow_hosts=(f"files.test:{site.port}",))
    trusting = ssl.create_default_context()
    AUTHORITY.configure_trust(trusting)
    found = await PinnedFetch(config, resolver=two, ssl_context=trusting)(
        f"https://files.test:{site.port}/a", limit=1000
    )
    assert found.data == PNG


async def test_the_url_of_a_file_is_in_no_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """It may be signed."""
    caplog.set_level("INFO")
    site.answer("/a?key=CANARY")
    trusting = ssl.create_default_context()
    AUTHORITY.configure_trust(trusting)
    config = FetchConfig(allow_hosts=(f"files.test:{site.port}",))
    fetch = PinnedFetch(config, resolver=resolve, ssl_context=trusting)
    await fetch(f"https://files.test:{site.port}/a?key=CANARY", limit=1000)
    assert "CANARY" not in caplog.text
