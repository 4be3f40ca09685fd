"""What the plugin tells RoomKit about itself."""

from __future__ import annotations

from roomkit_plugins.openai import plugin
from roomkit_plugins.testing.contracts import VendorPluginContract


class TestOpenAIPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "openai"
    key_variable = "OPENAI_API_KEY"
    construction = (
        "from roomkit_plugins.openai import VLLMConfig, create_vllm_provider\n"
        "create_vllm_provider(VLLMConfig(model='m'))"
    )
