"""Model turns inside one process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import field, replace

from roomkit._dataclasses import dataclass
from roomkit.abc.executor import QuarantinedTurn
from roomkit.authoring.turns.executor import QueueTurnExecutor
from roomkit.authoring.turns.queue import (
    ClaimStanding,
    ClaimState,
    QueuedTurn,
    TurnClaim,
    TurnOptions,
    TurnQueue,
    TurnReading,
)
from roomkit.models.base import utcnow

__all__ = ["InMemoryTurnExecutor", "InMemoryTurnQueue", "TurnTable"]


class InMemoryTurnExecutor(QueueTurnExecutor):
    """Hands turns to executors of the same event loop that share its `table`; for tests and one process.

    Requests and answers pass as the JSON texts that they are between processes.
    """

    def __init__(self, options: TurnOptions | None = None, *, table: TurnTable | None = None) -> None:
        super().__init__(InMemoryTurnQueue(options or TurnOptions(), table or TurnTable()))


@dataclass(slots=True)
class _Turn:
    queued: QueuedTurn
    ends: float
    wanted_until: float
    reader: TurnQueue
    server: TurnQueue | None = None
    token: int = 0
    attempts: int = 0
    lease_until: float = 0.0
    taken: int = 0
    frames: list[str] = field(default_factory=list)  # bound: the server's window

    @property
    def count(self) -> int:
        return self.taken + len(self.frames)


@dataclass(slots=True, eq=False)
class TurnTable:
    """The turns that the executors of one event loop share."""

    turns: dict[str, _Turn] = field(
        default_factory=dict
    )  # bound: max_waiting for each agent; purged by put() and claim()
    queues: dict[InMemoryTurnQueue, frozenset[str]] = field(default_factory=dict)  # bound: the executors
    quarantined: deque[QuarantinedTurn] = field(default_factory=lambda: deque(maxlen=100))


class InMemoryTurnQueue(TurnQueue):
    """A `TurnQueue` on a table of this process; its time is the loop's."""

    def __init__(self, options: TurnOptions, table: TurnTable) -> None:
        super().__init__(options)
        self._table = table

    async def open(self) -> None:
        """Take part."""
        self._table.queues.setdefault(self, frozenset())

    async def close(self) -> None:
        """Take no part any more."""
        self._table.queues.pop(self, None)

    async def put(self, turn: QueuedTurn) -> bool:
        """Queue a turn; see `TurnQueue.put`."""
        self._purge()
        now, turns = _now(), self._table.turns
        waiting = sum(each.queued.agent == turn.agent and not each.token for each in turns.values())
        if waiting >= self.options.max_waiting:
            return False
        wanted = now + self.options.lease_seconds
        turns[turn.id] = _Turn(turn, now + self.options.turn_seconds, wanted, self)
        self._notify_servers(turn.agent)
        return True

    async def read(self, turn_id: str, after: int, *, limit: int, wake: bool) -> TurnReading | None:
        """Take frames and return the next; see `TurnQueue.read`."""
        turn = self._table.turns.get(turn_id)
        if turn is None:
            return None
        turn.wanted_until = _now() + self.options.lease_seconds
        del turn.frames[: after - turn.taken]
        turn.taken = after
        if wake and turn.server is not None:
            _notify(turn.server.heard, turn_id)
        frames = tuple(enumerate(turn.frames[:limit], after + 1))
        return TurnReading(frames, turn.count, turn.attempts, turn.lease_until > _now())

    async def keep(self, turn_ids: Sequence[str]) -> None:
        """Keep turns wanted; see `TurnQueue.keep`."""
        for turn_id in turn_ids:
            if (turn := self._table.turns.get(turn_id)) is not None:
                turn.wanted_until = _now() + self.options.lease_seconds

    def drop(self, turn_id: str) -> None:
        """Remove a turn; see `TurnQueue.drop`."""
        turn = self._table.turns.pop(turn_id, None)
        if turn is not None and turn.server is not None:
            _notify(turn.server.heard, turn_id)

    async def listen(self, agents: Sequence[str]) -> None:
        """Have new turns of these agents noticed; see `TurnQueue.listen`."""
        self._table.queues[self] = self._table.queues.get(self, frozenset()) | {*agents}

    async def claim(self, agents: Sequence[str], limit: int) -> Sequence[TurnClaim]:
        """Take waiting turns; see `TurnQueue.claim`."""
        self._purge()
        free = [
            turn for turn in self._table.turns.values() if turn.queued.agent in agents and self._is_free(turn)
        ]
        for turn in free[:limit]:
            turn.server = self
            turn.token += 1
            turn.attempts += 1
            turn.lease_until = _now() + self.options.lease_seconds
        return [TurnClaim(turn.queued.id, turn.token, turn.queued.body) for turn in free[:limit]]

    def _purge(self) -> None:
        turns, now = self._table.turns, _now()
        for turn_id in [each.queued.id for each in turns.values() if each.ends <= now]:
            del turns[turn_id]

    def _is_free(self, turn: _Turn) -> bool:
        now = _now()
        is_wanted = min(turn.wanted_until, turn.ends) > now
        return (
            is_wanted
            and turn.lease_until <= now
            and not turn.count
            and turn.attempts < self.options.max_attempts
        )

    async def renew(self, claim: TurnClaim) -> ClaimStanding:
        """Prolong a lease; see `TurnQueue.renew`."""
        turn, standing = self._standing(claim)
        if turn is not None:
            turn.lease_until = _now() + self.options.lease_seconds
        return standing

    async def append(self, claim: TurnClaim, number: int, frame: str) -> ClaimStanding:
        """Add a frame; see `TurnQueue.append`."""
        turn, standing = self._standing(claim)
        if turn is not None:
            turn.lease_until = _now() + self.options.lease_seconds
            if number == turn.count + 1:
                turn.frames.append(frame)
            _notify(turn.reader.heard, claim.id)
        return standing

    def _standing(self, claim: TurnClaim) -> tuple[_Turn | None, ClaimStanding]:
        """Return the turn if the claim holds it, and its standing."""
        turn, now = self._table.turns.get(claim.id), _now()
        if turn is None or min(turn.wanted_until, turn.ends) <= now:
            return None, ClaimStanding(ClaimState.DROPPED)
        if turn.token != claim.token or turn.lease_until <= now:
            return None, ClaimStanding(ClaimState.FENCED)
        return turn, ClaimStanding(ClaimState.HELD, turn.taken)

    async def release(self, claim: TurnClaim) -> None:
        """Give a turn back; see `TurnQueue.release`."""
        turn, _ = self._standing(claim)
        if turn is not None and not turn.count:
            turn.lease_until = 0.0
            turn.attempts -= 1
            self._notify_servers(turn.queued.agent)

    async def quarantine(self, turn: QuarantinedTurn) -> None:
        """Keep a note; see `TurnQueue.quarantine`."""
        self._table.quarantined.appendleft(replace(turn, at=utcnow()))

    async def quarantined(self) -> Sequence[QuarantinedTurn]:
        """Return the notes, the newest first."""
        return tuple(self._table.quarantined)

    def _notify_servers(self, agent: str) -> None:
        for queue, agents in self._table.queues.items():
            if agent in agents:
                _notify(queue.heard, agent)


def _notify(heard: Callable[[str], None], name: str) -> None:
    """Call on the next turn of the loop, as a notification from outside would come."""
    asyncio.get_running_loop().call_soon(heard, name)


def _now() -> float:
    return asyncio.get_running_loop().time()
