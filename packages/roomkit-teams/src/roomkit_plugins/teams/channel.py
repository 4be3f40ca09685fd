"""Microsoft Teams as a channel of rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roomkit.authoring.transport import TransportChannel
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType, ChannelType

if TYPE_CHECKING:
    from roomkit.abc.teams import TeamsProvider

__all__ = ["CAPABILITIES", "TeamsChannel"]

CAPABILITIES = ChannelCapabilities(
    media_types=(ChannelMediaType.TEXT, ChannelMediaType.RICH, ChannelMediaType.MEDIA),
    max_length=28_000,
    supports_threading=True,
    supports_edit=True,
    supports_delete=True,
    supports_read_receipts=True,
    supports_typing=True,
    supports_rich_text=True,
    supports_buttons=True,
    max_buttons=6,
    supports_cards=True,
    max_cards=10,
    max_card_buttons=6,
    supports_media=True,
    supported_media_types=("image/png", "image/jpeg", "image/gif"),
)


class TeamsChannel(TransportChannel):
    """Carries texts, images and cards to conversations: `metadata["teams_conversation_id"]` is the address.

    A conversation is a person's chat with the bot, a group's, or one thread of a channel; each is a room. Of
    several `providers` the first is preferred, see `TransportChannel`.
    """

    def __init__(
        self,
        channel_id: str,
        *,
        provider: TeamsProvider | None = None,
        providers: Sequence[TeamsProvider] = (),
    ) -> None:
        super().__init__(
            channel_id,
            ChannelType.TEAMS,
            provider=provider,
            providers=providers,
            capabilities=CAPABILITIES,
            recipient_key="teams_conversation_id",
        )
