"""Facebook Messenger for RoomKit: the channel, and the Send API behind it."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.messenger.channel import MessengerChannel as MessengerChannel
    from roomkit_plugins.messenger.config import MessengerChannelConfig as MessengerChannelConfig
    from roomkit_plugins.messenger.config import MessengerConfig as MessengerConfig
    from roomkit_plugins.messenger.provider import FacebookMessengerProvider as FacebookMessengerProvider
    from roomkit_plugins.messenger.webhooks import parse_messenger_webhook as parse_messenger_webhook
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "FacebookMessengerProvider": "provider",
            "MessengerChannel": "channel",
            "MessengerChannelConfig": "config",
            "MessengerConfig": "config",
            "parse_messenger_webhook": "webhooks",
        },
    )
