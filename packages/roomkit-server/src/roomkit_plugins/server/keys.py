"""The keys of the API: whose a request is, and what it may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError
from roomkit_plugins.server.config import Scope

if TYPE_CHECKING:
    from roomkit.models.channel import RateLimit
    from roomkit_plugins.server.config import KeyConfig

__all__ = ["Keyring", "Principal"]

_SCHEME = "bearer "


@dataclass(slots=True, frozen=True)
class Principal:
    """Whose a request is: a key by its name, with what it may do. `organization` None is all of them."""

    name: str
    organization: str | None
    scopes: frozenset[Scope]
    rate_limit: RateLimit
    max_connections: int


class Keyring:
    """Finds keys by their SHA-256; the keys themselves are not kept.

    Keys are long and random, so a plain hash is as good as a slow one. Looking for the hash of what a caller
    sent tells nothing by the time that it takes. Raises InvalidInputError for a key that two names have.
    """

    def __init__(self, keys: Mapping[str, KeyConfig]) -> None:
        self._known: dict[str, Principal] = {}  # bound: configured keys
        for name, key in keys.items():
            digest = _digest_of(key)
            if (other := self._known.get(digest)) is not None:
                raise InvalidInputError(
                    f"keys {other.name!r} and {name!r} of the server are the same: give each its own"
                )
            self._known[digest] = Principal(
                name, key.organization, frozenset(key.scopes), key.rate_limit, key.max_connections
            )

    def find(self, authorization: str | None) -> Principal | None:
        """Return whose a header `Authorization: Bearer KEY` is; None for no known key."""
        if authorization is None or not authorization.lower().startswith(_SCHEME):
            return None
        key = authorization[len(_SCHEME) :].strip()
        return self._known.get(sha256(key.encode("utf-8", "surrogatepass")).hexdigest())

    def named(self, name: str) -> Principal | None:
        """Return a key by its name."""
        return next((each for each in self._known.values() if each.name == name), None)


def _digest_of(key: KeyConfig) -> str:
    if key.sha256 is not None:
        return key.sha256
    assert key.secret is not None  # the model has one of the two
    return sha256(key.secret.get_secret_value().encode()).hexdigest()
