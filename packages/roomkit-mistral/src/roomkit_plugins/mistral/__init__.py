"""Mistral as an AI provider for RoomKit."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.mistral.config import MistralConfig as MistralConfig
    from roomkit_plugins.mistral.provider import MistralAIProvider as MistralAIProvider
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__, {"MistralAIProvider": "provider", "MistralConfig": "config"}
    )
