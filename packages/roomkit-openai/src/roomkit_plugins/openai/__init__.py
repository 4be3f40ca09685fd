"""OpenAI, Azure and OpenAI-compatible servers (vLLM) as AI providers for RoomKit."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.openai.azure import AzureAIProvider as AzureAIProvider
    from roomkit_plugins.openai.config import AzureAIConfig as AzureAIConfig
    from roomkit_plugins.openai.config import OpenAIConfig as OpenAIConfig
    from roomkit_plugins.openai.config import VLLMConfig as VLLMConfig
    from roomkit_plugins.openai.provider import OpenAIAIProvider as OpenAIAIProvider
    from roomkit_plugins.openai.provider import create_vllm_provider as create_vllm_provider
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "AzureAIConfig": "config",
            "AzureAIProvider": "azure",
            "OpenAIAIProvider": "provider",
            "OpenAIConfig": "config",
            "VLLMConfig": "config",
            "create_vllm_provider": "provider",
        },
    )
