"""Telegram for RoomKit: bots in private chats, groups, channels and business chats."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.telegram.channel import TelegramChannel as TelegramChannel
    from roomkit_plugins.telegram.config import TelegramChannelConfig as TelegramChannelConfig
    from roomkit_plugins.telegram.config import TelegramConfig as TelegramConfig
    from roomkit_plugins.telegram.config import TelegramSourceConfig as TelegramSourceConfig
    from roomkit_plugins.telegram.provider import TelegramBotProvider as TelegramBotProvider
    from roomkit_plugins.telegram.source import TelegramSource as TelegramSource
    from roomkit_plugins.telegram.updates import parse_telegram_webhook as parse_telegram_webhook
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "TelegramBotProvider": "provider",
            "TelegramChannel": "channel",
            "TelegramChannelConfig": "config",
            "TelegramConfig": "config",
            "TelegramSource": "source",
            "TelegramSourceConfig": "config",
            "parse_telegram_webhook": "updates",
        },
    )
