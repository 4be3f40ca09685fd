"""A secret key of the kernel: the configured one, else one that the store keeps."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from roomkit.abc.errors import StaleValueError
from roomkit.models.value import Value

if TYPE_CHECKING:
    from pydantic import SecretStr

    from roomkit.abc.store import ConversationStore

__all__ = ["KeptSecret"]

_KEY = ("key",)


class KeptSecret:
    """Makes a random key once for all workers of a store, and reads it once for each."""

    def __init__(self, store: ConversationStore, namespace: str, configured: SecretStr | None) -> None:
        self._store = store
        self._namespace = namespace
        self._key = None if configured is None else configured.get_secret_value().encode()

    async def get(self) -> bytes:
        """Return the key. Of workers that make one at the same time, all get the first."""
        if self._key is None:
            made = Value(namespace=self._namespace, key=_KEY, data={"key": secrets.token_hex(32)})
            try:
                kept = await self._store.put_value(made, if_revision=0)
            except StaleValueError:
                found = await self._store.get_value(self._namespace, _KEY)
                assert found is not None  # it is never removed
                kept = found
            self._key = str(kept.data["key"]).encode()
        return self._key
