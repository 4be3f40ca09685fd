"""One connection to an MCP server, made when it is needed and made again when it is lost."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from roomkit.abc.log import get_logger
from roomkit_plugins.mcp.errors import MCPUnavailableError
from roomkit_plugins.mcp.listing import sifted
from roomkit_plugins.wire.connection import plain_headers

if TYPE_CHECKING:
    import httpx2

    from mcp import Client
    from mcp.client import Transport
    from mcp.client._transport import TransportStreams
    from mcp.client.session import IncomingMessage
    from roomkit_plugins.mcp.config import MCPConfig
    from roomkit_plugins.mcp.listing import Refuse

__all__ = ["ServerConnection"]

logger = get_logger("roomkit.mcp")

FIRST_DELAY = 0.5
LONGEST_DELAY = 60.0
HTTP_TIMEOUT = 30.0
HTTP_READ_TIMEOUT = 300.0
"""Seconds without a byte, of streams that a server may keep open; calls have deadlines of their own."""
CLOSE_TIMEOUT = 10.0
"""Seconds that a connection has to end; the SDK gives a program about six before it is killed."""


class ServerConnection:
    """Holds a client of a server in a task of its own: the SDK enters and leaves it in one task.

    After a failure the next attempt waits half a second, then twice as long each time, up to a minute; until
    then a request for a client fails at once.
    """

    def __init__(
        self,
        config: MCPConfig,
        *,
        http_client: httpx2.AsyncClient | None,
        refuse: Refuse,
        on_change: Callable[[], None],
    ) -> None:
        self._config = config
        self._http_client = http_client
        self._refuse = refuse
        self._on_change = on_change
        self._ready: asyncio.Future[Client] | None = None
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()  # bound: a lost connection or two, and the current one
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._cause = ""

    @property
    def is_open(self) -> bool:
        """Whether there is a client that is not known to be lost."""
        ready = self._ready
        return ready is not None and ready.done() and not ready.cancelled() and ready.exception() is None

    async def client(self) -> Client:
        """Return the client, connected; connect if there is none. Raises MCPUnavailableError."""
        if self._ready is None:
            self._begin()
        assert self._ready is not None
        return await asyncio.shield(self._ready)

    def begin(self) -> None:
        """Start to connect, unless that has begun."""
        if self._ready is None:
            with suppress(MCPUnavailableError):  # its time has not come; a later use tries again
                self._begin()

    def drop(self, client: Client) -> None:
        """Leave a client whose connection is lost; the next use connects again."""
        if self.is_open and self._ready is not None and self._ready.result() is client:
            self._leave()

    async def close(self) -> None:
        """End the connection. Idempotent; a later use connects again."""
        self._leave()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT)
        for task in late:
            task.cancel()

    def _leave(self) -> None:
        self._over.set()
        if self._ready is not None and not self._ready.done() and self._task is not None:
            self._task.cancel()
        self._ready = None

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        wait = self._retry_at - loop.time()
        if wait > 0:
            raise MCPUnavailableError(
                f"the MCP server {self._config.label} cannot be reached: {self._cause}; next attempt in "
                f"{wait:.1f} s"
            )
        self._over = asyncio.Event()
        self._ready = loop.create_future()
        work, name = self._hold(self._ready, self._over), f"mcp:{self._config.label}"
        own = contextvars.Context()  # empty: what a turn has in its context is not the connection's
        self._task = task = loop.create_task(work, name=name, context=own)  # supervised: by `close`
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, self._ready))

    def _ended(self, ready: asyncio.Future[Client], task: asyncio.Task[None]) -> None:
        """Leave no caller waiting for a task that ended, even one that was cancelled before it ran."""
        self._tasks.discard(task)
        if self._ready is ready:
            self._ready = None
        if not ready.done():
            _fail(
                ready,
                MCPUnavailableError(f"connecting to the MCP server {self._config.label} was stopped: closed"),
            )

    async def _hold(self, ready: asyncio.Future[Client], over: asyncio.Event) -> None:
        try:
            async with AsyncExitStack() as stack:
                client = await self._connected(stack)
                self._failures = 0
                ready.set_result(client)
                await self._serve(client, over)
        except Exception as error:  # noqa: BLE001 - the SDK lets through what its parts raise, in groups too
            self._lost(ready, error)

    async def _connected(self, stack: AsyncExitStack) -> Client:
        seconds = self._config.connect_timeout
        try:
            async with asyncio.timeout(seconds):
                return await stack.enter_async_context(await self._new_client())
        except TimeoutError as error:
            raise MCPUnavailableError(f"no answer in {seconds:g} s") from error

    def _lost(self, ready: asyncio.Future[Client], error: Exception) -> None:
        if ready.done():
            logger.info("the connection to the MCP server %s was lost: %s", self._config.label, _said(error))
            return
        self._cause = _said(error)
        delay = min(FIRST_DELAY * 2**self._failures, LONGEST_DELAY)
        self._failures += 1
        self._retry_at = asyncio.get_running_loop().time() + delay * random.uniform(0.75, 1.0)
        logger.warning("the MCP server %s cannot be reached: %s", self._config.label, self._cause)
        failure = MCPUnavailableError(
            f"the MCP server {self._config.label} cannot be reached: {self._cause}; check that it runs there"
        )
        failure.__cause__ = error
        _fail(ready, failure)

    async def _serve(self, client: Client, over: asyncio.Event) -> None:
        listening = asyncio.ensure_future(self._listen(client, over))  # supervised: ends here
        try:
            await over.wait()
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _listen(self, client: Client, over: asyncio.Event) -> None:
        """Take note of changes of the server's tools, where they have to be asked for (2026-07-28)."""
        from mcp import MCPError
        from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost

        try:
            async with client.listen(tools_list_changed=True) as changes:
                self._on_change()  # earlier changes were not announced
                async for _ in changes:
                    self._on_change()
        except SubscriptionLost:
            over.set()
            self.drop(client)
        except (ListenNotSupportedError, MCPError, TimeoutError):
            return  # this server does not say, or says so unasked (`_heard`)

    async def _heard(self, message: IncomingMessage) -> None:
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self._on_change()

    async def _new_client(self) -> Client:
        await asyncio.to_thread(import_module, "mcp")  # it takes a second
        from mcp import Client

        return Client(
            sifted(self._dial(), self._refuse),
            read_timeout_seconds=self._config.connect_timeout,
            message_handler=self._heard,
            cache=None,
        )

    @asynccontextmanager
    async def _dial(self) -> AsyncGenerator[TransportStreams]:
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(await self._transport(stack))

    async def _transport(self, stack: AsyncExitStack) -> Transport:
        config = self._config
        if config.command is not None:
            from mcp import StdioServerParameters, stdio_client

            program, *arguments = config.command
            environment = plain_headers(config.env)
            return stdio_client(
                StdioServerParameters(command=program, args=arguments, env=environment, cwd=config.cwd)
            )
        assert config.url is not None
        headers = plain_headers(config.headers)
        if config.transport == "sse":
            from mcp.client.sse import sse_client

            return sse_client(config.url, headers=headers)
        from mcp.client.streamable_http import streamable_http_client

        client = self._http_client or await stack.enter_async_context(_http_client(headers))
        return streamable_http_client(config.url, http_client=client)


def _http_client(headers: dict[str, str]) -> httpx2.AsyncClient:
    import httpx2

    return httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(HTTP_TIMEOUT, read=HTTP_READ_TIMEOUT))


def _fail(ready: asyncio.Future[Client], error: Exception) -> None:
    ready.set_exception(error)
    ready.exception()  # looked at, so that asyncio does not report it if no turn waits


def _said(error: BaseException) -> str:
    """Return what an error says; of a group its first member."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
