"""The plugin as RoomKit sees it: components, doctor, imports."""

from __future__ import annotations

from roomkit_plugins.telnyx import plugin
from roomkit_plugins.testing.contracts import VendorPluginContract


class TestTelnyxPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "httpx2"
    key_variable = "TELNYX_API_KEY"
    construction = (
        "from roomkit_plugins.telnyx import TelnyxConfig, TelnyxSMSProvider\n"
        "TelnyxSMSProvider(TelnyxConfig(api_key='k'))"
    )
