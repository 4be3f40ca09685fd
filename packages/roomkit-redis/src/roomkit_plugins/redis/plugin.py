"""Registers what `roomkit-redis` brings; imports nothing but the core."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the components of this distribution."""
    registry.add(
        "locks",
        "redis",
        "roomkit_plugins.redis:RedisLockManager",
        config="roomkit_plugins.redis:RedisLockConfig",
        summary="Room locks that many workers share, with fencing tokens.",
    )
    registry.add(
        "realtime",
        "redis",
        "roomkit_plugins.redis:RedisRealtime",
        config="roomkit_plugins.redis:RedisRealtimeConfig",
        summary="Ephemeral signals between workers.",
    )
    registry.add(
        "executor",
        "redis",
        "roomkit_plugins.redis:RedisTurnExecutor",
        config="roomkit_plugins.redis:RedisTurnConfig",
        summary="Agents' turns on other machines, through a queue.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the library is there; the server is asked when a kit starts."""
    if find_spec("redis") is None:
        report.fail("redis", "redis is not installed", next_step="pip install roomkit-redis")
    else:
        report.ok("redis", "redis is installed")
