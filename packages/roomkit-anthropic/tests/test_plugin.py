"""What the plugin tells RoomKit about itself."""

from __future__ import annotations

from roomkit_plugins.anthropic import plugin
from roomkit_plugins.testing.contracts import VendorPluginContract


class TestAnthropicPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "anthropic"
    key_variable = "ANTHROPIC_API_KEY"
    construction = (
        "from roomkit_plugins.anthropic import AnthropicAIProvider, AnthropicConfig\n"
        "AnthropicAIProvider(AnthropicConfig(model='m'))"
    )
