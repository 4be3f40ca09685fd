"""The contract of e-mail providers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from roomkit.abc.provider import Provider
from roomkit.models.hints import EmailHints

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import Hints

__all__ = ["EmailProvider"]


class EmailProvider(Provider):
    """Sends e-mail messages; see `Provider` for what every send promises."""

    hints_type: ClassVar[type[Hints]] = EmailHints

    @abstractmethod
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: EmailHints | None = None,
    ) -> ProviderResult:
        """Send to the address `to`; sender and subject are the configured ones unless `hints` name others."""
