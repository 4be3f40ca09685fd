"""Vendors' APIs on a local port: real sockets, the vendor's wire format and strictness, scripted answers.

They need `pip install roomkit-testing[simulators]`, and work with the vendors' own SDKs.
"""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.testing.simulators.ai import AISimulator as AISimulator
    from roomkit_plugins.testing.simulators.ai import Deviate as Deviate
    from roomkit_plugins.testing.simulators.ai import Drop as Drop
    from roomkit_plugins.testing.simulators.ai import Duplicate as Duplicate
    from roomkit_plugins.testing.simulators.ai import FailMidStream as FailMidStream
    from roomkit_plugins.testing.simulators.ai import Failure as Failure
    from roomkit_plugins.testing.simulators.ai import Malformed as Malformed
    from roomkit_plugins.testing.simulators.ai import NeverAnswer as NeverAnswer
    from roomkit_plugins.testing.simulators.ai import Reply as Reply
    from roomkit_plugins.testing.simulators.ai import ScriptedThinking as ScriptedThinking
    from roomkit_plugins.testing.simulators.ai import ScriptedToolCall as ScriptedToolCall
    from roomkit_plugins.testing.simulators.ai import ScriptedUsage as ScriptedUsage
    from roomkit_plugins.testing.simulators.ai import Slow as Slow
    from roomkit_plugins.testing.simulators.ai import Truncate as Truncate
    from roomkit_plugins.testing.simulators.ai import UnscriptedRequestError as UnscriptedRequestError
    from roomkit_plugins.testing.simulators.ai import UnusedRepliesError as UnusedRepliesError
    from roomkit_plugins.testing.simulators.ai import WrongShape as WrongShape
    from roomkit_plugins.testing.simulators.anthropic import AnthropicSimulator as AnthropicSimulator
    from roomkit_plugins.testing.simulators.azure import AzureSimulator as AzureSimulator
    from roomkit_plugins.testing.simulators.carrier import SimulatedMessage as SimulatedMessage
    from roomkit_plugins.testing.simulators.carrier import SimulatedPhone as SimulatedPhone
    from roomkit_plugins.testing.simulators.deviations import Deviation as Deviation
    from roomkit_plugins.testing.simulators.gemini import GeminiSimulator as GeminiSimulator
    from roomkit_plugins.testing.simulators.http import Exchange as Exchange
    from roomkit_plugins.testing.simulators.http import HTTPSimulator as HTTPSimulator
    from roomkit_plugins.testing.simulators.http import ReceivedRequest as ReceivedRequest
    from roomkit_plugins.testing.simulators.mail import MailServerSimulator as MailServerSimulator
    from roomkit_plugins.testing.simulators.mail import ReceivedMail as ReceivedMail
    from roomkit_plugins.testing.simulators.mailbox import MailboxSimulator as MailboxSimulator
    from roomkit_plugins.testing.simulators.messenger import MessengerMessage as MessengerMessage
    from roomkit_plugins.testing.simulators.messenger import MessengerPerson as MessengerPerson
    from roomkit_plugins.testing.simulators.messenger import MessengerSimulator as MessengerSimulator
    from roomkit_plugins.testing.simulators.mistral import MistralSimulator as MistralSimulator
    from roomkit_plugins.testing.simulators.openai import OpenAISimulator as OpenAISimulator
    from roomkit_plugins.testing.simulators.openai import VLLMSimulator as VLLMSimulator
    from roomkit_plugins.testing.simulators.sinch import SinchSimulator as SinchSimulator
    from roomkit_plugins.testing.simulators.teams import TeamsSimulator as TeamsSimulator
    from roomkit_plugins.testing.simulators.telegram import TelegramMessage as TelegramMessage
    from roomkit_plugins.testing.simulators.telegram import TelegramPerson as TelegramPerson
    from roomkit_plugins.testing.simulators.telegram import TelegramSimulator as TelegramSimulator
    from roomkit_plugins.testing.simulators.telnyx import TelnyxSimulator as TelnyxSimulator
    from roomkit_plugins.testing.simulators.twilio import TwilioSimulator as TwilioSimulator
    from roomkit_plugins.testing.simulators.vendor import VendorSimulator as VendorSimulator
    from roomkit_plugins.testing.simulators.voicemeup import VoiceMeUpSimulator as VoiceMeUpSimulator
    from roomkit_plugins.testing.simulators.webhook import WebhookSimulator as WebhookSimulator
    from roomkit_plugins.testing.simulators.whatsapp import WhatsAppMessage as WhatsAppMessage
    from roomkit_plugins.testing.simulators.whatsapp import WhatsAppPhone as WhatsAppPhone
    from roomkit_plugins.testing.simulators.whatsapp import WhatsAppSimulator as WhatsAppSimulator
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "AISimulator": "ai",
            "AnthropicSimulator": "anthropic",
            "AzureSimulator": "azure",
            "Deviate": "ai",
            "Deviation": "deviations",
            "Drop": "ai",
            "Duplicate": "ai",
            "Exchange": "http",
            "FailMidStream": "ai",
            "Failure": "ai",
            "GeminiSimulator": "gemini",
            "HTTPSimulator": "http",
            "NeverAnswer": "ai",
            "Malformed": "ai",
            "MailServerSimulator": "mail",
            "MessengerMessage": "messenger",
            "MessengerPerson": "messenger",
            "MessengerSimulator": "messenger",
            "MailboxSimulator": "mailbox",
            "MistralSimulator": "mistral",
            "OpenAISimulator": "openai",
            "Reply": "ai",
            "ReceivedMail": "mail",
            "ReceivedRequest": "http",
            "ScriptedThinking": "ai",
            "ScriptedToolCall": "ai",
            "ScriptedUsage": "ai",
            "SimulatedMessage": "carrier",
            "SimulatedPhone": "carrier",
            "SinchSimulator": "sinch",
            "Slow": "ai",
            "Truncate": "ai",
            "TelegramMessage": "telegram",
            "TelegramPerson": "telegram",
            "TelegramSimulator": "telegram",
            "TeamsSimulator": "teams",
            "TelnyxSimulator": "telnyx",
            "TwilioSimulator": "twilio",
            "UnscriptedRequestError": "ai",
            "UnusedRepliesError": "ai",
            "VLLMSimulator": "openai",
            "VendorSimulator": "vendor",
            "VoiceMeUpSimulator": "voicemeup",
            "WebhookSimulator": "webhook",
            "WhatsAppMessage": "whatsapp",
            "WhatsAppPhone": "whatsapp",
            "WhatsAppSimulator": "whatsapp",
            "WrongShape": "ai",
        },
    )
