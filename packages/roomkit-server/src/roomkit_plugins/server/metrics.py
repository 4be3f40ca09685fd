"""Metrics of a server in the format of Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.kernel.kit import RoomKit
    from roomkit.models.framework_event import FrameworkEvent

__all__ = ["Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
_NOTICES = (
    "agent_failed",
    "background_error",
    "channel_broken",
    "circuit_breaker_opened",
    "delivery_failed",
    "delivery_unclaimed",
    "event_blocked",
    "hook_error",
    "hook_timeout",
    "lease_lost",
    "source_error",
    "timer_dead",
    "webhook_refused",
    "work_abandoned",
)
"""Framework events that are counted: what an operator is called for. Others would cost each message work."""
_NO_CHANNEL = ""
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """What a server counts; labels have a bound: routes by their pattern, never by what a caller wrote."""

    def __init__(self, kit: RoomKit, open_connections: Callable[[], float]) -> None:
        self._kit = kit
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "roomkit_http_requests",
            "Requests by route, method and status.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "roomkit_http_request_seconds",
            "Time until a request was answered.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._notices = Counter(
            "roomkit_notices",
            "Framework events that report a fault, by their type and channel.",
            ("type", "channel"),
            registry=self._registry,
        )
        connections = Gauge(
            "roomkit_connections", "Open web sockets and event streams.", registry=self._registry
        )
        connections.set_function(open_connections)
        for kind in _NOTICES:
            kit.subscribe_events(kind, self._count)  # for as long as the kit lives, as the application

    async def _count(self, event: FrameworkEvent) -> None:
        channel = event.channel_id or _NO_CHANNEL
        if self._kit.get_channel(channel) is None:  # a webhook's caller may have made the id up
            channel = _NO_CHANNEL
        self._notices.labels(event.type, channel).inc()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def document(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self._registry)
