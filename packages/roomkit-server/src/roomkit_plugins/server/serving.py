"""A server of a kit: it listens, and stops without losing what it took."""

from __future__ import annotations

import asyncio
import socket
from contextlib import nullcontext, suppress
from ipaddress import IPv4Network, ip_network
from math import ceil
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, override

import uvicorn

from roomkit_plugins.server.app import create_app
from roomkit_plugins.server.waiting import protocol_with
from roomkit_plugins.server.writing import SocketProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from roomkit.kernel.kit import RoomKit
    from roomkit_plugins.server.config import ServerConfig

__all__ = ["KitServer"]

_BACKLOG = 2048
_MARGIN = 2.0
"""Seconds that cancelled requests have to end."""


class KitServer:
    """Serves a kit by HTTP and web sockets until it is closed.

    `start` binds the address; `close` stops in order: for `drain_seconds` the server is not ready and serves
    on; then it listens no more and ends its streams and sockets; requests under way have `stop_timeout`
    seconds. Whatever was answered with 2xx is committed. Close it before the kit, which then finishes the
    deliveries; a server that is left open is closed with its kit. It catches no signals: the program does.
    """

    def __init__(self, kit: RoomKit, config: ServerConfig | None = None) -> None:
        self.app = create_app(kit, config)
        self._config = self.app.config
        self._kit = kit
        self._server: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None
        self._withdraw: Callable[[], None] = _nothing
        self._port = self._config.port

    @property
    def port(self) -> int:
        """The port it listens on; with port 0 the system has chosen it by the time it is started."""
        return self._port

    @property
    def url(self) -> str:
        """Where it is reached on this machine, without a final slash."""
        host = self._config.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    async def start(self) -> None:
        """Start the kit and listen. Once.

        Raises OSError when the address cannot be used, and what `ServerApp.build` raises.
        """
        if self._serving is not None:
            return
        await self.app.build()
        listener = await _listener(self._config.host, self._config.port)
        self._port = int(listener.getsockname()[1])
        self._withdraw = self._kit.push_async_callback(self.close)
        self._server = _Uvicorn(_uvicorn_config(self.app, self._config))
        self._serving = asyncio.create_task(  # supervised: close() awaits it
            self._server.serve([listener]), name="server of the kit"
        )
        await self._server.listening.wait()

    async def wait(self) -> None:
        """Wait until the server has stopped; raise what stopped it."""
        if self._serving is not None:
            await asyncio.shield(self._serving)

    async def close(self) -> None:
        """Stop in order. Idempotent."""
        serving, server = self._serving, self._server
        if serving is None or server is None:
            return
        self._withdraw()
        self.app.stopping.drain()
        if self._config.drain_seconds and not serving.done():
            await asyncio.wait((serving,), timeout=self._config.drain_seconds)
        self.app.stopping.begin()
        server.stop()
        await asyncio.wait((serving,), timeout=self._config.stop_timeout + _MARGIN)
        serving.cancel()
        await asyncio.wait((serving,))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class _Uvicorn(uvicorn.Server):
    """uvicorn as a part of a program: it leaves signals alone, and does not poll for its end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopped.set()

    @override
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # it is one, too
        return nullcontext()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @override
    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # each second, for the header Date
            try:
                async with asyncio.timeout(1.0):
                    await self._stopped.wait()
            except TimeoutError:
                continue


def _uvicorn_config(app: Any, config: ServerConfig) -> uvicorn.Config:  # Any: uvicorn's own type of it
    return uvicorn.Config(
        app,
        lifespan="off",  # the kit is the program's
        log_config=None,
        log_level="warning",  # below, it logs addresses with their queries
        access_log=False,
        server_header=False,
        http=protocol_with(head_timeout=config.head_timeout, send_timeout=config.send_timeout),
        ws=SocketProtocol,
        ws_max_size=config.max_frame_bytes,
        ws_per_message_deflate=False,  # chat is small; deflate costs more time and memory than it saves
        limit_concurrency=config.max_connections + 1,  # uvicorn refuses at its limit, not above it
        timeout_graceful_shutdown=ceil(config.stop_timeout),
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=[*config.trusted_proxies, *_mapped(config.trusted_proxies)],
    )


def _mapped(proxies: Sequence[str]) -> Iterator[str]:
    """Yield IPv4 networks as a socket for both families shows them (RFC 4291, section 2.5.5.2)."""
    for each in proxies:
        with suppress(ValueError):  # a name, or `*`
            network = ip_network(each)
            if isinstance(network, IPv4Network):
                yield f"::ffff:{network.network_address}/{network.prefixlen + 96}"


async def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; `::` is every one of this machine's. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(address[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=both)


def _nothing() -> None:
    """Withdraw nothing: a server that was never started is not pushed onto its kit."""
