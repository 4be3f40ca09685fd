"""The parts every step of the kernel works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roomkit.kernel.breaker import CircuitBreaker
from roomkit.kernel.limits import TokenBucketRateLimiter
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
    from roomkit.kernel.framework_events import FrameworkEvents
    from roomkit.kernel.hooks import HookEngine
    from roomkit.kernel.supervisor import Supervisor

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
    sweep_interval: float | None = None
    max_lane_backlog: int = 10_000
    agent_response_policy: AgentResponsePolicy = AgentResponsePolicy.AGENT_CHAIN
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
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
    transcoder: ContentTranscoder
    clock: Clock
    supervisor: Supervisor
    hooks: HookEngine
    events: FrameworkEvents
    channels: dict[str, Channel] = field(default_factory=dict)
    limiter: TokenBucketRateLimiter = field(default_factory=TokenBucketRateLimiter)
    breakers: dict[str, CircuitBreaker] = field(default_factory=dict)

    def breaker(self, channel_id: str) -> CircuitBreaker:
        """Return the breaker of a channel's provider; one per registered channel."""
        found = self.breakers.get(channel_id)
        if found is None:
            found = self.breakers[channel_id] = CircuitBreaker()
        return found
