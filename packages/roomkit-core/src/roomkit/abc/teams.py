"""The contract of Teams providers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from roomkit.abc.provider import Provider
from roomkit.models.hints import TeamsHints

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import Hints

__all__ = ["TeamsProvider"]


class TeamsProvider(Provider):
    """Sends Teams messages; see `Provider` for what every send promises."""

    hints_type: ClassVar[type[Hints]] = TeamsHints

    @abstractmethod
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: TeamsHints | None = None,
    ) -> ProviderResult:
        """Send to the conversation id `to`."""
