"""The parts every step of the kernel works with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roomkit.kernel.breaker import CircuitBreaker
from roomkit.kernel.limits import TokenBucketRateLimiter
from roomkit.kernel.pacing import Pacing
from roomkit.kernel.store_clock import StoreClock
from roomkit.models.channel import RateLimit, RetryPolicy
from roomkit.models.enums import AgentResponsePolicy, ChannelType

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.clock import Clock
    from roomkit.abc.locks import RoomLockManager
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.store import ConversationStore
    from roomkit.abc.telemetry import TelemetryProvider
    from roomkit.abc.transcoder import ContentTranscoder
    from roomkit.kernel.alarms import Alarms
    from roomkit.kernel.framework_events import FrameworkEvents
    from roomkit.kernel.hooks import HookEngine
    from roomkit.kernel.lease import Lease
    from roomkit.kernel.ledger import Ledger
    from roomkit.kernel.rights_signals import RightsSignals
    from roomkit.kernel.supervisor import Supervisor
    from roomkit.kernel.tracing import ConfiguredTelemetry

__all__ = ["Parts", "Settings"]


@dataclass(slots=True, frozen=True, kw_only=True)
class Settings:
    """The kit's scalar options; times are in seconds. See `RoomKit`."""

    max_chain_depth: int = 5
    process_timeout: float = 30.0
    identity_timeout: float = 10.0
    delivery_timeout: float = 30.0
    agent_timeout: float = 600.0
    close_timeout: float = 10.0
    abandon_after: float = 5.0
    sweep_interval: float | None = None
    max_lane_backlog: int = 10_000
    agent_response_policy: AgentResponsePolicy = AgentResponsePolicy.AGENT_CHAIN
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    lease_seconds: float = 15.0
    max_claims: int = 5
    unclaimed_after: float = 900.0
    retention_seconds: float | None = None
    inbound_rate_limit: RateLimit | None = None
    identity_channel_types: frozenset[ChannelType] | None = None


@dataclass(slots=True, kw_only=True)
class Parts:
    """The kit's parts, owned by `RoomKit` and lent to each step; no step keeps a copy."""

    settings: Settings
    store: ConversationStore
    locks: RoomLockManager
    realtime: RealtimeBackend
    telemetry: TelemetryProvider
    tracing: ConfiguredTelemetry | None
    """The telemetry while it is on; None is the whole price of having none."""
    transcoder: ContentTranscoder
    clock: Clock
    supervisor: Supervisor
    hooks: HookEngine
    events: FrameworkEvents
    lease: Lease
    ledger: Ledger = field(init=False)
    alarms: Alarms = field(init=False)
    rights_signals: RightsSignals = field(init=False)
    channels: dict[str, Channel] = field(default_factory=dict)
    limiter: TokenBucketRateLimiter = field(default_factory=TokenBucketRateLimiter)
    pacing: Pacing = field(default_factory=lambda: Pacing(TokenBucketRateLimiter()))
    breakers: dict[str, CircuitBreaker] = field(default_factory=dict)
    _awaited: dict[str, asyncio.Event] = field(default_factory=dict)  # bound: channels of stored bindings

    async def follow_store_clock(self) -> None:
        """Correct the clock by the store's, if it is one that follows it. Raises StoreError."""
        if isinstance(self.clock, StoreClock):
            await self.clock.follow(self.store)

    def add_channel(self, channel_id: str, channel: Channel) -> None:
        """Make a channel known, to those too that wait for it."""
        self.channels[channel_id] = channel
        waited_for = self._awaited.pop(channel_id, None)
        if waited_for is not None:
            waited_for.set()

    async def await_channel(self, channel_id: str, seconds: float) -> Channel | None:
        """Return a channel, once it is registered; None when it is not within `seconds`."""
        if channel_id not in self.channels:
            waited_for = self._awaited.setdefault(channel_id, asyncio.Event())
            try:
                async with asyncio.timeout(seconds):
                    await waited_for.wait()
            except TimeoutError:
                pass
        return self.channels.get(channel_id)

    def breaker(self, channel_id: str) -> CircuitBreaker:
        """Return the breaker of a channel's provider; one per registered channel."""
        found = self.breakers.get(channel_id)
        if found is None:
            found = self.breakers[channel_id] = CircuitBreaker()
        return found
