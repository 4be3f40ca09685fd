"""A mailbox on this machine: the part of IMAP4rev1 (RFC 3501, 2177, 4315, 6851) that clients read mail by."""

from __future__ import annotations

import asyncio
import re
import ssl
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from roomkit_plugins.testing.simulators.mail import server_context

__all__ = ["MailboxSimulator", "StoredMail"]

_LINE = re.compile(rb'(?P<quote>"(?:[^"\\]|\\.)*")|\((?P<group>[^)]*)\)|(?P<atom>[^\s()]+)')


@dataclass(slots=True)
class StoredMail:
    """A mail in the folder."""

    uid: int
    content: bytes = field(repr=False)
    at: datetime
    flags: set[str] = field(default_factory=set)

    @property
    def head(self) -> bytes:
        """Its head, with the empty line after it."""
        return self.content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


class MailboxSimulator:
    """A mailbox with one folder, `INBOX`; `mails` are those in it, `moved` those that were moved elsewhere.

    `users` are the names and passwords that may log in, `tokens` the access tokens (XOAUTH2). `commands` are
    those that came, without the ones of a login. A command named in `refused` is answered with NO.
    """

    def __init__(
        self,
        *,
        users: dict[str, str] | None = None,
        security: Literal["tls", "none"] = "none",
        has_idle: bool = True,
    ) -> None:
        self.users = dict(users or {})
        self.tokens: dict[str, str] = {}
        self.security = security
        self.has_idle = has_idle
        self.mails: list[StoredMail] = []  # bound: one test
        self.moved: list[tuple[str, StoredMail]] = []  # bound: one test
        self.commands: list[str] = []  # bound: one test
        self.refused: set[str] = set()
        self.arriving: list[bytes] = []  # bound: one test
        """Mails that come just before the next IDLE."""
        self.validity = 1
        self.next_uid = 1
        self.connections = 0
        self.host, self.port = "127.0.0.1", 0
        self._sessions: set[_Session] = set()  # bound: open connections
        self._server: asyncio.Server | None = None
        self._folder = tempfile.TemporaryDirectory()

    @property
    def ca_file(self) -> str:
        """The certificate of the server, by which it is verified."""
        return str(Path(self._folder.name) / "certificate.pem")

    @property
    def idling(self) -> int:
        """How many clients wait in IDLE."""
        return sum(each.is_idle for each in self._sessions)

    async def __aenter__(self) -> Self:
        context: ssl.SSLContext | None = None
        if self.security == "tls":
            context = await asyncio.to_thread(server_context, Path(self._folder.name))
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=context, limit=1_000_000)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drop_connections()
        if self._server is not None:
            self._server.close()
            async with asyncio.timeout(10):
                await self._server.wait_closed()
        self._folder.cleanup()

    def deliver(self, content: bytes, *, at: datetime | None = None) -> StoredMail:
        """Put a mail into the folder, and say so to those who wait for one."""
        mail = StoredMail(self.next_uid, content, at or datetime.now(UTC))
        self.next_uid += 1
        self.mails.append(mail)
        for session in self._sessions:
            session.announce(len(self.mails))
        return mail

    def renumber(self) -> None:
        """Give all mails other numbers, as a server does whose index was lost."""
        self.validity += 1
        for uid, mail in enumerate(self.mails, 101):
            mail.uid = uid
        self.next_uid = 101 + len(self.mails)
        self.drop_connections()

    def drop_connections(self) -> None:
        """Break off all connections."""
        for session in self._sessions:
            session.abort()

    def remove(self, uid: int) -> StoredMail | None:
        """Take a mail out of the folder."""
        found = next((mail for mail in self.mails if mail.uid == uid), None)
        if found is not None:
            self.mails.remove(found)
        return found

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        session = _Session(self, reader, writer)
        self._sessions.add(session)
        try:
            await session.run()
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass  # the client is gone, or it was broken off
        finally:
            self._sessions.discard(session)
            writer.transport.abort()  # the client has left: there is nothing to wait for


class _Session:
    """One connection; what a client may ask is a method `do_...`."""

    def __init__(
        self, mailbox: MailboxSimulator, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._mailbox = mailbox
        self._reader = reader
        self._writer = writer
        self._is_in = False
        self._is_open = True
        self._known = 0
        """How many mails the client knows of."""
        self.is_idle = False

    async def run(self) -> None:
        self._say(f"* OK [CAPABILITY {self._able}] ready")
        while self._is_open and (line := await self._reader.readline()):
            tag, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            name, _, arguments = rest.partition(" ")
            if name.upper() == "UID":
                name, _, arguments = arguments.partition(" ")
            await self._answer(tag, name.upper(), arguments)

    def abort(self) -> None:
        self._writer.transport.abort()

    def announce(self, count: int) -> None:
        if self.is_idle:
            self._known = count
            self._say(f"* {count} EXISTS")

    @property
    def _able(self) -> str:
        return "IMAP4rev1 UIDPLUS MOVE AUTH=XOAUTH2" + (" IDLE" if self._mailbox.has_idle else "")

    def _say(self, line: str | bytes) -> None:
        self._writer.write((line.encode() if isinstance(line, str) else line) + b"\r\n")

    async def _answer(self, tag: str, name: str, arguments: str) -> None:
        if name not in ("LOGIN", "AUTHENTICATE"):
            self._mailbox.commands.append(f"{name} {arguments}".strip())
        do: Callable[[str, str], Any] | None = getattr(self, f"do_{name.lower()}", None)
        if name in self._mailbox.refused:
            self._say(f"{tag} NO {name} is refused")
        elif do is None or not (self._is_in or name in ("CAPABILITY", "LOGIN", "AUTHENTICATE", "LOGOUT")):
            self._say(f"{tag} BAD {name} cannot be asked here")
        else:
            await do(tag, arguments)
        await self._writer.drain()

    # -- login --------------------------------------------------------------------------------

    async def do_capability(self, tag: str, arguments: str) -> None:
        self._say(f"* CAPABILITY {self._able}")
        self._say(f"{tag} OK done")

    async def do_login(self, tag: str, arguments: str) -> None:
        login, password = (found for found in _words(arguments))
        self._let_in(tag, self._mailbox.users.get(login) == password)

    async def do_authenticate(self, tag: str, arguments: str) -> None:
        self._say("+ ")
        await self._writer.drain()
        said = b64decode(await self._reader.readline()).decode().split("\x01")
        login = said[0].removeprefix("user=")
        self._let_in(tag, said[1:2] == [f"auth=Bearer {self._mailbox.tokens.get(login)}"])

    def _let_in(self, tag: str, is_known: bool) -> None:
        self._is_in = is_known
        self._say(f"{tag} OK in" if is_known else f"{tag} NO [AUTHENTICATIONFAILED] wrong name or password")

    async def do_logout(self, tag: str, arguments: str) -> None:
        self._say("* BYE")
        self._say(f"{tag} OK")
        self._is_open = False

    # -- the folder ---------------------------------------------------------------------------

    async def do_noop(self, tag: str, arguments: str) -> None:
        self._say(f"{tag} OK")

    async def do_select(self, tag: str, arguments: str) -> None:
        mailbox = self._mailbox
        if next(iter(_words(arguments)), "") != "INBOX":
            self._say(f"{tag} NO there is no such folder")
            return
        self._known = len(mailbox.mails)
        self._say(f"* {self._known} EXISTS")
        self._say("* 0 RECENT")
        self._say("* FLAGS (\\Seen \\Deleted)")
        self._say(f"* OK [UIDVALIDITY {mailbox.validity}]")
        self._say(f"* OK [UIDNEXT {mailbox.next_uid}]")
        self._say(f"{tag} OK [READ-WRITE] done")

    do_examine = do_select

    async def do_search(self, tag: str, arguments: str) -> None:
        kind, _, value = arguments.partition(" ")
        mails = self._mailbox.mails
        self._known = len(mails)
        if kind == "SINCE":
            day = datetime.strptime(value.strip('"'), "%d-%b-%Y").date()  # a day has no zone
            found = [mail.uid for mail in mails if mail.at.date() >= day]
        else:
            first = int(value.partition(":")[0])
            # The last mail is in every range that ends with *, as the RFC has it.
            found = [mail.uid for mail in mails if mail.uid >= first] or [mail.uid for mail in mails[-1:]]
        self._say(" ".join(["* SEARCH", *map(str, found)]))
        self._say(f"{tag} OK done")

    async def do_fetch(self, tag: str, arguments: str) -> None:
        uid, _, items = arguments.partition(" ")
        for number, mail in enumerate(self._mailbox.mails, 1):
            if mail.uid == int(uid):
                self._say(b"* %d FETCH (UID %d %s)" % (number, mail.uid, _facts(mail, items)))
        self._say(f"{tag} OK done")

    async def do_idle(self, tag: str, arguments: str) -> None:
        mailbox = self._mailbox
        while mailbox.arriving:
            mailbox.deliver(mailbox.arriving.pop(0))
        self.is_idle = True
        count = len(mailbox.mails)
        # What came since the last command is said in one segment with the answer.
        news = f"\r\n* {count} EXISTS" if count != self._known else ""
        self._known = count
        self._say(f"+ idling{news}")
        await self._writer.drain()
        try:
            await self._reader.readline()
        finally:
            self.is_idle = False
        self._say(f"{tag} OK done")

    async def do_store(self, tag: str, arguments: str) -> None:
        uid, _, flags = arguments.split(" ", 2)
        for mail in self._mailbox.mails:
            if mail.uid == int(uid):
                mail.flags.update(flags.strip("()").split())
        self._say(f"{tag} OK done")

    async def do_move(self, tag: str, arguments: str) -> None:
        uid, folder = _words(arguments)
        mail = self._mailbox.remove(int(uid))
        if mail is not None:
            self._mailbox.moved.append((folder, mail))
        self._known = len(self._mailbox.mails)
        self._say(f"{tag} OK done")

    async def do_expunge(self, tag: str, arguments: str) -> None:
        for mail in list(self._mailbox.mails):
            if "\\Deleted" in mail.flags:
                self._mailbox.remove(mail.uid)
        self._known = len(self._mailbox.mails)
        self._say(f"{tag} OK done")


def _words(arguments: str) -> Iterable[str]:
    for found in _LINE.finditer(arguments.encode()):
        word = found[0].decode()
        yield re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word


def _facts(mail: StoredMail, items: str) -> bytes:
    """Return what was asked of a mail, each with its name."""
    said: list[bytes] = []
    if "RFC822.SIZE" in items:
        said.append(b"RFC822.SIZE %d" % len(mail.content))
    if "INTERNALDATE" in items:
        said.append(f'INTERNALDATE "{mail.at:%d-%b-%Y %H:%M:%S +0000}"'.encode())
    for name, content in (("BODY.PEEK[HEADER]", mail.head), ("BODY.PEEK[]", mail.content)):
        if name in items:
            said.append(b"%s {%d}\r\n%s" % (name.replace(".PEEK", "").encode(), len(content), content))
    return b" ".join(said)
