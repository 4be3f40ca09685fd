"""One connection to a folder: IMAPClient, whose calls block, in a thread of its own.

It is well kept, and knows the answers of many servers. The asyncio library that there is has a licence that
its users would have to take over (GPL).
"""

from __future__ import annotations

import asyncio
import imaplib
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.smtp.connections import tls_context
from roomkit_plugins.wire.origin import Origin

if TYPE_CHECKING:
    from imapclient import IMAPClient

    from roomkit_plugins.smtp.config import IMAPConfig

__all__ = ["IMAP_ORIGIN", "FolderConnection", "MailInBox", "OpenFolder"]

IMAP_ORIGIN = Origin("imap", "the mailbox's server", setting="host")
_CLOSING = 5.0


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """The folder as it was opened: `validity` names the numbering of its mails, `next_uid` is free."""

    validity: int
    next_uid: int
    has_idle: bool


@dataclass(frozen=True, slots=True)
class MailInBox:
    """A mail: whole, or its head alone if it is larger than may be read."""

    uid: int
    data: bytes
    size: int
    is_whole: bool
    at: date


class FolderConnection:
    """A connection to one folder, for one task at a time. `abort` ends the call that waits."""

    def __init__(self, config: IMAPConfig) -> None:
        self._config = config
        self._client: IMAPClient | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="roomkit-imap")

    async def open(self, token: str | None) -> OpenFolder:
        """Connect, log in and open the folder. Raises ProviderError."""
        try:
            return await self._run(lambda: self._opened(token))
        except (imaplib.IMAP4.error, OSError, ValueError) as error:
            raise _not_opened(error) from error

    async def uids_after(self, uid: int) -> Sequence[int]:
        """Return the numbers of the mails after one, in their order."""
        found = await self._called(lambda client: client.search(["UID", f"{uid + 1}:*"]))
        # A server answers with the last mail where there is none after it (RFC 3501 section 6.4.8).
        return sorted(int(each) for each in found if int(each) > uid)

    async def first_since(self, day: date) -> int | None:
        """Return the number of the first mail of a day or later; None if there is none."""
        found = await self._called(lambda client: client.search(["SINCE", day]))
        return min(map(int, found), default=None)

    async def read(self, uid: int) -> MailInBox | None:
        """Return a mail without marking it as read; None if it is gone."""
        return await self._called(lambda client: self._fetched(client, uid))

    async def process(self, uid: int) -> None:
        """Do to a mail what the settings say is done to one that was taken in."""
        config = self._config
        match config.processed:
            case "seen":
                await self._called(lambda client: client.add_flags([uid], [b"\\Seen"], silent=True))
            case "move":
                await self._called(lambda client: client.move([uid], config.move_to))
            case "delete":
                await self._called(lambda client: _deleted(client, uid))

    async def wait(self, seconds: float) -> None:
        """Return when the server says that something changed, or after that many seconds."""
        try:
            await self._called(lambda client: _idled(client, seconds))
        except ProviderError as error:
            # Whatever the server said in between: where the conversation stands is not known.
            raise IMAP_ORIGIN.broke_off(error) from error

    def abort(self) -> None:
        """Break the connection off: a call that waits fails. Safe to call at any time."""
        client = self._client
        if client is None:
            return
        with suppress(OSError, AttributeError):
            # Not `SSLSocket.shutdown`, which takes the encryption away from the thread that reads.
            socket.socket.shutdown(client.socket(), socket.SHUT_RDWR)

    async def close(self) -> None:
        """Close the connection, and end the thread. Idempotent."""
        self.abort()
        ended = asyncio.get_running_loop().run_in_executor(None, self._ended)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await asyncio.shield(ended)  # if this is cancelled, the socket is closed all the same

    def _ended(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._client is not None:
            with suppress(Exception):  # the connection is broken off by now
                self._client.shutdown()

    async def _called[T](self, call: Callable[[IMAPClient], T]) -> T:
        client = self._client
        if client is None:
            raise IMAP_ORIGIN.refused("the mailbox is not open", error_code=ErrorCode.CONNECTION)
        try:
            return await self._run(lambda: call(client))
        except (imaplib.IMAP4.abort, OSError, ValueError) as error:
            raise IMAP_ORIGIN.broke_off(error) from error
        except imaplib.IMAP4.error as error:
            raise IMAP_ORIGIN.refused(
                f"the mailbox's server refused a command: {str(error)[:300]}"
            ) from error

    async def _run[T](self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    # -- in the thread ------------------------------------------------------------------------

    def _opened(self, token: str | None) -> OpenFolder:
        config = self._config
        context = None if config.security == "none" else tls_context(config)
        client = self._client = _client_class()(
            config.host,
            config.server_port,
            ssl=config.security == "tls",
            ssl_context=context if config.security == "tls" else None,
            timeout=config.timeout,
        )
        if config.security == "starttls":
            client.starttls(context)
        if token is not None:
            client.oauth2_login(config.username, token)
        elif config.password is not None:
            client.login(config.username, config.password.get_secret_value())
        facts = client.select_folder(config.mailbox, readonly=config.processed == "keep")
        return OpenFolder(
            validity=int(facts[b"UIDVALIDITY"]),
            next_uid=int(facts[b"UIDNEXT"]),
            has_idle=client.has_capability("IDLE"),
        )

    def _fetched(self, client: IMAPClient, uid: int) -> MailInBox | None:
        facts = client.fetch([uid], [b"RFC822.SIZE", b"INTERNALDATE"]).get(uid)
        if facts is None:
            return None
        size = int(facts[b"RFC822.SIZE"])
        is_whole = size <= self._config.max_bytes
        part = b"BODY[]" if is_whole else b"BODY[HEADER]"
        content = client.fetch([uid], [part.replace(b"BODY[", b"BODY.PEEK[")]).get(uid, {}).get(part)
        if content is None:
            return None
        return MailInBox(uid, bytes(content), size, is_whole, _day(facts.get(b"INTERNALDATE")))


@cache
def _client_class() -> type[IMAPClient]:
    """Return IMAPClient, whose own connection stays open if its TLS handshake fails (4.1)."""
    from imapclient import IMAPClient
    from imapclient.tls import IMAP4_TLS

    class Connection(IMAP4_TLS):  # type: ignore[misc]  # the library has no py.typed
        def _create_socket(self, timeout: float | None = None) -> socket.socket:
            made = socket.create_connection((self.host, self.port), timeout=timeout or self._timeout)
            try:
                return self.ssl_context.wrap_socket(made, server_hostname=self.host)  # type: ignore[no-any-return]
            except BaseException:
                made.close()
                raise

    class Client(IMAPClient):  # type: ignore[misc]
        def _create_IMAP4(self) -> Any:
            if not self.ssl:
                return super()._create_IMAP4()
            return Connection(self.host, self.port, self.ssl_context, self._timeout.connect)

    return Client


def _day(at: Any) -> date:
    return at.date() if isinstance(at, datetime) else date.min


def _deleted(client: IMAPClient, uid: int) -> None:
    client.delete_messages([uid], silent=True)
    client.expunge([uid] if client.has_capability("UIDPLUS") else None)


def _idled(client: IMAPClient, seconds: float) -> None:
    client.idle()
    try:
        if not _has_unread(client):
            client.idle_check(timeout=seconds)
    finally:
        client.idle_done()


def _has_unread(client: IMAPClient) -> bool:
    """Whether the server said more than its answer to IDLE, which was read from the socket with it.

    `idle_check` looks at the socket alone (4.1), and would wait for the next news.
    """
    imap = client._imap
    read = imap._file if hasattr(imap, "_file") else imap.file  # the first from Python 3.14 on
    connection = client.socket()
    before = connection.gettimeout()
    connection.setblocking(False)
    try:
        return bool(read.peek(1))
    except OSError:  # TLS, where nothing is there
        return False
    finally:
        connection.settimeout(before)


def _not_opened(error: Exception) -> ProviderError:
    """Return the error for a folder that was not opened: what needs a person is not tried again."""
    from imapclient.exceptions import CapabilityError, LoginError

    said = " ".join(str(error).split())[:300]
    if isinstance(error, LoginError):
        return IMAP_ORIGIN.refused(
            f"the mailbox's server refused the login: {said}", error_code=ErrorCode.AUTH
        )
    if isinstance(error, CapabilityError):
        return IMAP_ORIGIN.refused(f"the mailbox's server cannot do what the settings ask: {said}")
    if isinstance(error, imaplib.IMAP4.error) and not isinstance(error, imaplib.IMAP4.abort):
        return IMAP_ORIGIN.refused(f"the folder cannot be opened: {said}", error_code=ErrorCode.NOT_FOUND)
    return IMAP_ORIGIN.not_reached(error)
