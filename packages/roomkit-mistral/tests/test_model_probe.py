"""What `roomkit check --live` finds out about a model: a read, which generates nothing."""

from __future__ import annotations

from typing import Any

from roomkit_plugins.mistral import MistralAIProvider, MistralConfig
from roomkit_plugins.testing.contracts import ModelProbeContract
from roomkit_plugins.testing.simulators import MistralSimulator


class TestMistralProbe(ModelProbeContract):
    simulator = MistralSimulator
    path = "/v1/models/{model}"

    def make(self, **settings: Any) -> MistralAIProvider:
        return MistralAIProvider(MistralConfig.model_validate(settings))
