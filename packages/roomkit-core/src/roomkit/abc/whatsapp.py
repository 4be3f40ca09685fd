"""The contract of WhatsApp providers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.provider import Provider
from roomkit.models.hints import WhatsAppHints

if TYPE_CHECKING:
    from roomkit.models.delivery import ProviderResult
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import Hints

__all__ = ["WhatsAppProvider"]


class WhatsAppProvider(Provider):
    """Sends WhatsApp messages; see `Provider` for what every send promises."""

    hints_type: ClassVar[type[Hints]] = WhatsAppHints

    @abstractmethod
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: WhatsAppHints | None = None,
    ) -> ProviderResult:
        """Send to the number or JID `to`."""

    async def send_template(
        self, to: str, template_name: str, params: Mapping[str, str] | None = None
    ) -> ProviderResult:
        """Send an approved template. Raises ProviderError (unsupported_content) where there are none."""
        raise _unsupported(self.name, "templates")

    async def send_reaction(self, chat: str, sender: str, message_id: str, emoji: str) -> ProviderResult:
        """React to a message. Raises ProviderError (unsupported_content) where that is not possible."""
        raise _unsupported(self.name, "reactions")


def _unsupported(provider: str, what: str) -> ProviderError:
    return ProviderError(
        f"{provider} does not send {what}", error_code=ErrorCode.UNSUPPORTED_CONTENT, provider=provider
    )
