"""The core's own components, registered as any plugin registers its own."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from roomkit.abc.log import get_logger
from roomkit.plugins.failure_log import log_failures
from roomkit.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roomkit.abc.route import Route
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.webhook import WebhookAnswer, WebhookRequest
    from roomkit.plugins.doctor import DoctorReport
    from roomkit.plugins.registry import Registry

logger = get_logger("roomkit.plugins")
_WEBHOOKS = {
    "webhook": "/webhooks/{channel}",
    "webhook of a provider": "/webhooks/{channel}/{provider}",
}


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
        "media",
        "memory",
        "roomkit.memory.media:InMemoryMediaStore",
        summary="Files in this process; gone when it ends.",
    )
    registry.add(
        "executor",
        "memory",
        "roomkit.memory.executor:InMemoryTurnExecutor",
        summary="Agents' turns inside one process, for tests.",
    )
    registry.add(
        "router",
        "default",
        "roomkit.kernel.inbound.routing:DefaultInboundRoomRouter",
        summary="Finds a sender's room by binding, then by participant; never guesses.",
    )


@hookimpl
def roomkit_configure(kit: RoomKit) -> None:
    """Write the kit's failures to the log."""
    log_failures(kit)


@hookimpl
def roomkit_routes(kit: RoomKit) -> Iterable[Route]:
    """Serve the webhooks of the kit's channels."""
    from roomkit.abc.route import Route

    async def receive(request: WebhookRequest) -> WebhookAnswer:
        params = request.path_params
        outcome = await kit.process_webhook(request, params["channel"], params.get("provider"))
        return outcome.answer

    for name, path in _WEBHOOKS.items():
        for method in ("GET", "POST"):  # some vendors check an address by a GET
            yield Route(method=method, path=path, name=f"{name} ({method})", handler=receive)
    if (app := kit.media_app) is not None:
        yield Route(method="*", path="/media/{media_id}", name="media", asgi=app)


@hookimpl
def roomkit_startup(kit: RoomKit) -> None:
    """Sweep the rooms' timers in the background, if the kit has a `sweep_interval`."""
    if kit.settings.sweep_interval is not None:
        kit.spawn(sweep_every(kit, kit.settings.sweep_interval), name="sweep of room timers")


async def sweep_every(kit: RoomKit, seconds: float) -> None:
    """Pause and close the rooms whose time has come, for ever; a sweep that fails is tried again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await kit.sweep_room_timers()
        except Exception:  # whatever went wrong, the next sweep may do better
            logger.exception("the sweep of room timers failed; the next is in %g s", seconds)


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    report.ok("python", f"Python {version} at {sys.executable}")
