"""By which of its channel's providers a delivery goes, and when it may go by another.

A message is never sent by two: it goes on to the next provider only if the one before certainly has not taken
it, and this is recorded before the next one is asked. So a worker that reclaims the delivery knows which
provider may have it, and stays with that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from roomkit.abc.errors import ProviderError
    from roomkit.models.delivery import Delivery

__all__ = ["Failover"]


class Failover:
    """The providers of one delivery, in the order of one round: each is tried once, then there is a pause.

    `record` writes a provider's name into the pending row; it returns False if the store failed.
    """

    def __init__(
        self,
        names: Sequence[str],
        claimed: Delivery | None,
        record: Callable[[str], Awaitable[bool]],
    ) -> None:
        recorded = None if claimed is None else claimed.provider
        first = names.index(recorded) if recorded in names else 0
        self._names = (*names[first:], *names[:first])
        self._record = record
        self._position = 0
        self._retryable: ProviderError | None = None
        self.is_fixed = claimed is not None and (claimed.claims > 0 or claimed.sent_parts > 0)
        """Whether the current provider may have a part of the message: no other may be asked then.

        For a worker that reclaims the delivery it is so in any case.
        """

    @property
    def name(self) -> str:
        """The provider that the delivery goes by now."""
        return self._names[self._position]

    async def next_after(self, error: ProviderError) -> bool:
        """Go on to the next provider of the round, if the failure allows; return whether it was done."""
        if self.is_fixed or error.accepted is not False or not _is_providers(error.error_code):
            return False
        if error.retryable and (self._retryable is None or _wait(error) <= _wait(self._retryable)):
            self._retryable = error
        if self._position + 1 == len(self._names):
            return False
        return await self._move(self._position + 1)

    def end_round(self, error: ProviderError) -> ProviderError:
        """Return the error that says whether and when another round is worth it.

        That is the one of any provider that may pass the soonest.
        """
        worth, self._retryable = self._retryable, None
        if worth is None or self.is_fixed:
            return error
        return min(error, worth, key=_wait) if error.retryable else worth

    async def start_round(self) -> None:
        """Begin again with the first provider."""
        if not self.is_fixed and self._position:
            await self._move(0)

    async def _move(self, position: int) -> bool:
        """Record another provider, then take it; return whether that was done."""
        moved = await self._record(self._names[position])
        if moved:
            self._position = position
        return moved


def _wait(error: ProviderError) -> float:
    return error.retry_after or 0.0


def _is_providers(code: ErrorCode) -> bool:
    return code.blames_provider or code is ErrorCode.CIRCUIT_OPEN
