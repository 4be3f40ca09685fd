"""RoomKit on PostgreSQL: the store, the room locks, the signals and the turn queue of many workers."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.postgres.config import PostgresConfig as PostgresConfig
    from roomkit_plugins.postgres.config import PostgresConnectionConfig as PostgresConnectionConfig
    from roomkit_plugins.postgres.config import PostgresLockConfig as PostgresLockConfig
    from roomkit_plugins.postgres.config import PostgresMediaConfig as PostgresMediaConfig
    from roomkit_plugins.postgres.config import PostgresRealtimeConfig as PostgresRealtimeConfig
    from roomkit_plugins.postgres.config import PostgresSchemaConfig as PostgresSchemaConfig
    from roomkit_plugins.postgres.executor import PostgresTurnConfig as PostgresTurnConfig
    from roomkit_plugins.postgres.executor import PostgresTurnExecutor as PostgresTurnExecutor
    from roomkit_plugins.postgres.locks import PostgresLockManager as PostgresLockManager
    from roomkit_plugins.postgres.media import PostgresMediaStore as PostgresMediaStore
    from roomkit_plugins.postgres.realtime import PostgresRealtime as PostgresRealtime
    from roomkit_plugins.postgres.store import PostgresStore as PostgresStore
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "PostgresConfig": "config",
            "PostgresConnectionConfig": "config",
            "PostgresLockConfig": "config",
            "PostgresMediaConfig": "config",
            "PostgresRealtimeConfig": "config",
            "PostgresSchemaConfig": "config",
            "PostgresLockManager": "locks",
            "PostgresMediaStore": "media",
            "PostgresRealtime": "realtime",
            "PostgresStore": "store",
            "PostgresTurnConfig": "executor",
            "PostgresTurnExecutor": "executor",
        },
    )
