"""The contract of e-mail providers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from roomkit.abc.provider import Provider

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent

__all__ = ["EmailProvider"]


class EmailProvider(Provider):
    """Sends e-mail messages; see `Provider` for what every send promises."""

    @abstractmethod
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        from_: str | None = None,
        subject: str | None = None,
        idempotency_key: str | None = None,
    ) -> ProviderResult:
        """Send to the address `to`; `subject` defaults to the configured one."""
