"""The locks this process holds: renewed together, given back, and counted when they are lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, override

from roomkit.abc.log import get_logger
from roomkit.memory.kept_locks import KeptLocks
from roomkit_plugins.redis.config import RedisLockConfig
from roomkit_plugins.redis.link import Link, Question
from roomkit_plugins.redis.scripts import RELEASE, RENEW
from roomkit_plugins.redis.server import Server

__all__ = ["MEMORY", "RoomKeys", "RoomLease", "RoomLeases"]

logger = get_logger("roomkit.redis")

MEMORY = 7 * 24 * 3600 * 1000
"""How long the last token of an idle room is kept, in milliseconds; later the clock alone is above it."""

_MOST_KEPT = 1000
"""The locks that a process keeps without a holder: each is renewed at a third of `lock_seconds`."""
_AWAITED = 2
"""What RENEW answers when others wait for the room."""


class RoomKeys:
    """The names of a room's keys: the id is hashed, and in a tag that puts them on one node of a cluster."""

    __slots__ = ("fence", "lock", "order", "seen")

    def __init__(self, prefix: str, room_id: str) -> None:
        tag = blake2b(room_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        stem = f"{prefix}:{{{tag}}}:"
        self.lock = stem + "lock"
        self.fence = stem + "fence"
        self.order = stem + "order"
        self.seen = stem + "seen"


@dataclass(slots=True, eq=False)
class RoomLease:
    """A lock that is held until `deadline`, in the loop's time, unless it is renewed."""

    room_id: str
    keys: RoomKeys
    owner: str
    token: int
    deadline: float
    is_kept: bool = False
    """Whether no task holds the lock: it stays for the next."""


class RoomLeases:
    """Renews all leases at a third of their time, in one batch; one not renewed in time is lost.

    Those of rooms that are used again and again are kept when they are left, see `KeptLocks`.
    """

    def __init__(self, config: RedisLockConfig, server: Server, link: Link, channel: str) -> None:
        self._seconds = config.lock_seconds
        self._milliseconds = int(config.lock_seconds * 1000)
        self._server = server
        self._link = link
        self._channel = channel
        self._held: dict[str, RoomLease] = {}  # bound: the rooms in use
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._kept: KeptLocks[RoomLease] = KeptLocks(self.give_back, _MOST_KEPT)
        self.lost = 0

    @property
    def held(self) -> int:
        """How many locks tasks hold."""
        return sum(not lease.is_kept for lease in self._held.values())

    @property
    def kept(self) -> int:
        """How many locks stay that no task holds."""
        return len(self._held) - self.held

    def take(self, room_id: str) -> RoomLease | None:
        """Return the room's lock if it was kept and is still ours."""
        lease = self._kept.take(room_id)
        if lease is None or lease.owner not in self._held:
            return None
        lease.is_kept = False
        if asyncio.get_running_loop().time() < lease.deadline:
            return lease
        self.give_back(lease)
        return None

    def leave(self, lease: RoomLease, *, may_stay: bool) -> None:
        """Keep the lock for the next holder, or give it back."""
        if may_stay and lease.owner in self._held and self._kept.keep(lease.room_id, lease):
            lease.is_kept = lease.owner in self._held  # not if it was one too many
        else:
            self.give_back(lease)

    def asked(self, owner: str) -> None:
        """Release a lock that another process asked for, or have it released when it is left."""
        lease = self._held.get(owner)
        if lease is not None:
            self._kept.asked(lease.room_id)

    def contended(self, room_id: str) -> None:
        """Note that another process uses the room, too."""
        self._kept.asked(room_id)

    def add(self, lease: RoomLease) -> None:
        """Keep the lease until it is given back."""
        self._held[lease.owner] = lease
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="redis-leases")  # supervised: close() ends it

    def give_back(self, lease: RoomLease) -> None:
        """Release the lock, without waiting for it: whatever is asked later is answered later."""
        if self._held.pop(lease.owner, None) is not None:
            question = self.release(lease.keys, lease.owner)
            question.answer.add_done_callback(partial(self._given_back, lease, question))

    def release(self, keys: RoomKeys, owner: str) -> Question:
        """Ask the server to forget that `owner` holds the lock, or waits for it."""
        deadline = asyncio.get_running_loop().time() + self._seconds  # the lease runs out by then
        return self._link.ask(
            "EVALSHA", RELEASE, 3, keys.lock, keys.order, keys.seen, owner, self._channel, deadline=deadline
        )

    def renew_soon(self) -> None:
        """Renew now: the connection is new, and the server may have lost its data."""
        self._hurry.set()

    async def close(self) -> None:
        """Give back everything."""
        for lease in list(self._held.values()):
            self.give_back(lease)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _given_back(self, lease: RoomLease, question: Question, answer: asyncio.Future[Any]) -> None:
        error = answer.exception()
        if error is not None:
            logger.warning(
                "The lock on room %r was not given back: %s; it runs out within %s s",
                lease.room_id,
                self._server.explain(error),
                self._seconds,
            )
        elif not answer.result() and question.attempts == 1:  # else the first attempt may have done it
            self._lose(lease, "it was not held any more when it was given back")

    def _lose(self, lease: RoomLease, why: str) -> None:
        if lease.is_kept:  # no task held it
            return
        self.lost += 1
        logger.warning(
            "The lock on room %r was lost while it was held: %s; the store refuses what its holder commits, "
            "once another has committed",
            lease.room_id,
            why,
        )

    # -- the task ---------------------------------------------------------------------------------

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pace = self._seconds / 3
        due = loop.time() + pace
        try:
            while self._held:
                try:
                    async with asyncio.timeout_at(due):
                        await self._hurry.wait()
                except TimeoutError:
                    pass
                self._hurry.clear()
                self._kept.expire()
                due = loop.time() + pace
                if self._held and not await self._renew(pace):
                    due = loop.time()
        finally:
            self._task = None

    async def _renew(self, patience: float) -> bool:
        """Renew all; return whether all were answered."""
        now = asyncio.get_running_loop().time
        asked = now()
        asking = [(lease, self._ask(lease)) for lease in self._held.values()]
        nearest = min(lease.deadline for lease, _ in asking) - asked
        await asyncio.wait(
            [question.answer for _, question in asking], timeout=max(0.0, min(patience, nearest))
        )
        answered = True
        for lease, question in asking:
            answer = question.answer
            answered = answered and answer.done()
            if lease.owner not in self._held:
                answer.cancel()  # released in between
            elif not answer.done() or answer.exception() is not None:
                answer.cancel()
                if now() >= lease.deadline:
                    self._run_out(lease)
            elif answer.result():
                lease.deadline = asked + self._seconds
                if answer.result() == _AWAITED and lease.is_kept:
                    self._rest(lease)
            else:
                del self._held[lease.owner]
                self._lose(lease, "its lease had run out, and another has taken it")
        return answered

    def _ask(self, lease: RoomLease) -> Question:
        keys = lease.keys
        return self._link.ask(
            "EVALSHA",
            RENEW,
            3,
            keys.lock,
            keys.fence,
            keys.order,
            lease.owner,
            self._milliseconds,
            lease.token,
            MEMORY,
            deadline=lease.deadline,
        )

    def _rest(self, lease: RoomLease) -> None:
        logger.info(
            "Another process waited for room %r, which was kept here, and did not ask for it, as workers of "
            "an earlier version do: no lock is kept for a minute",
            lease.room_id,
        )
        self._kept.rest()

    def _run_out(self, lease: RoomLease) -> None:
        del self._held[lease.owner]
        self._lose(lease, f"its lease of {self._seconds} s could not be renewed in time")
        # A renewal that is still on its way would keep the others out for nothing.
        self.release(lease.keys, lease.owner)

    @override
    def __repr__(self) -> str:
        return f"<{len(self._held)} leases, {self.lost} lost>"
