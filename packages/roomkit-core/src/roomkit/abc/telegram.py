"""The contract of Telegram providers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from roomkit.abc.provider import Provider
from roomkit.models.hints import TelegramHints

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import Hints

__all__ = ["TelegramProvider"]


class TelegramProvider(Provider):
    """Sends Telegram messages; see `Provider` for what every send promises."""

    hints_type: ClassVar[type[Hints]] = TelegramHints

    @abstractmethod
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: TelegramHints | None = None,
    ) -> ProviderResult:
        """Send to the chat id `to`."""
