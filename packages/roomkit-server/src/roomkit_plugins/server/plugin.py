"""Registers what `roomkit-server` brings; imports nothing but the core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.plugins import Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the table of the server."""
    registry.add_table("server", config="roomkit_plugins.server.config:ServerConfig")


@hookimpl
def roomkit_configure(kit: RoomKit, settings: Mapping[str, object]) -> None:
    """Keep the table of a kit for `create_app`."""
    if (table := settings.get("server")) is not None:
        from roomkit_plugins.server.configured import remember

        remember(kit, table)
