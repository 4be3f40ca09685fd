"""Pydantic AI's models and agents as an AI provider for RoomKit."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.pydantic_ai.config import PydanticAIConfig as PydanticAIConfig
    from roomkit_plugins.pydantic_ai.provider import PydanticAIProvider as PydanticAIProvider
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__, {"PydanticAIConfig": "config", "PydanticAIProvider": "provider"}
    )
