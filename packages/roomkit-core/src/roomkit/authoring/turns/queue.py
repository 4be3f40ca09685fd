"""What a queue of model turns has to offer, for executors that span processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from roomkit.abc.executor import QuarantinedTurn

__all__ = [
    "ClaimStanding",
    "ClaimState",
    "QueuedTurn",
    "TurnClaim",
    "TurnOptions",
    "TurnQueue",
    "TurnReading",
]


class TurnOptions(BaseModel):
    """The bounds and times of an executor with a queue; the same in all processes that share it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lease_seconds: float = Field(15.0, ge=0.2, le=3600, allow_inf_nan=False)
    """How long a silent executor process keeps a turn, and a turn runs on whose worker is gone."""
    claim_seconds: float = Field(30.0, gt=0, le=86400, allow_inf_nan=False)
    """How long a turn waits for an executor process."""
    turn_seconds: float = Field(600.0, gt=0, le=86400, allow_inf_nan=False)
    """How long one request may take in all."""
    max_attempts: int = Field(3, ge=1, le=100)
    """After so many executor processes died of it, a turn is quarantined."""
    max_waiting: int = Field(1000, ge=1)
    """Turns of one agent that wait; beyond it a turn is refused."""
    max_request_bytes: int = Field(8_000_000, ge=1000, le=100_000_000)
    """Longest request, pictures included."""
    drain_seconds: float = Field(10.0, ge=0, le=3600, allow_inf_nan=False)
    """How long `close()` waits for the turns that run here."""


class QueuedTurn(NamedTuple):
    """A turn to be queued. `agent` is a key of at most 64 ASCII characters, `body` valid Unicode."""

    id: str
    agent: str
    body: str


class TurnClaim(NamedTuple):
    """A turn that this process runs. `token` rises with each claim of the turn, and fences off older ones."""

    id: str
    token: int
    body: str


class ClaimState(StrEnum):
    """What became of a claim."""

    HELD = "held"
    DROPPED = "dropped"
    """The reader does not want the turn any more, or is gone."""
    FENCED = "fenced"
    """The lease ran out; another process may have the turn."""


class ClaimStanding(NamedTuple):
    """A claim's state, and how many frames the reader has taken."""

    state: ClaimState
    taken: int = 0


class TurnReading(NamedTuple):
    """What a reader finds: the frames that follow, by number, and how the turn is."""

    frames: Sequence[tuple[int, str]]
    total: int
    """How many frames there are by now, taken ones included."""
    attempts: int
    """How many processes have claimed the turn."""
    is_held: bool
    """Whether one has it now."""


class TurnQueue(ABC):
    """Turns, their leases and the frames of their answers; each method is one atomic step.

    A frame is a text, numbered from 1. Time is the service's own, so that processes' clocks do not matter. A
    step whose outcome is unknown is done again by the queue itself, and must be harmless then. Raises a
    RoomKitError when the service cannot be reached within the queue's patience.

    `heard` is called with a turn's id or an agent's key when there may be news of it, or with "" when
    notifications may have been lost. It is a hint: readers and servers look by themselves every third of a
    lease.
    """

    def __init__(self, options: TurnOptions) -> None:
        self.options = options
        self.heard: Callable[[str], None] = _unheard

    @abstractmethod
    async def open(self) -> None:
        """Connect, and make what the queue needs. Idempotent."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect, after the pending requests. Idempotent."""

    @abstractmethod
    async def put(self, turn: QueuedTurn) -> bool:
        """Queue a turn for `turn_seconds`, and notify its servers; False if `max_waiting` wait."""

    @abstractmethod
    async def read(self, turn_id: str, after: int, *, limit: int, wake: bool) -> TurnReading | None:
        """Take frames up to number `after`, return at most `limit` that follow; None if it is gone.

        Keeps the turn wanted for a lease. With `wake` the process that runs it is notified.
        """

    @abstractmethod
    async def keep(self, turn_ids: Sequence[str]) -> None:
        """Keep turns wanted for a lease."""

    @abstractmethod
    def drop(self, turn_id: str) -> None:
        """Remove a turn and its frames, and notify the process that runs it. Neither waits nor raises."""

    @abstractmethod
    async def listen(self, agents: Sequence[str]) -> None:
        """Call `heard` for new turns of these agents, from now on."""

    @abstractmethod
    async def claim(self, agents: Sequence[str], limit: int) -> Sequence[TurnClaim]:
        """Take the longest waiting turns of these agents for a lease.

        Those of a process whose lease ran out too, if they have no frame and had fewer than `max_attempts`.
        Turns whose `turn_seconds` are over are removed: their readers are gone.
        """

    @abstractmethod
    async def renew(self, claim: TurnClaim) -> ClaimStanding:
        """Prolong a claim's lease, unless it has run out."""

    @abstractmethod
    async def append(self, claim: TurnClaim, number: int, frame: str) -> ClaimStanding:
        """Add the frame of that number, prolong the lease, notify the reader; nothing unless HELD."""

    @abstractmethod
    async def release(self, claim: TurnClaim) -> None:
        """Give back a turn that has no frame, as if it had not been claimed; its servers are notified."""

    @abstractmethod
    async def quarantine(self, turn: QuarantinedTurn) -> None:
        """Note that a turn is not run any more. At most a hundred are kept; `at` is the service's time."""

    @abstractmethod
    async def quarantined(self) -> Sequence[QuarantinedTurn]:
        """Return them, the newest first."""


def _unheard(_name: str) -> None:
    """Take no notice, before an executor listens."""
