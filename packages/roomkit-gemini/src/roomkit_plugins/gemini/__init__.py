"""Google Gemini as an AI provider for RoomKit."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.gemini.config import GeminiConfig as GeminiConfig
    from roomkit_plugins.gemini.provider import GeminiAIProvider as GeminiAIProvider
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__, {"GeminiAIProvider": "provider", "GeminiConfig": "config"}
    )
