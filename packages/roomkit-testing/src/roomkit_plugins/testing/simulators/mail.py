"""A mail server on this machine: aiosmtpd takes mail by SMTP, with TLS and logins as it is told."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import warnings
from base64 import b64decode
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session

__all__ = ["MailServerSimulator", "ReceivedMail", "SMTPRefusal", "server_context"]

type SMTPStep = Literal["mail", "rcpt", "data"]


@dataclass(frozen=True, slots=True)
class SMTPRefusal:
    """A reply in place of success; `reply` begins with its code, as in "550 5.1.1 no such user".

    Without a reply the connection breaks off: after the whole mail, if the step is `data`.
    """

    step: SMTPStep
    reply: str | None
    recipient: str | None = None
    """Of RCPT, the one it is for; any without it."""


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """A mail that was taken."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    login: str | None
    """Who was logged in."""
    is_encrypted: bool

    @property
    def message(self) -> EmailMessage:
        """The mail as a strict parser reads it."""
        found = message_from_bytes(self.content, policy=default)
        assert isinstance(found, EmailMessage)
        return found

    @property
    def text(self) -> str:
        """Its plain text, without the line break that ends each."""
        part = self.message.get_body(("plain",))
        text = "" if part is None else str(part.get_content())
        return text.replace("\r\n", "\n").removesuffix("\n")


class MailServerSimulator:
    """A mail server; `mails` are those it took, oldest first.

    `users` are the names and passwords that may log in; with some, mail without a login is refused.
    `security` is "starttls", "tls" or "none"; `ca_file` verifies its certificate, which is for 127.0.0.1.
    """

    def __init__(
        self,
        *,
        security: Literal["starttls", "tls", "none"] = "none",
        users: dict[str, str] | None = None,
        size_limit: int = 33_554_432,
    ) -> None:
        self.security = security
        self.users = dict(users or {})
        self.tokens: dict[str, str] = {}
        """The access tokens (XOAUTH2) that may log in, by name."""
        self.size_limit = size_limit
        self.mails: list[ReceivedMail] = []  # bound: one test
        self.logins: list[str] = []  # bound: one test
        self.connections = 0
        self.names: set[str] = set()
        """What clients called themselves."""
        self.host, self.port = "127.0.0.1", 0
        self._refusals: deque[SMTPRefusal] = deque()  # bound: one test
        self._folder = tempfile.TemporaryDirectory()
        self._server: asyncio.Server | None = None
        self._open: dict[object, asyncio.Transport] = {}  # bound: open connections
        self._tls: ssl.SSLContext | None = None

    @property
    def ca_file(self) -> str:
        """The certificate of the server, by which it is verified."""
        return str(Path(self._folder.name) / "certificate.pem")

    def refuse(self, step: SMTPStep, reply: str | None, recipient: str | None = None) -> None:
        """Script a refusal of the next such command."""
        self._refusals.append(SMTPRefusal(step, reply, recipient))

    def drop_connections(self) -> None:
        """Break off all connections."""
        for transport in self._open.values():
            transport.abort()

    async def __aenter__(self) -> Self:
        if self.security != "none":
            self._tls = await asyncio.to_thread(server_context, Path(self._folder.name))
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connected, self.host, 0, ssl=self._tls if self.security == "tls" else None
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drop_connections()
        if self._server is not None:
            self._server.close()
            async with asyncio.timeout(10):
                await self._server.wait_closed()
        self._folder.cleanup()

    def _connected(self) -> SMTP:
        from aiosmtpd.smtp import SMTP

        self.connections += 1
        simulator = self

        class Connection(SMTP):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                simulator._open[self] = transport

            def connection_lost(self, error: Exception | None) -> None:
                super().connection_lost(error)
                simulator._open.pop(self, None)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of logins without TLS: nothing leaves this machine
            return Connection(
                _Handler(self),
                data_size_limit=self.size_limit,
                enable_SMTPUTF8=True,
                hostname="mail.simulator.example",
                tls_context=self._tls if self.security == "starttls" else None,
                require_starttls=self.security == "starttls",
                auth_required=bool(self.users or self.tokens),
                auth_require_tls=False,
                authenticator=self._authenticate,
                loop=asyncio.get_running_loop(),
            )

    def _authenticate(self, server: SMTP, session: Session, envelope: Envelope, kind: str, data: Any) -> Any:
        from aiosmtpd.smtp import AuthResult

        login, password = data.login.decode(), data.password.decode()
        is_known = self.users.get(login) == password
        if is_known:
            self.logins.append(login)
        return AuthResult(success=is_known, handled=is_known, auth_data=login)

    def next_refusal(self, step: SMTPStep, recipient: str | None = None) -> SMTPRefusal | None:
        """Return, once, how a command is refused that came now; None if it is not."""
        found = next(
            (each for each in self._refusals if each.step == step and each.recipient in (None, recipient)),
            None,
        )
        if found is not None:
            self._refusals.remove(found)
        return found


class _Handler:
    """What aiosmtpd asks of a server, by its names."""

    def __init__(self, simulator: MailServerSimulator) -> None:
        self._simulator = simulator

    async def auth_XOAUTH2(self, server: SMTP, args: list[str]) -> Any:
        """Take an access token, as Gmail and Microsoft 365 do."""
        from aiosmtpd.smtp import AuthResult

        said = b64decode(args[1]).decode().split("\x01") if len(args) > 1 else []
        login = said[0].removeprefix("user=") if said else ""
        is_known = said[1:2] == [f"auth=Bearer {self._simulator.tokens.get(login)}"]
        if is_known:
            self._simulator.logins.append(login)
        return AuthResult(success=is_known, handled=False, auth_data=login)

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        self._simulator.names.add(str(session.host_name))
        envelope.mail_options.extend(options)
        return self._reply(server, "mail", address) or "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        refusal = self._reply(server, "rcpt", address)
        if refusal is None:
            envelope.rcpt_tos.append(address)
        return refusal or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        refusal = self._simulator.next_refusal("data")
        if refusal is not None and refusal.reply is not None:
            return refusal.reply
        content = envelope.content
        self._simulator.mails.append(
            ReceivedMail(
                sender=envelope.mail_from or "",
                recipients=tuple(envelope.rcpt_tos),
                content=content if isinstance(content, bytes) else str(content).encode(),
                login=str(session.auth_data) if session.authenticated else None,
                is_encrypted=session.ssl is not None or self._simulator.security == "tls",
            )
        )
        if refusal is not None:
            _abort(server)
        return "250 2.0.0 queued"

    def _reply(self, server: SMTP, step: SMTPStep, address: str) -> str | None:
        refusal = self._simulator.next_refusal(step, address)
        if refusal is not None and refusal.reply is None:
            _abort(server)
        return None if refusal is None else refusal.reply or "421 gone"


def _abort(server: SMTP) -> None:
    transport = server.transport
    assert isinstance(transport, asyncio.Transport)
    transport.abort()


def server_context(folder: Path) -> ssl.SSLContext:
    """Make a certificate for this machine, and return what serves it."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    _make_certificate(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _make_certificate(certificate: Path, key: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.simulator.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
