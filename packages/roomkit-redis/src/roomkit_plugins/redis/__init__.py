"""RoomKit's room locks and realtime on Redis: many workers share the same rooms."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.redis.config import RedisConfig as RedisConfig
    from roomkit_plugins.redis.config import RedisConnectionConfig as RedisConnectionConfig
    from roomkit_plugins.redis.config import RedisLockConfig as RedisLockConfig
    from roomkit_plugins.redis.config import RedisRealtimeConfig as RedisRealtimeConfig
    from roomkit_plugins.redis.executor import RedisTurnConfig as RedisTurnConfig
    from roomkit_plugins.redis.executor import RedisTurnExecutor as RedisTurnExecutor
    from roomkit_plugins.redis.locks import RedisLockManager as RedisLockManager
    from roomkit_plugins.redis.realtime import RedisRealtime as RedisRealtime
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "RedisConfig": "config",
            "RedisConnectionConfig": "config",
            "RedisLockConfig": "config",
            "RedisRealtimeConfig": "config",
            "RedisLockManager": "locks",
            "RedisRealtime": "realtime",
            "RedisTurnConfig": "executor",
            "RedisTurnExecutor": "executor",
        },
    )
