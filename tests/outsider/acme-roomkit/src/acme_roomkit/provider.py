"""Sends SMS through Acme."""

from acme_roomkit.config import AcmeConfig
from roomkit.abc import SMSProvider
from roomkit.models import ProviderResult, RoomEvent, SMSHints


class AcmeSMSProvider(SMSProvider):
    """Accepts every message and gives it a number; a real one would call Acme's API here."""

    def __init__(self, config: AcmeConfig) -> None:
        self.config = config
        self.accepted = 0

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: SMSHints | None = None,
    ) -> ProviderResult:
        """Send to the E.164 number `to`."""
        self.accepted += 1
        return ProviderResult(success=True, provider_message_id=f"acme-{self.accepted}")
