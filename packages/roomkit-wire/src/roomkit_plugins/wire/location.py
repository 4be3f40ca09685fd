"""Reading a URL from outside: one spelling for each place, none that parsers read in two ways."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin

import idna

from roomkit.abc.errors import FetchRefusedError

__all__ = ["Location", "refused"]

_URL = re.compile(r"(?i:(https?))://([^/?#\\]*)([/?][^#]*)?(#.*)?", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}


class Location(NamedTuple):
    """Where a URL leads: `host` is a lower-case ASCII name, or an address in its one spelling."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def of(cls, url: str) -> Location:
        """Read a URL. Raises FetchRefusedError for one that is not plain http(s)."""
        found = _URL.fullmatch(url) if _is_printable(url) else None
        if found is None:
            raise refused(url, "it is not a plain http:// or https:// URL")
        scheme, authority = found[1].lower(), found[2]
        if "@" in authority:
            raise refused(url, "it holds a user name, which hides the host: leave it out")
        parts = _AUTHORITY.fullmatch(authority)
        if parts is None:
            raise refused(url, "its host cannot be read")
        port = int(parts[2]) if parts[2] else _PORTS[scheme]
        if not 0 < port < 65_536:
            raise refused(url, f"there is no port {port}")
        target = quote(found[3] or "/", safe="/?%:@!$&'()*+,;=~-._[]|")
        return cls(scheme, _host(url, parts[1]), port, target if target[0] == "/" else f"/{target}")

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The address that the host is, None for a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """What the `Host` header holds."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def at(self, address: IPv4Address | IPv6Address) -> str:
        """Return the URL at one of the host's addresses; `authority` is the request's `Host` then."""
        literal = f"[{address}]" if address.version == 6 else str(address)
        return f"{self.scheme}://{literal}:{self.port}{self.target}"

    @property
    def tls_name(self) -> str | None:
        """The name that a certificate is checked for where the connection is to an address of the host."""
        return None if self.address is not None else self.host

    @property
    def origin(self) -> tuple[str, str, int]:
        """What the headers of a request are for."""
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        """The URL in one spelling."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def filename(self) -> str | None:
        """The last part of the path, for people."""
        return unquote(self.target.partition("?")[0].rpartition("/")[2]) or None

    def to(self, reference: str) -> Location:
        """Return where a redirect leads. Raises FetchRefusedError."""
        try:
            return Location.of(urljoin(self.url, reference.strip()))
        except ValueError:
            raise refused(reference, "it is not a URL") from None


def _is_printable(url: str) -> bool:
    return url.isprintable() and " " not in url


def refused(url: str, why: str) -> FetchRefusedError:
    """Make the error for a URL that must not be requested; without its query, which may hold a secret."""
    shown = url.partition("?")[0].rpartition("@")[2][:200]
    return FetchRefusedError(f"cannot request {shown!r}: {why}; nothing was requested from there")


def _host(url: str, host: str) -> str:
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1]))
        except ValueError:
            raise refused(url, "its IPv6 address cannot be read") from None
    name = _ascii(url, host).lower().removesuffix(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _dotted(url, name)
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise refused(url, "its host is not a name")
    return name


def _ascii(url: str, host: str) -> str:
    if host.isascii() and "%" not in host:
        return host
    try:
        return idna.encode(unquote(host, errors="strict"), uts46=True).decode("ascii")
    except (ValueError, UnicodeError):  # IDNAError is one
        raise refused(url, "its host is not a name") from None


def _dotted(url: str, name: str) -> str:
    """Return an IPv4 address. Those that resolvers also read, as octal or as one number, are refused."""
    try:
        return str(IPv4Address(name))
    except ValueError:
        raise refused(url, "its address is not written as four decimal numbers") from None
