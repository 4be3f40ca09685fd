"""Whether a server is stopping, for all that has to know."""

from __future__ import annotations

import asyncio

__all__ = ["Stopping"]


class Stopping:
    """Two steps, each once: first the server is no longer ready, then it takes nothing new."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self.is_draining = False
        """Whether load balancers are to send requests elsewhere; those that come are served."""

    @property
    def has_begun(self) -> bool:
        """Whether requests of the API are refused, and streams end."""
        return self._begun.is_set()

    def drain(self) -> None:
        """Be no longer ready. Idempotent."""
        self.is_draining = True

    def begin(self) -> None:
        """Take nothing new. Idempotent."""
        self.is_draining = True
        self._begun.set()

    async def wait(self) -> None:
        """Wait until `begin`."""
        await self._begun.wait()
