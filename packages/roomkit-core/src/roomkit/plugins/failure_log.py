"""What went wrong, in the log: an observer of framework events like any other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.framework_event import FrameworkEvent

__all__ = ["FAILURES", "log_failures"]

_log = logging.getLogger("roomkit.kernel")

FAILURES = (
    "delivery_failed",
    "agent_failed",
    "circuit_breaker_opened",
    "delivery_status_unmatched",
    "process_timeout",
    "source_exhausted",
)
"""The framework events that are logged as warnings; hooks, sources and background work log themselves."""


def log_failures(kit: RoomKit) -> None:
    """Log every failure of `kit` once: what, where and why, never what anybody said."""
    for kind in FAILURES:
        kit.subscribe_events(kind, _warn)


async def _warn(event: FrameworkEvent) -> None:
    where = ", ".join(
        f"{name} {value}"
        for name, value in (
            ("room", event.room_id),
            ("channel", event.channel_id),
            ("event", event.event_id),
        )
        if value is not None
    )
    why = ", ".join(f"{name}={value}" for name, value in event.data.items())
    _log.warning("%s: %s (%s)", event.type, where, why)
