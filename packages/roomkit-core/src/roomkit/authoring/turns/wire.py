"""Model turns as JSON: what a room's worker asks, and the frames that an executor process answers.

A request is `{"version", "agent", "whole", "context"}`, a frame `{"version", "items", "last"}`. Both are
validated when they are read, whichever process wrote them. A `response_schema` goes as a JSON Schema, and
the parsed answer as JSON, `parsed`; neither key is there without one. With telemetry a request has its place
in the trace, `context.trace_parent`, as W3C Trace Context has it; one of another form is ignored. The text is
ASCII: other characters are escaped, halves of a character and U+0000 included, so they arrive as the provider
yielded them. Other versions are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError

from roomkit.abc.errors import ErrorCode, ProviderError, RoomKitError
from roomkit.models.ai import (
    AIMessage,
    AIThinkingPart,
    AITool,
    AIToolCall,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType
from roomkit.models.generation import AIContext, AIResponse, ResponseSchema
from roomkit.models.task import Observation, Task
from roomkit.models.values import error_text, message_of, summary, vendor_json

__all__ = [
    "MalformedTurnError",
    "TurnFrame",
    "TurnPiece",
    "TurnRequest",
    "agent_key",
    "as_asked",
    "decode_frame",
    "decode_request",
    "encode_frame",
    "encode_piece",
    "encode_request",
]

VERSION = 1

type TurnPiece = StreamEvent | AIResponse | ProviderError
"""A piece of a stream, a whole answer, or the error that ends either."""


class MalformedTurnError(RoomKitError, ValueError):
    """A text of a queue is no request or frame that this version can read."""

    code = "malformed_turn"


class TurnRequest(NamedTuple):
    """What a provider is asked: for the `whole` answer, or for a stream."""

    agent: str
    whole: bool
    context: AIContext


class TurnFrame(NamedTuple):
    """Some pieces of an answer; nothing follows the `last` frame."""

    pieces: Sequence[TurnPiece]
    last: bool


def agent_key(agent: str) -> str:
    """Return what queues know an agent by: ASCII, whatever its name."""
    return blake2b(agent.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class _Context(_Wire):
    """The fields of `AIContext`, but for the room."""

    messages: tuple[AIMessage, ...] = ()
    system_prompt: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    thinking_budget: int | None = None
    reasoning_effort: str | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[AITool, ...] = ()
    tool_choice: str | None = None
    response_schema: dict[str, Any] | None = None
    target_capabilities: ChannelCapabilities | None = None
    target_media_types: tuple[ChannelMediaType, ...] = ()
    metadata: dict[str, Any] = {}
    trace_parent: str | None = None


class _Request(_Wire):
    version: Literal[1]
    agent: str
    whole: bool
    context: _Context


class _Text(_Wire):
    type: Literal["text"]
    text: str


class _Thinking(_Wire):
    type: Literal["thinking"]
    thinking: str
    signature: str | None = None
    redacted_data: str | None = None


class _Call(_Wire):
    type: Literal["call"]
    id: str
    name: str
    arguments: dict[str, Any]
    metadata: dict[str, Any]
    invalid: str | None = None


class _Done(_Wire):
    type: Literal["done"]
    finish_reason: str | None
    usage: dict[str, int]
    metadata: dict[str, Any]
    parsed: dict[str, Any] | None = None


class _Response(_Wire):
    type: Literal["response"]
    content: str
    thinking: str | None
    thinking_signature: str | None
    thinking_parts: list[AIThinkingPart]
    finish_reason: str | None
    usage: dict[str, int]
    metadata: dict[str, Any]
    tasks: list[Task]
    observations: list[Observation]
    tool_calls: list[AIToolCall]
    parsed: dict[str, Any] | None = None


class _Error(_Wire):
    type: Literal["error"]
    message: str
    error_code: ErrorCode
    retryable: bool
    accepted: bool | None
    retry_after: float | None
    provider: str
    status_code: int | None
    vendor_code: str | None
    request_id: str | None


type _Item = Annotated[_Text | _Thinking | _Call | _Done | _Response | _Error, Field(discriminator="type")]


class _Frame(_Wire):
    version: Literal[1]
    items: list[_Item]
    last: bool


_REQUESTS: TypeAdapter[_Request] = TypeAdapter(_Request)
_FRAMES: TypeAdapter[_Frame] = TypeAdapter(_Frame)
_PLAIN = (
    "system_prompt",
    "temperature",
    "max_tokens",
    "thinking_budget",
    "reasoning_effort",
    "tool_choice",
    "trace_parent",
)


def encode_request(request: TurnRequest) -> str:
    """Return a request as JSON. What of its metadata has no JSON form is repaired, see `vendor_json`."""
    asked = request.context
    capabilities = asked.target_capabilities
    context = {name: value for name in _PLAIN if (value := getattr(asked, name)) is not None} | {
        "messages": [each.model_dump(mode="json") for each in asked.messages],
        "stop": list(asked.stop),
        "tools": [each.model_dump(mode="json") for each in asked.tools],
        "target_capabilities": None if capabilities is None else capabilities.model_dump(mode="json"),
        "target_media_types": [str(each) for each in asked.target_media_types],
        "metadata": _plain(vendor_json(asked.metadata)),
    }
    if asked.response_schema:
        context["response_schema"] = _schema(asked.response_schema)
    return _text({"version": VERSION, "agent": request.agent, "whole": request.whole, "context": context})


def decode_request(text: str) -> TurnRequest:
    """Return the request that was encoded. Raises MalformedTurnError."""
    read = _read(_REQUESTS, text, "request")
    fields = {name: getattr(read.context, name) for name in _Context.model_fields}
    fields |= {"messages": list(read.context.messages), "tools": list(read.context.tools)}
    return TurnRequest(read.agent, read.whole, AIContext(**fields))


def encode_piece(piece: TurnPiece | Exception) -> str:
    """Return a piece as JSON; an error that is no ProviderError becomes one. Raises MalformedTurnError."""
    return _text(_item(piece))


def encode_frame(pieces: Iterable[str], *, last: bool) -> str:
    """Return the frame of pieces that are JSON already."""
    return f'{{"version":{VERSION},"items":[{",".join(pieces)}],"last":{"true" if last else "false"}}}'


def decode_frame(text: str) -> TurnFrame:
    """Return the frame that was encoded. Raises MalformedTurnError."""
    read = _read(_FRAMES, text, "frame")
    return TurnFrame([_piece(item) for item in read.items], read.last)


def _item(piece: TurnPiece | Exception) -> dict[str, Any]:
    match piece:
        case StreamTextDelta():
            return {"type": "text", "text": piece.text}
        case StreamThinkingDelta():
            return {
                "type": "thinking",
                "thinking": piece.thinking,
                "signature": piece.signature,
                "redacted_data": piece.redacted_data,
            }
        case StreamToolCall():
            return {
                "type": "call",
                "id": piece.id,
                "name": piece.name,
                "arguments": _plain(vendor_json(piece.arguments)),
                "metadata": _plain(vendor_json(piece.metadata)),
                "invalid": piece.invalid,
            }
        case StreamDone():
            return {
                "type": "done",
                "finish_reason": piece.finish_reason,
                "usage": dict(piece.usage),
                "metadata": _plain(vendor_json(piece.metadata)),
                **_parsed(piece.parsed),
            }
        case AIResponse():
            return _response(piece)
        case Exception():
            return _error(piece)
    raise MalformedTurnError(f"a provider's stream has {type(piece).__name__}: yield stream events")


def _response(response: AIResponse) -> dict[str, Any]:
    records = ("thinking_parts", "tasks", "observations", "tool_calls")
    return {
        "type": "response",
        "content": response.content or "",
        "thinking": response.thinking,
        "thinking_signature": response.thinking_signature,
        "finish_reason": response.finish_reason,
        "usage": dict(response.usage),
        "metadata": _plain(vendor_json(response.metadata)),
        **{name: [each.model_dump(mode="json") for each in getattr(response, name)] for name in records},
        **_parsed(response.parsed),
    }


def _schema(schema: ResponseSchema) -> dict[str, Any]:
    """Return the JSON Schema of an answer's shape. Raises MalformedTurnError for a model that has none."""
    if not isinstance(schema, type):
        return dict(_plain(schema))
    try:
        return schema.model_json_schema()
    except PydanticUserError as error:
        raise MalformedTurnError(
            f"the response_schema {schema.__name__} has no JSON Schema: {error.code}; give its fields types "
            "that JSON has"
        ) from None


def _parsed(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    return {
        "parsed": value.model_dump(mode="json", by_alias=True)
        if isinstance(value, BaseModel)
        else _plain(value)
    }


def as_asked(schema: ResponseSchema | None, parsed: object, provider: str) -> object:
    """Return what an answer came to as the caller asked for it: an instance of a pydantic model, or JSON.

    Validators of the model, which no JSON Schema has, run here. Raises ProviderError, BAD_RESPONSE.
    """
    if parsed is None or not isinstance(schema, type):
        return parsed
    try:
        return schema.model_validate_json(json.dumps(parsed))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ProviderError(
            f"the answer does not fit response_schema {schema.__name__}: {where} ({first['type']}); describe "
            "the field better, or allow what models answer",
            error_code=ErrorCode.BAD_RESPONSE,
            provider=provider,
        ) from None


def _error(error: Exception) -> dict[str, Any]:
    if not isinstance(error, ProviderError):
        error = ProviderError(error_text(error), retryable=False)
    names = ("retryable", "accepted", "retry_after", "provider", "status_code", "vendor_code", "request_id")
    return {
        "type": "error",
        "message": message_of(error),
        "error_code": str(error.error_code),
        **{name: getattr(error, name) for name in names},
    }


def _piece(item: _Item) -> TurnPiece:
    match item:
        case _Text():
            return StreamTextDelta(item.text)
        case _Thinking():
            return StreamThinkingDelta(item.thinking, item.signature, item.redacted_data)
        case _Call():
            return StreamToolCall(item.id, item.name, item.arguments, item.metadata, item.invalid)
        case _Done():
            return StreamDone(item.finish_reason, item.usage, item.metadata, item.parsed)
        case _Response():
            return AIResponse(**{name: getattr(item, name) for name in _RESPONSE_FIELDS})
        case _Error():
            fields = {name: getattr(item, name) for name in _ERROR_FIELDS}
            return ProviderError(item.message, **fields)


_RESPONSE_FIELDS = tuple(name for name in _Response.model_fields if name != "type")
_ERROR_FIELDS = tuple(name for name in _Error.model_fields if name not in ("type", "message"))


def _plain(value: Any) -> Any:
    """Return read-only JSON as `json` takes it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _text(document: Mapping[str, Any]) -> str:
    try:
        return json.dumps(document, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise MalformedTurnError(f"a piece of a turn has no JSON form: {error_text(error)}") from None


def _read[T](adapter: TypeAdapter[T], text: str, kind: str) -> T:
    """Return a document; an error quotes no value of it, as that may be a person's."""
    try:
        return adapter.validate_python(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['type']}"
    except (ValueError, RecursionError):
        why = "it is no JSON"
    raise MalformedTurnError(summary(f"a {kind} of version {VERSION} was expected; {why}"))
