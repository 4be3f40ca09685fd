"""WhatsApp Business for RoomKit: the channel, and the Cloud API behind it."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.whatsapp.channel import WhatsAppChannel as WhatsAppChannel
    from roomkit_plugins.whatsapp.config import WhatsAppChannelConfig as WhatsAppChannelConfig
    from roomkit_plugins.whatsapp.config import WhatsAppCloudConfig as WhatsAppCloudConfig
    from roomkit_plugins.whatsapp.provider import WhatsAppCloudProvider as WhatsAppCloudProvider
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "WhatsAppChannel": "channel",
            "WhatsAppChannelConfig": "config",
            "WhatsAppCloudConfig": "config",
            "WhatsAppCloudProvider": "provider",
        },
    )
