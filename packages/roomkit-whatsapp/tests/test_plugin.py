"""The plugin as RoomKit sees it: components, doctor, imports."""

from __future__ import annotations

from roomkit_plugins.testing.contracts import VendorPluginContract
from roomkit_plugins.whatsapp import plugin


class TestWhatsAppPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "httpx2"
    key_variable = "WHATSAPP_ACCESS_TOKEN"
    construction = (
        "from roomkit_plugins.whatsapp import WhatsAppCloudConfig, WhatsAppCloudProvider\n"
        "WhatsAppCloudProvider(WhatsAppCloudConfig(access_token='k', phone_number_id='1'))"
    )
