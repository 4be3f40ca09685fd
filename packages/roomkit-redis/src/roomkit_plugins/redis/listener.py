"""One connection that listens to any number of channels, made again when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError
from roomkit.abc.log import get_logger
from roomkit_plugins.redis.link import Pause
from roomkit_plugins.redis.server import TROUBLE, Server, Word, is_refusal, send

__all__ = ["Listener"]

logger = get_logger("roomkit.redis")

_PULSE = 5.0
"""Seconds between pings. A connection on which nothing comes between two of them is broken."""

type Hearer = Callable[[bytes, bytes], Awaitable[None]]
"""Is shown the channel and the message, one at a time, in the order of the server."""


class Listener:
    """Shows the messages of the wanted channels to `hear`.

    It connects for the first channel and stays connected. The server is pinged every five seconds: a
    connection that went silent without an end is made again after ten at most. While there is none, the
    server's messages are missed: `interruptions` counts how often, `on_connect` is called when it listens
    again.
    """

    def __init__(self, server: Server, hear: Hearer, on_connect: Callable[[], None] | None = None) -> None:
        self._server = server
        self._hear = hear
        self._on_connect = on_connect
        self._wanted: dict[bytes, asyncio.Future[None]] = {}  # bound: subscriptions; done: confirmed
        self._changed: dict[bytes, None] = {}  # bound: the channels
        self._unconfirmed: dict[bytes, int] = {}  # bound: the channels; how many SUBSCRIBE are under way
        self._wish = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._pause = Pause()
        self._closed = False
        self._trouble: Exception | None = None
        self._is_alive = True
        self._silence: Exception | None = None
        self.interruptions = 0

    def is_listening(self, channel: bytes) -> bool:
        """Whether messages of the channel arrive at this moment."""
        heard = self._wanted.get(channel)
        return heard is not None and heard.done()

    async def listen(self, channel: bytes, patience: float) -> bool:
        """Want the channel; return whether the server confirmed it in time. It is wanted in any case.

        Raises what TROUBLE names when the server refuses.
        """
        self.want(channel)
        heard = self._wanted.get(channel)
        if heard is None:
            return False
        await asyncio.wait([heard], timeout=patience)
        if not heard.done() or heard.cancelled():
            return False
        heard.result()
        return True

    def want(self, channel: bytes) -> None:
        """Listen to the channel from now on, without waiting for the server."""
        if self._closed or channel in self._wanted:
            return
        self._wanted[channel] = asyncio.get_running_loop().create_future()
        self._change(channel)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="redis-listen")  # supervised: close() ends it

    def forget(self, channel: bytes) -> None:
        """Want the channel no more."""
        heard = self._wanted.pop(channel, None)
        if heard is not None:
            heard.cancel()
            self._change(channel)

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        self._closed = True
        for channel in list(self._wanted):
            self.forget(channel)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _change(self, channel: bytes) -> None:
        self._changed[channel] = None
        self._wish.set()

    # -- the task ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                connection = await self._server.connect()
            except TROUBLE as error:
                self._stumble(error)
            else:
                try:
                    await self._serve(connection)
                except TROUBLE as error:
                    self.interruptions += 1
                    self._stumble(self._silence or error)
                finally:
                    await connection.disconnect(nowait=True)
            await self._pause.wait()

    def _stumble(self, error: Exception) -> None:
        loop = asyncio.get_running_loop()
        if self._trouble is None:
            logger.warning(
                "%s; it is tried again, and signals published until then are missed",
                self._server.explain(error),
            )
        self._trouble = error
        for channel, heard in self._wanted.items():
            if heard.done():
                self._wanted[channel] = loop.create_future()
            elif is_refusal(error):
                heard.set_exception(error)
                heard.exception()  # retrieved: the waiter may be gone
                self._wanted[channel] = loop.create_future()

    async def _serve(self, connection: AbstractConnection) -> None:
        self._silence = None
        self._unconfirmed.clear()
        self._changed = dict.fromkeys(self._wanted)
        self._wish.set()
        # Two directions, two tasks: who reads cannot be interrupted without losing a message.
        telling = asyncio.create_task(self._tell(connection), name="redis-subscribe")  # supervised: below
        try:
            while True:
                match await connection.read_response():
                    case [b"message", channel, message]:
                        await self._show(channel, message)
                    case [b"subscribe", channel, _]:
                        self._confirm(channel)
                self._is_alive = True
        finally:
            telling.cancel()
            await asyncio.wait([telling])

    async def _show(self, channel: bytes, message: bytes) -> None:
        try:
            await self._hear(channel, message)
        except Exception:
            logger.exception("A message from %s could not be taken", self._server)

    async def _tell(self, connection: AbstractConnection) -> None:
        """Send what changed, and pings. The reader sees a failure: the connection is closed with it."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                due = loop.time() + _PULSE
                self._is_alive = False
                await self._send(connection, [("PING",)])
                while await self._is_wished(due):
                    await self._send(connection, self._changes())
                if not self._is_alive:
                    raise ConnectionError("it went silent")
        except TROUBLE as error:
            self._silence = error
            await connection.disconnect(nowait=True)

    async def _send(self, connection: AbstractConnection, commands: Sequence[Sequence[Word]]) -> None:
        async with asyncio.timeout(_PULSE):  # a link that takes nothing any more
            await send(connection, *commands)

    async def _is_wished(self, due: float) -> bool:
        """Wait until channels are wanted or wanted no more; return False when it is time for a ping."""
        try:
            async with asyncio.timeout_at(due):
                await self._wish.wait()
        except TimeoutError:
            return False
        self._wish.clear()
        return True

    def _changes(self) -> list[tuple[Word, ...]]:
        changed, self._changed = self._changed, {}
        wanted = [channel for channel in changed if channel in self._wanted]
        for channel in wanted:
            self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
        unwanted = [channel for channel in changed if channel not in self._wanted]
        commands: list[tuple[Word, ...]] = [("UNSUBSCRIBE", *unwanted), ("SUBSCRIBE", *wanted)]
        return [command for command in commands if len(command) > 1]

    def _confirm(self, channel: bytes) -> None:
        left = self._unconfirmed.pop(channel, 1) - 1
        if left:
            self._unconfirmed[channel] = left  # it was unsubscribed in between: the last one counts
            return
        heard = self._wanted.get(channel)
        if heard is None or heard.done():
            return
        heard.set_result(None)
        self._pause = Pause()
        if self._trouble is not None:
            self._trouble = None
            logger.info("%s is listened to again", self._server)
        if self._on_connect is not None:
            self._on_connect()
