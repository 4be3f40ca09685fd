"""The table `[server]` of each kit that was built from a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from roomkit_plugins.server.config import ServerConfig

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit

__all__ = ["configured", "remember"]

_tables: WeakKeyDictionary[RoomKit, ServerConfig] = WeakKeyDictionary()


def remember(kit: RoomKit, table: object) -> None:
    """Keep the table of a kit for as long as the kit."""
    if isinstance(table, ServerConfig):
        _tables[kit] = table


def configured(kit: RoomKit) -> ServerConfig:
    """Return the table of a kit, else the defaults."""
    return _tables.get(kit) or ServerConfig()
