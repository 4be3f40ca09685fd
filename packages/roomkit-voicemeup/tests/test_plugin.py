"""The plugin as RoomKit sees it: components, doctor, imports."""

from __future__ import annotations

from roomkit_plugins.testing.contracts import VendorPluginContract
from roomkit_plugins.voicemeup import plugin


class TestVoiceMeUpPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "httpx2"
    key_variable = "VOICEMEUP_AUTH_TOKEN"
    construction = (
        "from roomkit_plugins.voicemeup import VoiceMeUpConfig, VoiceMeUpSMSProvider\n"
        "VoiceMeUpSMSProvider(VoiceMeUpConfig(username='u', auth_token='t'))"
    )
