"""Which mail server to send by, and how."""

from __future__ import annotations

import os
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from roomkit_plugins.wire.mail.addresses import Mailbox, mailbox_of
from roomkit_plugins.wire.vendor_provider import VendorConfig

__all__ = ["IMAPConfig", "MailServerConfig", "SMTPConfig"]

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
LOCAL = ("localhost", "127.0.0.1", "::1")
"""Servers on this machine, whose connections no one else sees."""
_DOMAIN = r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"


def _check_mailbox(text: str) -> str:
    mailbox_of(text)
    return text


type MailAddress = Annotated[str, AfterValidator(_check_mailbox)]


def _password() -> SecretStr | None:
    return SecretStr(found) if (found := os.environ.get("SMTP_PASSWORD")) else None


class MailServerConfig(VendorConfig):
    """What the settings of a mail server's two services have alike."""

    host: str = Field(pattern=rf"^({_DOMAIN}|[0-9a-fA-F:.]{{2,45}})$")
    """The server's name; its certificate has to be for it."""
    port: int | None = Field(default=None, ge=1, le=65_535)
    """By default the port of the `security`."""
    username: str | None = Field(default=None, min_length=1, max_length=320)
    """Who logs in; no one without it."""
    password: SecretStr | None = Field(default_factory=_password)
    """The password of `username`. `SMTP_PASSWORD` without it."""
    ca_file: str | None = Field(default=None, min_length=1)
    """Certificates by which the server's is verified, as a PEM file, in place of the system's."""
    timeout: float = Field(default=30.0, gt=0, le=600)
    """Seconds for one command."""


class SMTPConfig(MailServerConfig):
    """The settings of `SMTPProvider`."""

    from_email: MailAddress
    """The sender of every mail, unless its hints name another."""
    from_name: str | None = Field(default=None, min_length=1, max_length=200)
    """The name beside it."""
    subject: str = Field(default="New message", min_length=1, max_length=300)
    """The subject of a mail whose hints name none."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted: by STARTTLS (port 587), from its start (465), or not (25)."""
    local_hostname: str | None = Field(default=None, pattern=f"^{_DOMAIN}$")
    """What this machine calls itself, in place of its name."""
    pool_size: int = Field(default=4, ge=1, le=100)
    """How many connections there are at most."""
    dkim_selector: str | None = Field(default=None, pattern=f"^{_DOMAIN}$")
    """Where the DNS has the public key: `<selector>._domainkey.<domain>`."""
    dkim_domain: str | None = Field(default=None, pattern=f"^{_DOMAIN}$")
    """The domain that signs; that of `from_email` without it."""
    dkim_key: SecretStr | None = None
    """The private RSA key that signs, as PEM; without it mails are not signed here."""

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if (self.dkim_key is None) is not (self.dkim_selector is None):
            raise ValueError("a DKIM signature needs both dkim_key and dkim_selector")
        if self.username is not None and self.security == "none" and self.host not in LOCAL:
            raise ValueError(
                "a login without encryption would show the password to the network: set security to "
                "'starttls' or 'tls'"
            )
        return self

    @property
    def server_port(self) -> int:
        """The port to connect to."""
        return self.port or _PORTS[self.security]

    @property
    def sender(self) -> Mailbox:
        """The configured sender."""
        found = mailbox_of(self.from_email)
        return Mailbox(found.address, self.from_name or found.name)


def _imap_password() -> SecretStr | None:
    return SecretStr(found) if (found := os.environ.get("IMAP_PASSWORD")) else None


class IMAPConfig(MailServerConfig):
    """The settings of `IMAPSource`."""

    channel_id: str = Field(min_length=1)
    """The channel that the mails are for."""
    password: SecretStr | None = Field(default_factory=_imap_password)
    """The password of `username`. `IMAP_PASSWORD` without it."""
    security: Literal["starttls", "tls", "none"] = "tls"
    """How the connection is encrypted: from its start (port 993), by STARTTLS (143), or not (143)."""
    mailbox: str = Field(default="INBOX", min_length=1, max_length=500)
    """The folder that is read."""
    begin: Literal["new", "all"] = "new"
    """What is read at the very first start: mails from then on, or all that are there."""
    poll_seconds: float = Field(default=60.0, gt=0, le=1_500)
    """How often the folder is looked at, if the server has no IDLE; else how long one IDLE lasts."""
    processed: Literal["keep", "seen", "move", "delete"] = "keep"
    """What becomes of a mail that was taken in."""
    move_to: str | None = Field(default=None, min_length=1, max_length=500)
    """The folder that it is moved to."""
    max_bytes: int = Field(default=25_000_000, ge=1_000, le=200_000_000)
    """The size up to which a mail is read; of a larger one the head is."""
    provider: str = Field(default="smtp", min_length=1, max_length=100)
    """The name of the provider that sends, by which bounces find their deliveries."""
    own_addresses: tuple[MailAddress, ...] = ()
    """Addresses that mails are sent from here: a mail from one of them came back, and is not taken in."""
    authserv_id: str | None = Field(default=None, min_length=1, max_length=255)
    """What the mail server calls itself in `Authentication-Results`; without it, those are not believed."""

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if self.username is None:
            raise ValueError("a mailbox is someone's: set username")
        if self.security == "none" and self.host not in LOCAL:
            raise ValueError(
                "a login without encryption would show the password to the network: set security to "
                "'starttls' or 'tls'"
            )
        if (self.processed == "move") is not (self.move_to is not None):
            raise ValueError("processed = 'move' and move_to belong together")
        return self

    @property
    def server_port(self) -> int:
        """The port to connect to."""
        return self.port or (993 if self.security == "tls" else 143)
