"""Logs failures: an observer of framework events like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.abc.log import Quoted, get_logger

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.framework_event import FrameworkEvent

__all__ = ["FAILURES", "log_failures"]

_log = get_logger("roomkit.kernel")

FAILURES = (
    "delivery_failed",
    "agent_failed",
    "circuit_breaker_opened",
    "delivery_status_unmatched",
    "process_timeout",
    "source_exhausted",
)
"""The framework events that are logged as warnings; hooks, sources and background work log themselves."""

_QUOTING = ("error", "last_error")
"""Fields that may quote a message, or a vendor's answer about it. The ledger has them."""


def log_failures(kit: RoomKit) -> None:
    """Log every failure of `kit` once: what, where and why, never the text of a message."""
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
    why = ", ".join(f"{name}={value}" for name, value in event.data.items() if name not in _QUOTING)
    said = " ".join(str(value) for name, value in event.data.items() if name in _QUOTING)
    if said:
        _log.warning("%s: %s (%s): %s", event.type, where, why, Quoted(said))
    else:
        _log.warning("%s: %s (%s)", event.type, where, why)
