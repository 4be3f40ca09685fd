"""What AI providers say of themselves, checked when a channel is made and when a turn has failed."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from types import UnionType
from typing import TYPE_CHECKING

from pydantic import BaseModel

from roomkit.abc.attributes import mistyped, read_attribute
from roomkit.abc.errors import ForeignCodeError, InvalidInputError, RoomKitError
from roomkit.abc.records import checked
from roomkit.models.ai import AIThinkingPart, AIToolCall
from roomkit.models.generation import AIResponse

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.models.generation import ResponseSchema

__all__ = [
    "KNOWN_RESPONSES",
    "check_parts",
    "check_providers",
    "check_response",
    "checked_schema",
    "diagnosed",
    "fields_of",
]

_ATTRIBUTES: tuple[tuple[str, type], ...] = (
    ("name", str),
    ("model_name", str),
    ("supports_vision", bool),
    ("supports_streaming", bool),
    ("supports_structured_streaming", bool),
    ("supports_response_schema", bool),
    ("runs_tools", bool),
)
_RESPONSE: Mapping[str, type | UnionType] = {
    "content": str | None,
    "thinking": str | None,
    "thinking_signature": str | None,
    "thinking_parts": list | tuple,
    "finish_reason": str | None,
    "usage": Mapping,
    "metadata": Mapping,
    "tasks": list | tuple,
    "observations": list | tuple,
    "tool_calls": list | tuple,
}
fields_of = attrgetter(*_RESPONSE)
KNOWN_RESPONSES: set[tuple[type, ...]] = set()  # bound: the types that `_RESPONSE` allows
"""The types of responses' fields that were found to be right."""


def check_providers(channel_id: str, *providers: AIProvider) -> None:
    """Check the names and flags of a channel's providers. Raises ForeignCodeError that names the provider."""
    for provider in providers:
        owner = f"provider {type(provider).__name__} of AI channel {channel_id!r}"
        for name, kind in _ATTRIBUTES:
            read_attribute(owner, provider, name, kind)


def checked_schema(channel_id: str, schema: object, provider: AIProvider) -> ResponseSchema | None:
    """Return the schema of a channel's answers, None for an empty one. Raises InvalidInputError."""
    if not schema:
        return None
    if not (isinstance(schema, Mapping) or (isinstance(schema, type) and issubclass(schema, BaseModel))):
        raise InvalidInputError(
            f"the response_schema of {channel_id!r} is {schema!r:.80}: it is a pydantic model or a JSON "
            "Schema; pass one"
        )
    if not provider.supports_response_schema:
        raise InvalidInputError(
            f"{channel_id!r} has a response_schema, and its provider {provider.name!r} does not support "
            "one; leave it out, or use another provider"
        )
    return schema


def diagnosed(error: Exception, channel_id: str, *providers: AIProvider) -> Exception:
    """Return the error of a failed turn: of a provider's broken attribute, if it has one, else itself.

    Attributes are not checked in turns that go well, where it would cost as much as the turn itself.
    """
    if isinstance(error, RoomKitError):
        return error
    try:
        check_providers(channel_id, *providers)
    except ForeignCodeError as broken:
        broken.__cause__ = broken.__cause__ or error
        return broken
    return error


def check_response(response: object, provider: AIProvider, channel_id: str) -> None:
    """Check the types of a response's fields, and remember them. Raises ForeignCodeError."""
    owner = _answer_of(provider, channel_id)
    if not isinstance(response, AIResponse):
        raise ForeignCodeError(f"{owner} is {type(response).__name__}: it has to be AIResponse")
    for name, kind in _RESPONSE.items():
        found = getattr(response, name)
        if not isinstance(found, kind):
            raise mistyped(owner, name, found, kind)
    KNOWN_RESPONSES.add((*map(type, fields_of(response)),))


def check_parts(response: AIResponse, provider: AIProvider, channel_id: str) -> None:
    """Check a response's tool calls and reasoning blocks. Raises ForeignCodeError for a wrong one."""
    owner = _answer_of(provider, channel_id)
    for call in response.tool_calls:
        checked(call, AIToolCall, f"in tool_calls of {owner}", ForeignCodeError)
    for part in response.thinking_parts:
        checked(part, AIThinkingPart, f"in thinking_parts of {owner}", ForeignCodeError)


def _answer_of(provider: AIProvider, channel_id: str) -> str:
    return f"the answer of provider {type(provider).__name__} to AI channel {channel_id!r}"
