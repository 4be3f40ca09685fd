"""Makers of kits that are workers on one store, for each of the stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from roomkit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing import SharedStore

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()


def in_memory(_: Any, __: Any) -> Callable[[], RoomKit]:
    parts: Any = {"lock_manager": InMemoryLockManager(), "realtime": InMemoryRealtime()}
    store = SharedStore()
    return lambda: RoomKit(store, single_process=True, plugins=PLUGINS, **parts)


def on_sqlite(folder: Path, _: Any) -> Callable[[], RoomKit]:
    parts: Any = {"lock_manager": InMemoryLockManager(), "realtime": InMemoryRealtime()}
    path = folder / "rooms.db"
    return lambda: RoomKit(SQLiteStore(path), single_process=True, plugins=PLUGINS, **parts)


def on_postgres(_: Any, dsn: Callable[[], str]) -> Callable[[], RoomKit]:
    url = dsn()
    return lambda: RoomKit(PostgresStore(url), plugins=PLUGINS)
