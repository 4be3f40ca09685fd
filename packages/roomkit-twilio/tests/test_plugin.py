"""The plugin as RoomKit sees it: components, doctor, imports."""

from __future__ import annotations

from roomkit_plugins.testing.contracts import VendorPluginContract
from roomkit_plugins.twilio import plugin


class TestTwilioPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "twilio"
    key_variable = "TWILIO_AUTH_TOKEN"
    construction = (
        "from roomkit_plugins.twilio import TwilioConfig, TwilioSMSProvider\n"
        "TwilioSMSProvider(TwilioConfig(account_sid='AC' + '0' * 32, auth_token='t'))"
    )
