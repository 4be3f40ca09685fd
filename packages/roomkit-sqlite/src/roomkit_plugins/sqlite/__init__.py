"""RoomKit's store in one SQLite file: durable, searchable, no server."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.sqlite.config import SQLiteConfig as SQLiteConfig
    from roomkit_plugins.sqlite.config import SQLiteMediaConfig as SQLiteMediaConfig
    from roomkit_plugins.sqlite.media import SQLiteMediaStore as SQLiteMediaStore
    from roomkit_plugins.sqlite.store import SQLiteStore as SQLiteStore
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "SQLiteConfig": "config",
            "SQLiteMediaConfig": "config",
            "SQLiteMediaStore": "media",
            "SQLiteStore": "store",
        },
    )
