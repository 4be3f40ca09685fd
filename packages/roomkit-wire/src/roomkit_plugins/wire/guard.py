"""Which addresses a URL may lead to: resolved once, all of them checked, and connected to as they are."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from roomkit.abc.errors import FetchFailedError
from roomkit_plugins.wire.addresses import is_public
from roomkit_plugins.wire.location import Location, refused

__all__ = ["Address", "AddressGuard", "Resolver", "resolve"]

type Address = IPv4Address | IPv6Address
type Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host name; raises OSError if there are none."""

_MOST_ADDRESSES = 4


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host by the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(each[4][0]) for each in found]


class AddressGuard:
    """Decides where requests may go.

    Public addresses are reached on `ports` (None: any), and what an operator allows: `hosts` are names that
    may have any address, with ":8443" on that port as well, and `networks` addresses that are not public.
    `any_address` allows all. `remedy` says in a refusal what the operator sets to allow an address.
    """

    def __init__(
        self,
        *,
        remedy: str,
        hosts: Collection[str] = (),
        networks: Collection[IPv4Network | IPv6Network] = (),
        ports: Collection[int] | None = None,
        any_address: bool = False,
        resolver: Resolver = resolve,
    ) -> None:
        self._remedy = remedy
        self._hosts = frozenset(hosts)
        self._networks = tuple(networks)
        self._ports = ports
        self._any_address = any_address
        self._resolve = resolver

    async def addresses(self, location: Location) -> Sequence[Address]:
        """Return up to four addresses to connect to; every address of the host is checked before.

        Raises FetchRefusedError for a host that has one that must not be reached, or a port that may not be
        used; FetchFailedError, which is retryable, for a host without an address.
        """
        named = f"{location.host}:{location.port}"
        if self._ports is not None and location.port not in self._ports and named not in self._hosts:
            raise refused(location.url, f"port {location.port} is not one of {sorted(self._ports)}")
        addresses = [location.address] if location.address is not None else await self._resolved(location)
        is_named = not self._hosts.isdisjoint((named, location.host))
        if not (is_named or all(map(self._is_allowed, addresses))):
            # Without the address, which would show the network to the one who gave the URL.
            raise refused(location.url, f"its host has an address that is not public; {self._remedy}")
        return addresses[:_MOST_ADDRESSES]

    def check(self, location: Location) -> None:
        """Check a host that is an address; a name can only be checked once it is resolved.

        Raises FetchRefusedError.
        """
        if location.address is not None and not self._is_allowed(location.address):
            raise refused(location.url, f"its address is not public; {self._remedy}")

    def _is_allowed(self, address: Address) -> bool:
        if self._any_address or is_public(address):
            return True
        return any(address.version == each.version and address in each for each in self._networks)

    async def _resolved(self, location: Location) -> list[Address]:
        try:
            found = await self._resolve(location.host, location.port)
            # A zone such as "%eth0" makes it no address that could be public.
            addresses = [ip_address(each.partition("%")[0]) for each in found]
        except (OSError, UnicodeError, ValueError) as error:
            raise FetchFailedError(
                f"{location.host} has no address ({type(error).__name__}): correct the URL, or try later",
                retryable=True,
            ) from error
        if not addresses:
            raise FetchFailedError(f"{location.host} has no address: correct the URL", retryable=True)
        return list(dict.fromkeys(addresses))
