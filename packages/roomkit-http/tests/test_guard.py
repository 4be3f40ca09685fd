"""Where requests may go: no spelling, no name and no change of mind leads inside."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network

import pytest
import trustme
from pydantic import ValidationError

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.http import HTTPProviderConfig, WebhookHTTPProvider
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.contracts.fetch import HOSTS, NAMES, URLS, Site
from roomkit_plugins.wire.guard import AddressGuard

AUTHORITY = trustme.CA()
MESSAGE = event("room", "hello")


async def resolve(host: str, port: int) -> Sequence[str]:
    return NAMES.get(host, ("127.0.0.1",))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Start a server on every address of this machine, which counts connections."""
    site = Site()
    async with await asyncio.start_server(site.serve, "0.0.0.0") as server:
        site.port = server.sockets[0].getsockname()[1]
        site.answer("/", b"{}")
        yield site


async def refusal_of(url: str) -> str:
    """Return the error for a URL, at construction or before the first byte is sent."""
    try:
        config = HTTPProviderConfig(webhook_url=url)
    except ValidationError as error:
        return str(error)
    provider = WebhookHTTPProvider(config, resolver=resolve)
    with pytest.raises(ProviderError) as caught:
        await provider.send(MESSAGE, "user")
    await provider.close()
    assert (caught.value.accepted, caught.value.retryable) == (False, False)
    assert caught.value.error_code is ErrorCode.PERMISSION
    return str(caught.value)


@pytest.mark.parametrize("host", HOSTS)
async def test_no_spelling_reaches_an_address_inside(site: Site, host: str) -> None:
    """Refused, with the object and the remedy; the server counts connections."""
    for url in (
        f"http://{host}:{site.port}/",
        f"https://{host}/",
        f"http://{host}:{site.port}#@public.example/",
    ):
        assert "webhook_url" in await refusal_of(url) or "allow_private_hosts" in await refusal_of(url)
    assert site.connections == 0


@pytest.mark.parametrize("url", [url for url in URLS if "public.example:22" not in url])
async def test_only_web_urls_are_taken(site: Site, url: str) -> None:
    """Any port: the operator chose it."""
    with pytest.raises(ValidationError, match="webhook_url"):
        HTTPProviderConfig(webhook_url=url)


async def test_a_name_that_changes_its_address_gains_nothing(site: Site) -> None:
    """Each request resolves once, checks, and goes to the checked address, whatever connection is open."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ("127.0.0.1",) if len(asked) == 1 else ("127.0.0.2",)

    provider = WebhookHTTPProvider(HTTPProviderConfig(webhook_url=f"http://system.test:{site.port}/"))
    only = [ip_network("127.0.0.1/32")]  # stands for a public address: tests reach this machine alone
    provider._guard = AddressGuard(remedy="", networks=only, resolver=rebinding)
    assert (await provider.send(MESSAGE, "user")).success
    with pytest.raises(ProviderError, match="not public") as caught:
        await provider.send(MESSAGE, "user")
    await provider.close()
    assert caught.value.error_code is ErrorCode.PERMISSION
    assert (len(asked), site.connections) == (2, 1)


async def test_a_refusal_does_not_show_the_network(site: Site) -> None:
    said = await refusal_of("http://inside.example/hooks/CANARY?key=CANARY")
    assert "10.0.0.5" not in said
    assert "CANARY" not in said


async def test_the_next_address_is_tried_when_one_takes_no_connection(site: Site) -> None:
    async def two(host: str, port: int) -> Sequence[str]:
        return ("127.0.0.9", "127.0.0.1")

    strict = await asyncio.start_server(site.serve, "127.0.0.1")
    async with strict:
        port = strict.sockets[0].getsockname()[1]
        config = HTTPProviderConfig(webhook_url=f"http://system.test:{port}/", allow_private_hosts=True)
        provider = WebhookHTTPProvider(config, resolver=two)
        assert (await provider.send(MESSAGE, "user")).success
        await provider.close()


async def test_a_host_without_an_address_has_not_taken_the_message() -> None:
    """So another provider may; one that is never resolved in time, too."""

    async def nothing(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    async def hanging(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    config = HTTPProviderConfig(webhook_url="https://system.example/", timeout=0.2)
    for resolver in (nothing, hanging):
        provider = WebhookHTTPProvider(config, resolver=resolver)
        with pytest.raises(ProviderError, match="cannot be reached") as caught:
            await provider.send(MESSAGE, "user")
        assert (caught.value.accepted, caught.value.retryable) == (False, True)
        await provider.close()


async def test_the_certificate_is_checked_for_the_name() -> None:
    """Although the connection is to an address; a name that the certificate has not is refused."""
    site, names = Site(), list[str | None]()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("system.test").configure_cert(context)
    context.sni_callback = lambda sock, name, context: names.append(name)
    trusting = ssl.create_default_context()
    AUTHORITY.configure_trust(trusting)
    async with await asyncio.start_server(site.serve, "127.0.0.1", ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        site.answer("/", b"{}")
        for host, taken in (("system.test", True), ("other.test", False)):
            config = HTTPProviderConfig(webhook_url=f"https://{host}:{port}/", allow_private_hosts=True)
            provider = WebhookHTTPProvider(config, resolver=resolve, ssl_context=trusting)
            if taken:
                assert (await provider.send(MESSAGE, "user")).success
            else:
                with pytest.raises(ProviderError) as caught:
                    await provider.send(MESSAGE, "user")
                assert caught.value.accepted is False
            await provider.close()
    assert names == ["system.test", "other.test"]
    assert len(site.requests) == 1


# -- roomkit check --live -------------------------------------------------------------------------


@pytest.mark.parametrize("host", [name for name in NAMES if name != "localhost"])
async def test_a_probe_refuses_a_name_that_leads_inside(site: Site, host: str) -> None:
    """As a message is refused, and without its path, which may hold a key."""
    config = HTTPProviderConfig(webhook_url=f"http://{host}:{site.port}/canary")
    provider = WebhookHTTPProvider(config, resolver=resolve)
    with pytest.raises(ProviderError, match=host) as caught:
        await provider.probe()
    await provider.close()
    assert caught.value.error_code is ErrorCode.PERMISSION
    assert "canary" not in str(caught.value)
    assert site.connections == 0


async def test_a_probe_says_what_was_checked_and_makes_no_connection(site: Site) -> None:
    async def both(host: str, port: int) -> Sequence[str]:
        return ("127.0.0.1", "::1")

    config = HTTPProviderConfig(webhook_url=f"http://shop.example:{site.port}/", allow_private_hosts=True)
    provider = WebhookHTTPProvider(config, resolver=both)
    assert await provider.probe() == (
        "shop.example has 2 addresses that may be posted to; nothing was posted, so that the path and the "
        "secret are not checked"
    )
    await provider.close()
    assert site.connections == 0


async def test_a_probe_of_a_name_without_addresses_names_it() -> None:
    async def nothing(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    provider = WebhookHTTPProvider(HTTPProviderConfig(webhook_url="https://shop.example/"), resolver=nothing)
    with pytest.raises(ProviderError, match=r"the endpoint at shop\.example cannot be reached") as caught:
        await provider.probe()
    await provider.close()
    assert caught.value.error_code is ErrorCode.CONNECTION
