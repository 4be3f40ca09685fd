"""Registers what `roomkit-testing` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the mocks: for trying out a configuration without an account anywhere."""
    package = "roomkit_plugins.testing"
    registry.add("ai", "mock", f"{package}:MockAIProvider", summary="Answers with a fixed text.")
    registry.add("sms", "mock", f"{package}:MockSMSProvider", summary="Records SMS messages.")
    registry.add("rcs", "mock", f"{package}:MockRCSProvider", summary="Records RCS messages.")
    registry.add("email", "mock", f"{package}:MockEmailProvider", summary="Records e-mail messages.")
    registry.add(
        "messenger", "mock", f"{package}:MockMessengerProvider", summary="Records Messenger messages."
    )
    registry.add("teams", "mock", f"{package}:MockTeamsProvider", summary="Records Teams messages.")
    registry.add("telegram", "mock", f"{package}:MockTelegramProvider", summary="Records Telegram messages.")
    registry.add("whatsapp", "mock", f"{package}:MockWhatsAppProvider", summary="Records WhatsApp messages.")
    registry.add("http", "mock", f"{package}:MockHTTPProvider", summary="Records HTTP deliveries.")
    registry.add("identity", "mock", f"{package}:MockIdentityResolver", summary="Knows no sender.")
    registry.add("memory", "mock", f"{package}:MockMemoryProvider", summary="Remembers nothing.")
    registry.add("telemetry", "mock", f"{package}:MockTelemetryProvider", summary="Keeps spans and metrics.")
    registry.add_kind("simulator", contract=f"{package}.simulators:HTTPSimulator")
    for name, simulated in _SIMULATORS.items():
        reference = f"{package}.simulators:{simulated}"
        registry.add(
            "simulator", name, reference, summary=f"{simulated.removesuffix('Simulator')} on this machine."
        )


_SIMULATORS = {
    "anthropic": "AnthropicSimulator",
    "gemini": "GeminiSimulator",
    "messenger": "MessengerSimulator",
    "mistral": "MistralSimulator",
    "openai": "OpenAISimulator",
    "sinch": "SinchSimulator",
    "telegram": "TelegramSimulator",
    "teams": "TeamsSimulator",
    "telnyx": "TelnyxSimulator",
    "twilio": "TwilioSimulator",
    "vllm": "VLLMSimulator",
    "voicemeup": "VoiceMeUpSimulator",
    "webhook": "WebhookSimulator",
    "whatsapp": "WhatsAppSimulator",
}
