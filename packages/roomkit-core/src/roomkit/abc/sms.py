"""The contract of SMS providers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from roomkit.abc.provider import Provider

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent

__all__ = ["SMSProvider"]


class SMSProvider(Provider):
    """Sends SMS messages; see `Provider` for what every send promises."""

    @abstractmethod
    async def send(
        self, event: RoomEvent, to: str, *, from_: str | None = None, idempotency_key: str | None = None
    ) -> ProviderResult:
        """Send to the E.164 number `to`, from `from_` or the configured sender."""
