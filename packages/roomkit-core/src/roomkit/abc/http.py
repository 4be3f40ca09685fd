"""The contract of HTTP providers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from roomkit.abc.provider import Provider
from roomkit.models.hints import HTTPHints

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import Hints

__all__ = ["HTTPProvider"]


class HTTPProvider(Provider):
    """Sends HTTP messages; see `Provider` for what every send promises."""

    hints_type: ClassVar[type[Hints]] = HTTPHints

    @abstractmethod
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: HTTPHints | None = None,
    ) -> ProviderResult:
        """Send to the recipient id `to`, which never chooses the URL."""
