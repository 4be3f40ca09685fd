"""The contract of SMS providers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from roomkit.abc.provider import Provider
from roomkit.models.hints import SMSHints

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelCapabilities
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import Hints

__all__ = ["SMSProvider"]


class SMSProvider(Provider):
    """Sends SMS messages; see `Provider` for what every send promises."""

    hints_type: ClassVar[type[Hints]] = SMSHints
    capabilities: ChannelCapabilities | None = None
    """What the vendor carries, if that is less than `SMSChannel` can."""

    @abstractmethod
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: SMSHints | None = None,
    ) -> ProviderResult:
        """Send to the E.164 number `to`, from the configured sender unless `hints` name one."""
