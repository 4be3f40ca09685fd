"""What the providers behind text channels have in common."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from roomkit.models.delivery import DeliveryStatus, InboundMessage, ProviderResult
    from roomkit.models.event import RoomEvent
    from roomkit.models.webhook import WebhookRequest

__all__ = ["Provider", "ReceivesWebhooks", "SendsToAddress"]


class Provider(ABC):
    """The vendor behind a channel.

    Safe for concurrent use by every room of its channel. `send` of each role takes the event to
    carry, already transcoded and within the length limit, and `idempotency_key`, stable over
    retries, for vendors that accept one. It returns a `ProviderResult` with the vendor's message id
    and raises `ProviderError` for a failure; it never retries by itself.
    """

    @property
    def name(self) -> str:
        """The provider's component name."""
        return type(self).__name__

    async def close(self) -> None:
        """Release connections. Idempotent."""


class SendsToAddress(Protocol):
    """What every provider role of a transport has in common; roles add keywords of their own."""

    @property
    def name(self) -> str:
        """The provider's component name."""

    async def send(self, event: RoomEvent, to: str, **options: Any) -> ProviderResult:
        """Send the event to an address; takes `idempotency_key` besides the role's own keywords."""

    async def close(self) -> None:
        """Release connections."""


@runtime_checkable
class ReceivesWebhooks(Protocol):
    """A provider whose vendor calls back."""

    async def webhook(
        self, request: WebhookRequest, *, channel_id: str
    ) -> list[InboundMessage | DeliveryStatus]:
        """Verify the request's signature first, then return what it says, in its order.

        Raises WebhookRejected when it cannot be verified or is not what the vendor sends. Nothing
        the vendor sent is dropped: an item that is not understood becomes a message or status that says so.
        """
