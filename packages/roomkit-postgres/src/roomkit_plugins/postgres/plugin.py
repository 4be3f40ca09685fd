"""Registers what `roomkit-postgres` brings; imports nothing but the core."""

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
        "store",
        "postgres",
        "roomkit_plugins.postgres:PostgresStore",
        config="roomkit_plugins.postgres:PostgresConfig",
        summary="Rooms, timelines and deliveries in PostgreSQL: many workers share them.",
    )
    registry.add(
        "locks",
        "postgres",
        "roomkit_plugins.postgres:PostgresLockManager",
        config="roomkit_plugins.postgres:PostgresLockConfig",
        summary="Room locks for many workers: advisory locks, all over one connection.",
    )
    registry.add(
        "realtime",
        "postgres",
        "roomkit_plugins.postgres:PostgresRealtime",
        config="roomkit_plugins.postgres:PostgresRealtimeConfig",
        summary="Typing, presence and other signals between workers, by LISTEN and NOTIFY.",
    )
    registry.add(
        "media",
        "postgres",
        "roomkit_plugins.postgres:PostgresMediaStore",
        config="roomkit_plugins.postgres:PostgresMediaConfig",
        summary="Files in the database, in pieces.",
    )
    registry.add(
        "executor",
        "postgres",
        "roomkit_plugins.postgres:PostgresTurnExecutor",
        config="roomkit_plugins.postgres:PostgresTurnConfig",
        summary="Agents' turns on other machines, through a queue in the database.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the driver is there."""
    if find_spec("asyncpg") is None:
        report.fail("postgres", "asyncpg is not installed", next_step="pip install roomkit-postgres")
    else:
        report.ok("postgres", "asyncpg is installed")
