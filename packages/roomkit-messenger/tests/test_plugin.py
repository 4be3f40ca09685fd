"""The plugin as RoomKit sees it: components, doctor, imports."""

from __future__ import annotations

from roomkit_plugins.messenger import plugin
from roomkit_plugins.testing.contracts import VendorPluginContract


class TestMessengerPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "httpx2"
    key_variable = "MESSENGER_PAGE_ACCESS_TOKEN"
    construction = (
        "from roomkit_plugins.messenger import FacebookMessengerProvider, MessengerConfig\n"
        "FacebookMessengerProvider(MessengerConfig(page_access_token='k'))"
    )
