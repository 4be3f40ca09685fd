"""The plugin as RoomKit sees it: components, doctor, imports."""

from __future__ import annotations

from roomkit_plugins.sinch import plugin
from roomkit_plugins.testing.contracts import VendorPluginContract


class TestSinchPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "httpx2"
    key_variable = "SINCH_API_TOKEN"
    construction = (
        "from roomkit_plugins.sinch import SinchConfig, SinchSMSProvider\n"
        "SinchSMSProvider(SinchConfig(service_plan_id='p', api_token='t'))"
    )
