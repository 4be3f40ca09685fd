"""The kit's scalar options."""

from __future__ import annotations

from dataclasses import dataclass, field

from roomkit.models.channel import RateLimit, RetryPolicy
from roomkit.models.enums import AgentResponsePolicy, ChannelType

__all__ = ["Settings"]


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
