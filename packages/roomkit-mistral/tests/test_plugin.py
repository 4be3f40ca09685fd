"""The plugin as RoomKit sees it: components, doctor, imports."""

from __future__ import annotations

from roomkit_plugins.mistral import plugin
from roomkit_plugins.testing.contracts import VendorPluginContract


class TestMistralPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "mistralai"
    key_variable = "MISTRAL_API_KEY"
    construction = (
        "from roomkit_plugins.mistral import MistralAIProvider, MistralConfig\n"
        "MistralAIProvider(MistralConfig(model='m'))"
    )
