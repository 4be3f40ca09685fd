"""The server: connections to it, and its faults as typed errors."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, override
from urllib.parse import urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ConnectionError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)
from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit_plugins.redis.config import RedisConnectionConfig

__all__ = ["TROUBLE", "Server", "Unusable", "Word", "is_refusal", "is_transient", "send"]

type Word = str | bytes | int

_SLOT_PROBES = 16
"""Keys of different slots that are asked for: no node of a cluster has the slots of all."""


class Unusable(RedisError):
    """The server reached does not work here; the message says what to do."""


_TLS = "whether it wants TLS (rediss://) or has none (redis://)"
_NO_REDIS = f"the server there is not Redis: correct host and port, and see {_TLS}"

TROUBLE = (RedisError, OSError)
"""What a connection raises when it breaks or cannot be made; the built-in TimeoutError is an OSError."""


class Server:
    """Where the server is. `str()` names it without the credentials.

    Raises InvalidInputError for a URL that cannot be used.
    """

    def __init__(self, config: RedisConnectionConfig) -> None:
        made = _options(config)
        if made is None:
            raise InvalidInputError(
                "the url of Redis cannot be used: write redis://user:password@host:port/0, with special "
                "characters of the password percent-encoded, and only options of a connection after `?`"
            )
        self._kind, self._options = kind, options = made
        self._connect_timeout = config.connect_timeout
        self._prefix = config.prefix
        self.database = int(kind(**options).db)
        place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self._name = f"redis at {place}/{self.database}"

    @override
    def __str__(self) -> str:
        return self._name

    async def connect(self) -> AbstractConnection:
        """Return a new connection to a server that can be worked with. Raises what TROUBLE names."""
        connection = self._kind(**self._options)
        try:
            async with asyncio.timeout(self._connect_timeout):  # with the greeting, which has no limit else
                await self._greet(connection)
                await self._check(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def probe(self) -> str:
        """Return in one line that the server can be worked with, as `SupportsProbe` says; no key is made.

        Raises ProviderError.
        """
        try:
            connection = await self.connect()
        except TROUBLE as error:
            code = ErrorCode.AUTH if isinstance(error, AuthenticationError) else ErrorCode.CONNECTION
            raise ProviderError(self.explain(error), error_code=code, provider="redis") from error
        await connection.disconnect(nowait=True)
        return f"{self} answers as a primary with all keys"

    async def _greet(self, connection: AbstractConnection) -> None:
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # the library's
        except InvalidResponse as error:
            raise Unusable(_NO_REDIS) from error
        except (AuthenticationError, AuthorizationError):
            raise
        except ConnectionError as error:
            if _is_about_tls(error):
                raise Unusable(f"TLS could not be agreed: see {_TLS} ({error})") from error
            raise
        except ResponseError as error:
            if "DB index" not in str(error):
                raise
            raise Unusable(f"no database {self.database}: correct the number in its url") from error

    async def _check(self, connection: AbstractConnection) -> None:
        """Raise unless it is a primary that has all keys: on others locks and signals would be lost."""
        keys = [f"{self._prefix}:{{{number}}}:" for number in range(_SLOT_PROBES)]
        await send(connection, ("INFO", "replication"), *(("EXISTS", key) for key in keys))
        answers = [await _answer(connection) for _ in range(1 + _SLOT_PROBES)]
        for answer in answers:
            if isinstance(answer, MovedError | ClusterDownError | NoPermissionError):
                raise answer
        if isinstance(answers[0], bytes) and b"role:slave" in answers[0]:
            raise ReadOnlyError("it says role:slave")

    def explain(self, error: BaseException) -> str:
        """Return the fault and the next step; never the credentials."""
        return f"{self._name} {_advice(error)}"


def _options(config: RedisConnectionConfig) -> tuple[type[AbstractConnection], dict[str, Any]] | None:
    """Return a connection factory; None for a malformed url, as the cause may quote the password."""
    url = config.url.get_secret_value()
    try:
        options: dict[str, Any] = {**parse_url(url)}
        kind: type[AbstractConnection] = options.pop("connection_class", Connection)
        number = urlsplit(url).path.strip("/")
        if number and "host" in options and not number.isdecimal():
            return None  # the library would take database 0
        # One kind of answer, and deadlines of our own: the library's are per read, and would end a
        # subscription on which nothing happens.
        options |= {
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": config.connect_timeout,
            "decode_responses": False,
        }
        kind(**options)
    except (TypeError, ValueError, AttributeError):
        return None
    return kind, options


async def _answer(connection: AbstractConnection) -> object:
    """Return an answer, an error too: a proxy may not know every command."""
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def send(connection: AbstractConnection, *commands: Sequence[Word]) -> None:
    """Send commands, all in one. Raises what TROUBLE names.

    A connection that is known to be lost is not written to: Python before 3.13.8 would then watch its
    descriptor, which the next connection may have by now, and that one never gets ready (gh-136234).
    """
    writer = connection._writer
    if writer is None or writer.transport.is_closing():
        raise ConnectionError("the connection was lost")
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)


def is_refusal(error: BaseException) -> bool:
    """Whether a retry is useless before the configuration changes."""
    refusals = AuthenticationError | AuthorizationError | NoPermissionError | MovedError | Unusable
    return isinstance(error, refusals)


def _is_about_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_transient(error: ResponseError) -> bool:
    """Whether the same command may be answered on a new connection: after a failover, say."""
    if isinstance(error, MovedError):
        return False
    return isinstance(error, NoScriptError | ReadOnlyError | ClusterDownError | TryAgainError)


def _advice(error: BaseException) -> str:
    match error:
        case Unusable():
            return f"cannot be used: {error}"
        case AuthenticationError() | AuthorizationError():
            return "refuses the credentials: correct user and password in its url"
        case NoPermissionError():
            return f"grants this user too little: allow it what RoomKit needs ({error})"
        case MovedError() | ClusterDownError():
            return (
                "is one node of a Redis Cluster: give the url of a single Redis, or of a proxy of the cluster"
            )
        case OutOfMemoryError():
            return "is out of memory: raise its maxmemory, or remove what others keep there"
        case ReadOnlyError():
            return "is a replica: give the url of the primary"
        case ConnectionError() | TimeoutError() | OSError():
            cause = str(error) or type(error).__name__
            return f"cannot be reached: see that it runs, that its url is right and {_TLS} ({cause})"
        case _:
            return f"could not carry out the request ({error})"
