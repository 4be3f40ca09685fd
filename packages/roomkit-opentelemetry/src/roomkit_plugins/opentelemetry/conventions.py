"""The names that OpenTelemetry has for what RoomKit measures.

Semantic Conventions 1.44, "Generative AI" (in development: names are written out, so that the version of the
`opentelemetry-semantic-conventions` package does not matter). Everything else is under `roomkit.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roomkit.models.telemetry import Attr, SpanKind

__all__ = ["Value", "attributes_of", "code_of", "name_of", "provider_of"]

type Value = str | bool | int | float

OPERATIONS = {SpanKind.LLM_GENERATE: "chat", SpanKind.LLM_TOOL_CALL: "execute_tool"}
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
    Attr.CHANNEL_ID: "gen_ai.agent.id",
}
_SAID = frozenset({Attr.STT_TEXT})
_NEVER = frozenset({Attr.DELIVERY_RECIPIENT, Attr.TRACE_ID})
"""An address is no attribute, whatever is asked for; the trace's id is in every span anyway."""
_CODES = frozenset(value for name, value in vars(Attr).items() if not name.startswith("_")) - _SAID - _NEVER
"""The attributes whose text is an identifier or a code, never a person's words."""


def name_of(kind: SpanKind, name: str, attributes: Mapping[str, Any]) -> str:
    """Return a span's name."""
    subject = {SpanKind.LLM_GENERATE: Attr.MODEL, SpanKind.LLM_TOOL_CALL: Attr.LLM_TOOL_NAME}.get(kind)
    if subject is None:
        return f"roomkit.{name}"
    return f"{OPERATIONS[kind]} {attributes.get(subject, '')}".rstrip()


def provider_of(name: str) -> str:
    """Return the value of `gen_ai.provider.name`: the well-known one, or the provider's own name."""
    return next((known for start, known in _PROVIDERS.items() if name.lower().startswith(start)), name)


def attributes_of(kind: SpanKind, attributes: Mapping[str, Any], *, record_text: bool) -> dict[str, Value]:
    """Return attributes under their names here; what may not or cannot be recorded is left out.

    Numbers are recorded, and texts of well-known attributes that are identifiers or codes; other texts may be
    a person's words or a secret, and are only with `record_text`.
    """
    found: dict[str, Value] = {}
    gen_ai = kind in OPERATIONS
    for key, value in attributes.items():
        if not _is_recorded(key, value, record_text=record_text):
            continue
        if gen_ai and key == Attr.PROVIDER:
            found["gen_ai.provider.name"] = provider_of(value)
        elif gen_ai and key == Attr.TTFB_MS:
            found["gen_ai.response.time_to_first_chunk"] = value / 1000
        elif key == Attr.DELIVERY_ERROR:
            found["error.type"] = code_of(value)
        else:
            found[_GEN_AI.get(key, f"roomkit.{key}") if gen_ai else f"roomkit.{key}"] = value
    if gen_ai:
        found["gen_ai.operation.name"] = OPERATIONS[kind]
    if kind is SpanKind.LLM_TOOL_CALL:
        found["gen_ai.tool.type"] = "function"
    return found


def code_of(message: str | None) -> str:
    """Return an error's class name or code; a sentence may quote what it failed on, and is `_OTHER`."""
    return message if message and message.isidentifier() else "_OTHER"


def _is_recorded(key: str, value: object, *, record_text: bool) -> bool:
    if isinstance(value, bool | int | float):
        return True
    return isinstance(value, str) and (key in _CODES or (record_text and key not in _NEVER))
