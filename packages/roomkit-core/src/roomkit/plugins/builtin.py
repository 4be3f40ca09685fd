"""The core's own components, registered as any plugin registers its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from roomkit.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins.doctor import DoctorReport
    from roomkit.plugins.registry import Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the defaults: all in memory, all in this process."""
    registry.add(
        "store",
        "memory",
        "roomkit.memory.store:InMemoryStore",
        summary="Rooms and events in this process; gone when it ends.",
    )
    registry.add(
        "locks",
        "memory",
        "roomkit.memory.locks:InMemoryLockManager",
        summary="Room locks for one process.",
    )
    registry.add(
        "realtime",
        "memory",
        "roomkit.memory.realtime:InMemoryRealtime",
        summary="Typing, presence and read marks inside one process.",
    )
    registry.add(
        "telemetry",
        "noop",
        "roomkit.memory.telemetry:NoopTelemetryProvider",
        summary="Records nothing.",
        aliases=("none",),
    )
    registry.add(
        "telemetry",
        "console",
        "roomkit.memory.telemetry:ConsoleTelemetryProvider",
        summary="Logs spans and metrics.",
    )
    registry.add(
        "router",
        "default",
        "roomkit.kernel.routing:DefaultInboundRoomRouter",
        summary="Finds a sender's room by binding, then by participant; never guesses.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    report.ok("python", f"Python {version} at {sys.executable}")
