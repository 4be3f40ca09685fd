"""Any system that speaks HTTP, as a channel of rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roomkit.authoring.transport import TransportChannel
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType, ChannelType
from roomkit_plugins.http.config import CARRIED

if TYPE_CHECKING:
    from roomkit.abc.http import HTTPProvider

__all__ = ["HTTPChannel"]


class HTTPChannel(TransportChannel):
    """Carries messages to any system by JSON over HTTP; the recipient is the binding's `recipient_id`.

    The recipient's id, `metadata["recipient_id"]`, is data for the other side and never part of a URL. Rich
    content keeps its buttons, cards and quick replies. `media_types` are the kinds of content that the other
    side reads as RoomKit's models have them; others become text. Of several `providers` the first is
    preferred, see `TransportChannel`.
    """

    def __init__(
        self,
        channel_id: str,
        *,
        provider: HTTPProvider | None = None,
        providers: Sequence[HTTPProvider] = (),
        media_types: Sequence[ChannelMediaType] = CARRIED,
    ) -> None:
        super().__init__(
            channel_id,
            ChannelType.WEBHOOK,
            provider=provider,
            providers=providers,
            capabilities=_capabilities(tuple(media_types)),
            recipient_key="recipient_id",
        )


def _capabilities(kinds: tuple[ChannelMediaType, ...]) -> ChannelCapabilities:
    is_rich = ChannelMediaType.RICH in kinds
    return ChannelCapabilities(
        media_types=kinds,
        supports_delivery_receipts=True,
        supports_rich_text=is_rich,
        supports_buttons=is_rich,
        supports_cards=is_rich,
        supports_quick_replies=is_rich,
        supports_media=ChannelMediaType.MEDIA in kinds,
        supports_audio=ChannelMediaType.AUDIO in kinds,
        supports_video=ChannelMediaType.VIDEO in kinds,
        supports_templates=ChannelMediaType.TEMPLATE in kinds,
    )
