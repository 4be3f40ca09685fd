"""The settings that say how a vendor is reached: values that may not stand in them, since they show in logs.

The checks are for pydantic validators and raise ValueError; the messages repeat no value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

__all__ = ["check_base_url", "check_headers", "check_key", "check_secure_url", "plain_headers"]

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
_SECRET = re.compile(r"auth|token|secret|passw|cookie|credential|api[-_]?key", re.IGNORECASE)


def check_base_url(url: str | None) -> str | None:
    """Return `url` if it is an address alone: no user, password, query or fragment. Raises ValueError."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        raise ValueError("base_url is not a URL; write it as https://host/path") from None
    if "?" in (url or "") or "#" in (url or ""):
        raise ValueError(
            "base_url holds a query or a fragment, which would show in logs and is lost where a path is "
            "appended; write it as https://host/path, and pass the key as api_key or a header as SecretStr "
            "in extra_headers"
        )
    if "@" in parts.netloc:
        raise ValueError(
            "base_url holds a user name or a password, which would show in logs; leave them out, and "
            "pass the key as api_key or a header as SecretStr in extra_headers"
        )
    return url


def check_secure_url(url: str | None) -> str | None:
    """Return `url` if it is an address alone, by https or on this machine. Raises ValueError."""
    checked = check_base_url(url)
    if checked is None:
        return None
    parts = urlsplit(checked)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the URL has no host, or is not of https: write it as https://host/path")
    if parts.scheme == "http" and parts.hostname not in _THIS_MACHINE:
        raise ValueError("the URL is of http, so that secrets would be sent in the clear: write https://")
    return checked


def check_headers[H: Mapping[str, str | SecretStr]](headers: H) -> H:
    """Return headers if those that are secret by their name are `SecretStr`. Raises ValueError."""
    for name, value in headers.items():
        if _SECRET.search(name) and not isinstance(value, SecretStr):
            raise ValueError(
                f"the header {name!r} is a secret by its name and would show in logs; pass its value as "
                "SecretStr, or as env:NAME in a configuration file"
            )
    return headers


def check_key(key: SecretStr | None) -> SecretStr | None:
    """Return a key if it can be sent in a header. Raises ValueError."""
    if key is not None and not re.fullmatch(r"[!-~]+", key.get_secret_value()):
        raise ValueError("api_key is empty, or has spaces or line breaks; pass the key alone")
    return key


def plain_headers(headers: Mapping[str, str | SecretStr]) -> dict[str, str]:
    """Return the headers as they are sent."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in headers.items()
    }
