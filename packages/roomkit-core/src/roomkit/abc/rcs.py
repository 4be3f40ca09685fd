"""The contract of RCS providers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from roomkit.abc.provider import Provider
from roomkit.models.delivery import ProviderResult
from roomkit.models.hints import RCSHints

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelCapabilities
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import Hints

__all__ = ["RCSDeliveryResult", "RCSProvider"]


class RCSDeliveryResult(ProviderResult):
    """A `ProviderResult` that also says by which way the message went."""

    channel_used: str = "rcs"
    """"rcs", "sms", or "unknown" where only a receipt will say it."""
    fallback: bool = False


class RCSProvider(Provider):
    """Sends RCS messages; see `Provider` for what every send promises."""

    hints_type: ClassVar[type[Hints]] = RCSHints
    capabilities: ChannelCapabilities | None = None
    """What the vendor carries, if that is less than RCS can: rooms then send the rest in another form."""

    @property
    @abstractmethod
    def sender_id(self) -> str:
        """The RCS agent that messages are sent as."""

    @property
    def supports_fallback(self) -> bool:
        """Whether the vendor can send an SMS when the phone has no RCS."""
        return True

    @abstractmethod
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: RCSHints | None = None,
    ) -> RCSDeliveryResult:
        """Send to the E.164 number `to`, as an SMS when that is allowed by `hints` and needed."""

    async def check_capability(self, phone_number: str) -> bool:
        """Return whether the phone can receive RCS; True where the vendor cannot say."""
        return True
