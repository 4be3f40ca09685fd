"""Addresses of mail: RFC 5322 section 3.4, with names in other scripts as RFC 5890 writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.headerregistry import Address
from email.utils import getaddresses

import idna

from roomkit_plugins.wire.mail.mime import unfolded

__all__ = ["Mailbox", "ascii_address", "mailbox_of", "mailboxes", "mailboxes_in"]

_LONGEST = 320
"""Characters of an address: 64 of the local part, 255 of the domain."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address, its domain in ASCII, and the name beside it."""

    address: str
    name: str = ""

    @property
    def domain(self) -> str:
        """The part after the @."""
        return self.address.rpartition("@")[2]

    @property
    def header(self) -> Address:
        """The mailbox as a header of a message takes it."""
        local, _, domain = self.address.rpartition("@")
        return Address(self.name, local, domain)


def mailbox_of(text: str) -> Mailbox:
    """Return the one mailbox that a text names, such as "Ann <ann@example.com>".

    Raises ValueError for a line break, which could add a header, for none or several, and for a wrong one.
    """
    if not text.strip().isprintable():
        raise ValueError("a mail address has no line breaks or control characters")
    found = getaddresses([text])
    if len(found) != 1 or not found[0][1] or found[0][1] not in text:  # the parser drops spaces
        raise ValueError(f"{text[:80]!r} is not one mail address: write it as name@example.com")
    name, address = found[0]
    return Mailbox(ascii_address(address), name)


def ascii_address(address: str) -> str:
    """Return an address with its domain in ASCII. Raises ValueError for a text that is no address."""
    local, at, domain = address.strip().rpartition("@")
    if not at or not local or not domain or len(address) > _LONGEST or not address.isprintable():
        raise ValueError(f"{address[:80]!r} is not a mail address: write it as name@example.com")
    if " " in address or any(each in local for each in '",:;<>()[]\\'):
        raise ValueError(f"{address[:80]!r} is a mail address that is not supported: quotes and comments")
    return f"{local}@{_ascii_domain(domain)}"


def _ascii_domain(domain: str) -> str:
    if domain.isascii():
        if not all(each.isalnum() or each in "-._" for each in domain) or ".." in domain:
            raise ValueError(f"{domain[:80]!r} is not the domain of a mail address")
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"{domain[:80]!r} is not the domain of a mail address") from error


def mailboxes(headers: Iterable[str]) -> list[Mailbox]:
    """Return the mailboxes of headers from outside, members of groups too; what is none is omitted."""
    return list(mailboxes_in(headers))


def mailboxes_in(headers: Iterable[str]) -> Iterator[Mailbox]:
    """Yield them one by one, each once."""
    seen: set[str] = set()
    for name, address in getaddresses([" ".join(header.split()) for header in headers]):
        try:
            mailbox = Mailbox(ascii_address(address), unfolded(name))
        except ValueError:
            continue
        if mailbox.address.lower() not in seen:
            seen.add(mailbox.address.lower())
            yield mailbox
