"""What a live connection carries."""

from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType

__all__ = ["CAPABILITIES"]

CAPABILITIES = ChannelCapabilities(
    media_types=(
        ChannelMediaType.TEXT,
        ChannelMediaType.RICH,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
        ChannelMediaType.LOCATION,
    ),
    supports_typing=True,
    supports_read_receipts=True,
    supports_reactions=True,
    supports_edit=True,
    supports_delete=True,
    supports_rich_text=True,
    supports_media=True,
    supports_audio=True,
    supports_video=True,
    supports_buttons=True,
    supports_cards=True,
    supports_quick_replies=True,
)
