"""PgBouncer before a PostgreSQL server, where it is installed."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, override
from urllib.parse import unquote, urlsplit

from roomkit_plugins.testing.services.processes import HOST, ServerProcess, ServiceError

__all__ = ["PgBouncer"]

type PoolMode = Literal["session", "transaction", "statement"]


class PgBouncer(ServerProcess):
    """Pools the connections to the databases of the server with this DSN, as its user.

    It takes any user without a password. `settings` are its own, as in pgbouncer.ini. It is not a pip wheel:
    `PgBouncer.is_installed` says whether the program is in the path (Debian: `apt install pgbouncer`).
    """

    name = "pgbouncer"

    def __init__(
        self, dsn: str, pool_mode: PoolMode = "session", *, settings: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        self._target = urlsplit(dsn)
        self._settings = {"pool_mode": pool_mode, "default_pool_size": "20", **(settings or {})}

    @staticmethod
    def is_installed() -> bool:
        """Whether the program is in the path."""
        return shutil.which("pgbouncer") is not None

    @property
    def dsn(self) -> str:
        """The URL of the database of the given DSN, by way of the pooler."""
        return f"postgresql://{self._target.username}@{HOST}:{self.port}{self._target.path}"

    @override
    def _prepare(self) -> None:
        if not self.is_installed():
            raise ServiceError("pgbouncer is not in the path: install it (Debian: apt install pgbouncer)")

    @override
    def _command(self) -> Sequence[str | Path]:
        target = self._target
        user, password = unquote(target.username or ""), unquote(target.password or "")
        settings = {
            "listen_addr": HOST,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "any",
            **self._settings,
        }
        path = self.folder / "pgbouncer.ini"
        path.write_text(
            f"[databases]\n* = host={target.hostname} port={target.port or 5432} user={user} "
            f"password={password}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        path.chmod(0o644)
        return [shutil.which("pgbouncer") or "pgbouncer", path]

    @override
    def _is_ready(self, pid: int) -> bool:
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True
