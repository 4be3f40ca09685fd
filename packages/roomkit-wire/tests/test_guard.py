"""Which addresses a URL may lead to; the whole corpus is tried by those who request by it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from roomkit.abc.errors import FetchFailedError, FetchRefusedError
from roomkit_plugins.testing.contracts.fetch import HOSTS, NAMES
from roomkit_plugins.wire.guard import AddressGuard
from roomkit_plugins.wire.location import Location

PUBLIC = "93.184.215.14"


async def resolve(host: str, port: int) -> Sequence[str]:
    return NAMES.get(host, (PUBLIC,))


def guard(**options: Any) -> AddressGuard:
    return AddressGuard(**{"remedy": "ask the operator", "resolver": resolve, **options})


@pytest.mark.parametrize("host", HOSTS)
async def test_no_spelling_of_an_address_inside_passes(host: str) -> None:
    with pytest.raises(FetchRefusedError):
        await guard().addresses(Location.of(f"http://{host}/"))


async def test_a_refusal_says_what_the_operator_sets() -> None:
    with pytest.raises(FetchRefusedError, match="ask the operator"):
        await guard().addresses(Location.of("http://inside.example/"))
    with pytest.raises(FetchRefusedError, match="ask the operator"):
        guard().check(Location.of("http://10.0.0.5/"))
    guard().check(Location.of("http://inside.example/"))  # a name is judged once it is resolved


@pytest.mark.parametrize(
    ("options", "url", "passes"),
    [
        ({}, "https://public.example/", True),
        ({}, "https://public.example:8443/", True),
        ({"ports": {443}}, "https://public.example:8443/", False),
        ({"ports": {443}, "hosts": {"public.example:8443"}}, "https://public.example:8443/", True),
        ({"ports": {443}, "hosts": {"public.example"}}, "https://public.example:8443/", False),
        ({"hosts": {"inside.example"}}, "https://inside.example/", True),
        ({"networks": [ip_network("10.0.0.0/8")]}, "https://inside.example/", True),
        ({"networks": [ip_network("10.0.0.0/8")]}, "https://localhost/", False),
        ({"networks": [ip_network("127.0.0.0/8")]}, "https://localhost/", False),  # ::1 is not in it
        ({"any_address": True}, "https://localhost/", True),
    ],
)
async def test_an_operator_allows_ports_hosts_and_networks(
    options: dict[str, Any], url: str, passes: bool
) -> None:
    if passes:
        assert await guard(**options).addresses(Location.of(url))
    else:
        with pytest.raises(FetchRefusedError):
            await guard(**options).addresses(Location.of(url))


async def test_four_addresses_are_tried_and_all_are_checked() -> None:
    many = [f"93.184.215.{number}" for number in range(6)]

    async def six(host: str, port: int) -> Sequence[str]:
        return many if host == "public.example" else [*many, "127.0.0.1"]

    found = await guard(resolver=six).addresses(Location.of("http://public.example/"))
    assert [str(each) for each in found] == many[:4]
    with pytest.raises(FetchRefusedError):
        await guard(resolver=six).addresses(Location.of("http://other.example/"))


@pytest.mark.parametrize("found", [(), ("nonsense",)])
async def test_a_host_without_an_address_is_a_failure_that_may_pass(found: Sequence[str]) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return found

    with pytest.raises(FetchFailedError, match="has no address") as caught:
        await guard(resolver=resolver).addresses(Location.of("http://public.example/"))
    assert caught.value.retryable


def test_a_location_is_written_at_an_address() -> None:
    location = Location.of("https://Files.Example:8443/a?b=c")
    assert location.at(ip_address(PUBLIC)) == f"https://{PUBLIC}:8443/a?b=c"
    assert location.at(ip_address("2001:4860::1")) == "https://[2001:4860::1]:8443/a?b=c"
    assert (location.tls_name, location.authority) == ("files.example", "files.example:8443")
    assert Location.of(f"https://{PUBLIC}/").tls_name is None


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(FetchRefusedError, match="port"):
        Location.of(f"http://public.example:{port}/")
