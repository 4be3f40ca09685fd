"""The names that OpenTelemetry has for what RoomKit measures.

GenAI semantic conventions 0.1 (in development: names are written out, so that the version of the
`opentelemetry-semantic-conventions` package does not matter). Everything else is under `roomkit.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roomkit.models.enums import ChannelType
from roomkit.models.telemetry import Attr, SpanKind

__all__ = [
    "CHAT",
    "EXECUTE_TOOL",
    "INVOKE_AGENT",
    "Value",
    "attributes_of",
    "code_of",
    "name_of",
    "operation_of",
    "provider_of",
]

type Value = str | bool | int | float

CHAT = "chat"
EXECUTE_TOOL = "execute_tool"
INVOKE_AGENT = "invoke_agent"
_OPERATIONS = {SpanKind.LLM_GENERATE: CHAT, SpanKind.LLM_TOOL_CALL: EXECUTE_TOOL}
_SUBJECTS = {CHAT: Attr.MODEL, EXECUTE_TOOL: Attr.LLM_TOOL_NAME, INVOKE_AGENT: Attr.CHANNEL_ID}
"""What follows the operation in a span's name."""
_PROVIDERS = {
    "anthropic": "anthropic",
    "azure": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "openai": "openai",
}
"""The well-known values of `gen_ai.provider.name`, by how a provider's own name begins."""

_GEN_AI = {
    Attr.MODEL: "gen_ai.request.model",
    Attr.LLM_INPUT_TOKENS: "gen_ai.usage.input_tokens",
    Attr.LLM_OUTPUT_TOKENS: "gen_ai.usage.output_tokens",
    Attr.LLM_CACHE_READ_TOKENS: "gen_ai.usage.cache_read.input_tokens",
    Attr.LLM_CACHE_CREATION_TOKENS: "gen_ai.usage.cache_creation.input_tokens",
    Attr.LLM_REASONING_TOKENS: "gen_ai.usage.reasoning.output_tokens",
    Attr.LLM_STREAMING: "gen_ai.request.stream",
    Attr.LLM_TOOL_NAME: "gen_ai.tool.name",
    Attr.LLM_TOOL_CALL_ID: "gen_ai.tool.call.id",
    Attr.ROOM_ID: "gen_ai.conversation.id",
}
_SAID = frozenset({Attr.STT_TEXT})
_NEVER = frozenset({Attr.DELIVERY_RECIPIENT, Attr.TRACE_ID})
"""An address is not an attribute, whatever is asked for; the trace's id is in every span anyway."""
_CODES = frozenset(value for name, value in vars(Attr).items() if not name.startswith("_")) - _SAID - _NEVER
"""The attributes whose text is an identifier or a code, never a person's words."""


def operation_of(kind: SpanKind, attributes: Mapping[str, Any]) -> str | None:
    """Return the value of `gen_ai.operation.name`; None for a span that the conventions do not know.

    A delivery to an agent is its turn: `invoke_agent`.
    """
    if kind is SpanKind.DELIVERY and attributes.get(Attr.DELIVERY_CHANNEL_TYPE) == ChannelType.AI:
        return INVOKE_AGENT
    return _OPERATIONS.get(kind)


def name_of(operation: str | None, name: str, attributes: Mapping[str, Any]) -> str:
    """Return a span's name."""
    if operation is None:
        return f"roomkit.{name}"
    return f"{operation} {attributes.get(_SUBJECTS[operation], '')}".rstrip()


def provider_of(name: str) -> str:
    """Return the value of `gen_ai.provider.name`: the well-known one, or the provider's own name."""
    return next((known for start, known in _PROVIDERS.items() if name.lower().startswith(start)), name)


def attributes_of(
    operation: str | None, attributes: Mapping[str, Any], *, record_text: bool
) -> dict[str, Value]:
    """Return attributes under their names here; what may not or cannot be recorded is omitted.

    Numbers are recorded, and texts of well-known attributes that are identifiers or codes; other texts may be
    a person's words or a secret, and are only with `record_text`.
    """
    found: dict[str, Value] = {}
    for key, value in attributes.items():
        if not _is_recorded(key, value, record_text=record_text):
            continue
        if key == Attr.DELIVERY_ERROR:
            found["error.type"] = code_of(value)
        elif operation is None:
            found[f"roomkit.{key}"] = value
        elif key == Attr.PROVIDER:
            found["gen_ai.provider.name"] = provider_of(value)
        elif key == Attr.TTFB_MS:
            found["gen_ai.response.time_to_first_chunk"] = value / 1000
        elif key == Attr.CHANNEL_ID:
            found["gen_ai.agent.name"] = value
        else:
            found[_GEN_AI.get(key, f"roomkit.{key}")] = value
    if operation is not None:
        found["gen_ai.operation.name"] = operation
    if operation == EXECUTE_TOOL:
        found["gen_ai.tool.type"] = "function"
    return found


def code_of(message: str | None) -> str:
    """Return an error's class name or code; a sentence may quote what it failed on, and is `_OTHER`."""
    return message if message and message.isidentifier() else "_OTHER"


def _is_recorded(key: str, value: object, *, record_text: bool) -> bool:
    if isinstance(value, bool | int | float):
        return True
    return isinstance(value, str) and (key in _CODES or (record_text and key not in _NEVER))
