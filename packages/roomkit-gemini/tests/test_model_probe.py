"""What `roomkit check --live` finds out about a model: a read, which generates nothing."""

from __future__ import annotations

from typing import Any

from roomkit_plugins.gemini import GeminiAIProvider, GeminiConfig
from roomkit_plugins.testing.contracts import ModelProbeContract
from roomkit_plugins.testing.simulators import GeminiSimulator


class TestGeminiProbe(ModelProbeContract):
    simulator = GeminiSimulator
    path = "/v1beta/models/{model}"

    def make(self, **settings: Any) -> GeminiAIProvider:
        return GeminiAIProvider(GeminiConfig.model_validate(settings))
