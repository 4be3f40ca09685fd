"""Room locks that many workers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Self, override

from roomkit.abc.errors import LockLostError
from roomkit.abc.locks import RoomLockManager
from roomkit.memory.locks import InMemoryLockManager
from roomkit.models.base import new_id
from roomkit_plugins.redis.config import RedisLockConfig
from roomkit_plugins.redis.leases import MEMORY, RoomKeys, RoomLease, RoomLeases
from roomkit_plugins.redis.link import Link, Question, deadline_of_start
from roomkit_plugins.redis.listener import Listener
from roomkit_plugins.redis.scripts import ACQUIRE, SCRIPTS
from roomkit_plugins.redis.server import TROUBLE, Server

__all__ = ["RedisLockManager"]

_ASK_AGAIN = 1.0
"""Seconds after which a waiter asks again without a notification."""
_PLACE_KEPT = 3000
"""Milliseconds for which a waiter that does not ask again keeps its place."""
_CLOSING = 1.0
_KEEPS = ":k"
"""The end of an owner whose lock may be kept; see `scripts`."""


class RedisLockManager(RoomLockManager):
    """Excludes the tasks of all processes that use the same server, database and prefix.

    A lock is a lease of `lock_seconds`, renewed while it is held. It is lost when it could not be
    renewed in time: the worker stood still, the server was away, or it lost its data and another
    worker came first. `lost` counts that; the token then keeps the holder from committing.

    The token is at least the server's clock in microseconds, and at least one more than the last of
    that room. So it rises even after the server lost its data. Only a server that lost its data
    *and* whose clock was set back gives tokens below earlier ones, until its clock has caught up: the
    store refuses their holders with LockLostError, and a holder from before the loss is not fenced off.

    Tasks of one process wait in order of arrival; so do the processes, each with one task at a time. A
    waiting process is notified when its turn comes, and asks again every second in case it was not. There
    are two connections, one for requests and one for notifications; leaving a lock does not wait for either.

    The lock of a room that this process uses again and again stays with it, so that entering asks the server
    nothing and yields the same token. It is released when another process asks for it, 30 s after its last
    use, as the least recently used of more than 1,000, and by `close()`; `kept` counts such locks. If a
    process is killed, its rooms are free for others two seconds after they ask, once Redis has seen its
    connections end; else after `lock_seconds`.

    Raises LockLostError when the server gave no answer for `acquire_timeout`, or refused.
    """

    def __init__(self, config: RedisLockConfig | str | None = None) -> None:
        self.config = RedisLockConfig.of(config)
        self._server = server = Server(self.config)
        self._local = InMemoryLockManager()
        self._worker = new_id()
        self._numbers = count(1)
        self._waits: dict[str, _Wait] = {}  # bound: the rooms waited for
        stem = f"{self.config.prefix}:{server.database}:worker:"
        self._stem = stem
        self._channel = f"{stem}{self._worker}".encode()
        self._listener = Listener(server, self._told, self._tell_all)
        self._link = Link(
            server, patience=self.config.connect_timeout, scripts=SCRIPTS, on_connect=self._connected
        )
        self._leases = RoomLeases(self.config, server, self._link, stem)
        self._lease_milliseconds = int(self.config.lock_seconds * 1000)
        self._closed = False

    @override
    def __repr__(self) -> str:
        return f"RedisLockManager({self._server})"

    async def probe(self) -> str:
        """Return that the server can be worked with, as `SupportsProbe` says. Raises ProviderError."""
        return await self._server.probe()

    @property
    def held(self) -> int:
        """How many locks this process holds."""
        return self._leases.held

    @property
    def kept(self) -> int:
        """How many locks that no task holds stay with this process for its next use."""
        return self._leases.kept

    @property
    def lost(self) -> int:
        """How many locks were lost while they were held."""
        return self._leases.lost

    @override
    async def open(self) -> Self:
        question = self._link.ask("PING", deadline=deadline_of_start(self.config))
        try:
            await self._link.answer(question)
        except TROUBLE as error:
            raise LockLostError(f"no room can be locked: {self._server.explain(error)}") from error
        return self

    @override
    def locked(self, room_id: str) -> AbstractAsyncContextManager[int]:
        return self._hold(room_id)

    @override
    def turn(self, room_id: str) -> AbstractAsyncContextManager[None]:
        return self._local.locked(room_id)

    @asynccontextmanager
    async def _hold(self, room_id: str) -> AsyncIterator[int]:
        async with self._local.locked(room_id):
            lease = self._leases.take(room_id) or await self._acquire(room_id)
            may_stay = lease.owner.endswith(_KEEPS) and self._is_listening
            try:
                yield lease.token
            except LockLostError:  # the store has seen a later holder
                may_stay = False
                raise
            finally:
                self._leases.leave(lease, may_stay=may_stay)

    @property
    def _is_listening(self) -> bool:
        """Whether requests for kept locks arrive."""
        return self._listener.is_listening(self._channel)

    @override
    async def close(self) -> None:
        self._closed = True
        self._tell_all()
        await self._link.settle(_CLOSING)  # who is granted a lock at this moment gives it back
        await self._leases.close()
        await self._listener.close()
        await self._link.close(_CLOSING)

    # -- acquiring --------------------------------------------------------------------------------

    async def _acquire(self, room_id: str) -> RoomLease:
        owner = f"{self._worker}:{next(self._numbers)}{_KEEPS if self._is_listening else ''}"
        wait = _Wait(room_id, RoomKeys(self.config.prefix, room_id), owner)
        self._waits[wait.owner] = wait
        try:
            lease = await self._granted(wait)
        except BaseException as error:
            if wait.question is not None and (wait.is_known or wait.question.attempts):
                # It may have been granted, or queued, and its waiter is gone.
                self._leases.release(wait.keys, wait.owner)
            if isinstance(error, TROUBLE):
                raise LockLostError(
                    f"room {room_id!r} could not be locked, and nothing was done: "
                    f"{self._server.explain(error)}"
                ) from error
            raise
        finally:
            del self._waits[wait.owner]
        self._leases.add(lease)
        self._listener.want(self._channel)  # so that the next lock may be kept
        return lease

    async def _granted(self, wait: _Wait) -> RoomLease:
        loop = asyncio.get_running_loop()
        while True:
            if self._closed:
                raise LockLostError(
                    f"room {wait.room_id!r} could not be locked: {self!r} is closed, make a new one"
                )
            wait.notified.clear()  # before asking: a later notification is news
            deadline = loop.time() + self.config.lock_seconds
            wait.question = self._ask(wait)
            token, milliseconds, unheard = await self._link.answer(wait.question)
            wait.is_known = True
            if not token:
                self._leases.contended(wait.room_id)
                is_late = await self._told_or_late(wait, min(_ASK_AGAIN, (milliseconds + 1) / 1000))
                wait.silent = unheard if is_late else b""
            elif loop.time() < deadline and not self._closed:
                return RoomLease(wait.room_id, wait.keys, wait.owner, token, deadline)

    def _ask(self, wait: _Wait) -> Question:
        keys = wait.keys
        return self._link.ask(
            "EVALSHA",
            ACQUIRE,
            4,
            keys.lock,
            keys.fence,
            keys.order,
            keys.seen,
            wait.owner,
            self._lease_milliseconds,
            _PLACE_KEPT,
            MEMORY,
            self._stem,
            wait.silent,
            deadline=asyncio.get_running_loop().time() + self.config.acquire_timeout,
        )

    async def _told_or_late(self, wait: _Wait, seconds: float) -> bool:
        """Wait until the server says that the turn has come; return whether `seconds` passed without it."""
        if not self._listener.is_listening(self._channel):
            # Earlier notifications were missed: ask again at once.
            try:
                await self._listener.listen(self._channel, seconds)
            except TROUBLE:
                pass  # the listener reports it; without one the turn is found by asking
            else:
                return False
        try:
            async with asyncio.timeout(seconds):
                await wait.notified.wait()
        except TimeoutError:
            return True
        return False

    # -- notifications -------------------------------------------------------------------------------

    async def _told(self, _channel: bytes, owner: bytes) -> None:
        named = owner.decode(errors="replace")
        wait = self._waits.get(named)
        if wait is not None:
            wait.notified.set()
        else:
            self._leases.asked(named)

    def _tell_all(self) -> None:
        for wait in self._waits.values():
            wait.notified.set()

    def _connected(self) -> None:
        self._leases.renew_soon()


@dataclass(slots=True, eq=False)
class _Wait:
    """One acquisition that is under way."""

    room_id: str
    keys: RoomKeys
    owner: str
    notified: asyncio.Event = field(default_factory=asyncio.Event)
    question: Question | None = None
    silent: bytes = b""
    """The holder that could not be reached a second ago."""
    is_known: bool = False
    """Whether the server has answered, so that it may have the owner in its queue."""
