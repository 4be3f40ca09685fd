"""Anthropic Claude as an AI provider for RoomKit."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.anthropic.config import AnthropicConfig as AnthropicConfig
    from roomkit_plugins.anthropic.provider import AnthropicAIProvider as AnthropicAIProvider
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__, {"AnthropicAIProvider": "provider", "AnthropicConfig": "config"}
    )
