"""Contract suites: one pytest class for each role. Subclass it, give a `factory`, run it.

Users know this package as `roomkit.testing.contracts`. It needs `roomkit-testing[pytest]`.
"""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.testing.contracts.ai_provider import AIProviderContract as AIProviderContract
    from roomkit_plugins.testing.contracts.base import ContractSuite as ContractSuite
    from roomkit_plugins.testing.contracts.channel import ChannelContract as ChannelContract
    from roomkit_plugins.testing.contracts.clock import ClockContract as ClockContract
    from roomkit_plugins.testing.contracts.connections import ConnectionsContract as ConnectionsContract
    from roomkit_plugins.testing.contracts.executor import ScriptedModel as ScriptedModel
    from roomkit_plugins.testing.contracts.executor import TurnExecutorContract as TurnExecutorContract
    from roomkit_plugins.testing.contracts.fetch import GuardedFetchContract as GuardedFetchContract
    from roomkit_plugins.testing.contracts.identity import (
        IdentityResolverContract as IdentityResolverContract,
    )
    from roomkit_plugins.testing.contracts.intelligence import IntelligenceContract as IntelligenceContract
    from roomkit_plugins.testing.contracts.locks import RoomLockManagerContract as RoomLockManagerContract
    from roomkit_plugins.testing.contracts.media import MediaStoreContract as MediaStoreContract
    from roomkit_plugins.testing.contracts.memory import MemoryProviderContract as MemoryProviderContract
    from roomkit_plugins.testing.contracts.model_probe import ModelProbeContract as ModelProbeContract
    from roomkit_plugins.testing.contracts.plugin import VendorPluginContract as VendorPluginContract
    from roomkit_plugins.testing.contracts.providers import EmailProviderContract as EmailProviderContract
    from roomkit_plugins.testing.contracts.providers import HTTPProviderContract as HTTPProviderContract
    from roomkit_plugins.testing.contracts.providers import (
        MessengerProviderContract as MessengerProviderContract,
    )
    from roomkit_plugins.testing.contracts.providers import ProviderContract as ProviderContract
    from roomkit_plugins.testing.contracts.providers import RCSProviderContract as RCSProviderContract
    from roomkit_plugins.testing.contracts.providers import SMSProviderContract as SMSProviderContract
    from roomkit_plugins.testing.contracts.providers import TeamsProviderContract as TeamsProviderContract
    from roomkit_plugins.testing.contracts.providers import (
        TelegramProviderContract as TelegramProviderContract,
    )
    from roomkit_plugins.testing.contracts.providers import (
        WhatsAppProviderContract as WhatsAppProviderContract,
    )
    from roomkit_plugins.testing.contracts.realtime import RealtimeBackendContract as RealtimeBackendContract
    from roomkit_plugins.testing.contracts.router import (
        InboundRoomRouterContract as InboundRoomRouterContract,
    )
    from roomkit_plugins.testing.contracts.source import SourceProviderContract as SourceProviderContract
    from roomkit_plugins.testing.contracts.store import ConversationStoreContract as ConversationStoreContract
    from roomkit_plugins.testing.contracts.store.trees import TreesContract as TreesContract
    from roomkit_plugins.testing.contracts.telemetry import (
        TelemetryProviderContract as TelemetryProviderContract,
    )
    from roomkit_plugins.testing.contracts.tools import ToolProviderContract as ToolProviderContract
    from roomkit_plugins.testing.contracts.transcoder import (
        ContentTranscoderContract as ContentTranscoderContract,
    )
    from roomkit_plugins.testing.contracts.vendor import SimulatedVendor as SimulatedVendor
    from roomkit_plugins.testing.contracts.webhooks import WebhookContract as WebhookContract
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "AIProviderContract": "ai_provider",
            "ChannelContract": "channel",
            "ConnectionsContract": "connections",
            "ClockContract": "clock",
            "ContentTranscoderContract": "transcoder",
            "ContractSuite": "base",
            "ConversationStoreContract": "store",
            "EmailProviderContract": "providers",
            "GuardedFetchContract": "fetch",
            "HTTPProviderContract": "providers",
            "IdentityResolverContract": "identity",
            "InboundRoomRouterContract": "router",
            "IntelligenceContract": "intelligence",
            "MediaStoreContract": "media",
            "MemoryProviderContract": "memory",
            "MessengerProviderContract": "providers",
            "ModelProbeContract": "model_probe",
            "ProviderContract": "providers",
            "RCSProviderContract": "providers",
            "RealtimeBackendContract": "realtime",
            "RoomLockManagerContract": "locks",
            "SMSProviderContract": "providers",
            "ScriptedModel": "executor",
            "SimulatedVendor": "vendor",
            "SourceProviderContract": "source",
            "TeamsProviderContract": "providers",
            "TelegramProviderContract": "providers",
            "TelemetryProviderContract": "telemetry",
            "ToolProviderContract": "tools",
            "TreesContract": "store.trees",
            "TurnExecutorContract": "executor",
            "VendorPluginContract": "plugin",
            "WebhookContract": "webhooks",
            "WhatsAppProviderContract": "providers",
        },
    )
