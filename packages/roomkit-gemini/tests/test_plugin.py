"""The plugin as RoomKit sees it: components, doctor, imports."""

from __future__ import annotations

from roomkit_plugins.gemini import plugin
from roomkit_plugins.testing.contracts import VendorPluginContract


class TestGeminiPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "google.genai"
    key_variable = "GEMINI_API_KEY"
    construction = (
        "from roomkit_plugins.gemini import GeminiAIProvider, GeminiConfig\n"
        "GeminiAIProvider(GeminiConfig(model='m'))"
    )
