"""Who may come in: keys, scopes, and how many requests and connections each may have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from roomkit.authoring.limits import TokenBucketRateLimiter
from roomkit_plugins.server.errors import (
    KeyRefusedError,
    RequestRateError,
    ScopeMissingError,
    ServerStoppingError,
)
from roomkit_plugins.server.keys import Keyring
from roomkit_plugins.server.requests import address_of
from roomkit_plugins.server.service import RoomService

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from roomkit.kernel.kit import RoomKit
    from roomkit.models.channel import RateLimit
    from roomkit_plugins.server.config import Scope, ServerConfig
    from roomkit_plugins.server.keys import Principal
    from roomkit_plugins.server.stopping import Stopping

__all__ = ["Entrance"]

_CONNECTION_RETRY = 5.0


class Entrance:
    """The one gate of the API: every request, socket and stream passes `admit` before anything is made of it.

    The address is asked first, then the key, then the key's own limit, then its scope.
    """

    def __init__(
        self,
        kit: RoomKit,
        config: ServerConfig,
        stopping: Stopping,
        limiter: TokenBucketRateLimiter | None = None,
    ) -> None:
        self._kit = kit
        self._config = config
        self._stopping = stopping
        self._keyring = Keyring(config.keys)
        self._limiter = limiter or TokenBucketRateLimiter()
        self._open: Counter[str] = Counter()
        self._services: dict[str, RoomService] = {}  # bound: configured keys

    def admit(self, connection: HTTPConnection, scope: Scope) -> Principal:
        """Return whose a request is.

        Raises RequestRateError, KeyRefusedError, ScopeMissingError, ServerStoppingError.
        """
        principal = self.identify(connection)
        self.check_scope(principal, scope)
        return principal

    def identify(self, connection: HTTPConnection) -> Principal:
        """Return whose a request is, before it says what it wants: `check_scope` follows.

        Raises RequestRateError, KeyRefusedError, ServerStoppingError.
        """
        principal = self._identified(connection)
        self._take(("key", principal.name), principal.rate_limit, f"key {principal.name!r}")
        return principal

    def check_scope(self, principal: Principal, scope: Scope) -> None:
        """Raise ScopeMissingError for a key that may not be used for `scope`."""
        if scope not in principal.scopes:
            raise ScopeMissingError(
                f"key {principal.name!r} has no scope {scope.value!r}: add it in the server's configuration"
            )

    def _identified(self, connection: HTTPConnection) -> Principal:
        address = self.check_address(connection)
        self._check_refusals(address)
        principal = self._keyring.find(connection.headers.get("authorization"))
        if principal is None:
            self.refuse(address)
            raise KeyRefusedError("no valid key was sent: send one as `Authorization: Bearer KEY`")
        return principal

    def check_address(self, connection: HTTPConnection) -> str:
        """Count a request of an address, and return that. Raises RequestRateError, ServerStoppingError."""
        if self._stopping.has_begun:
            raise ServerStoppingError("the server is stopping: send the request to another one, or again")
        address = address_of(connection)
        self._take(("address", address), self._config.address_rate_limit, "this address")
        return address

    def check_refused(self, connection: HTTPConnection) -> str:
        """Do `check_address` for a caller without a key, whose refusals count too."""
        address = self.check_address(connection)
        self._check_refusals(address)
        return address

    def refuse(self, address: str) -> None:
        """Count a request that had no valid key or ticket."""
        self._limiter.take(("refusals", address), self._config.refusal_rate_limit)

    def _check_refusals(self, address: str) -> None:
        seconds = self._limiter.delay(("refusals", address), self._config.refusal_rate_limit)
        if seconds:
            raise RequestRateError(
                f"too many requests of this address had no valid key: wait {seconds:.1f} s",
                retry_after=seconds,
            )

    def _take(self, key: tuple[str, str], limit: RateLimit, who: str) -> None:
        if not self._limiter.acquire(key, limit):
            seconds = self._limiter.delay(key, limit)
            raise RequestRateError(
                f"{who} makes too many requests: wait {seconds:.1f} s", retry_after=seconds
            )

    def hold(self, principal: Principal) -> AbstractContextManager[None]:
        """Return what holds one of the connections that a key may have open. Raises RequestRateError."""
        if self._open[principal.name] >= principal.max_connections:
            raise RequestRateError(
                f"{principal.max_connections} connections of key {principal.name!r} are open: close one",
                retry_after=_CONNECTION_RETRY,
            )
        return self._held(principal.name)

    @contextmanager
    def _held(self, name: str) -> Iterator[None]:
        self._open[name] += 1
        try:
            yield
        finally:
            self._open[name] -= 1

    @property
    def open_connections(self) -> int:
        """How many sockets and streams are open."""
        return self._open.total()

    def service(self, principal: Principal) -> RoomService:
        """Return the operations on a key's part of the kit."""
        service = self._services.get(principal.name)
        if service is None:
            service = self._services[principal.name] = RoomService(self._kit, principal.organization)
        return service

    def principal(self, name: str) -> Principal | None:
        """Return a configured key by its name, None once it was taken out of the configuration."""
        return self._keyring.named(name)
