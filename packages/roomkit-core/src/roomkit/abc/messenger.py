"""The contract of Messenger providers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from roomkit.abc.provider import Provider
from roomkit.models.hints import MessengerHints

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import Hints

__all__ = ["MessengerProvider"]


class MessengerProvider(Provider):
    """Sends Messenger messages; see `Provider` for what every send promises."""

    hints_type: ClassVar[type[Hints]] = MessengerHints

    @abstractmethod
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: MessengerHints | None = None,
    ) -> ProviderResult:
        """Send to the page-scoped user id `to`."""
