"""The plugin as RoomKit sees it: components, doctor, imports."""

from __future__ import annotations

from roomkit_plugins.telegram import plugin
from roomkit_plugins.testing.contracts import VendorPluginContract


class TestTelegramPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "telegram"
    key_variable = "TELEGRAM_BOT_TOKEN"
    construction = (
        "from roomkit_plugins.telegram import TelegramBotProvider, TelegramConfig\n"
        "TelegramBotProvider(TelegramConfig(bot_token='123456:abcdef'))"
    )
