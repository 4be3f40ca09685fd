"""What the simulated Messages API takes: the body of a request, the order of messages, and how it refuses.

A field that is not here is refused, as the vendor refuses it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from roomkit_plugins.testing.simulators.ai import Failure

_BUDGET_ONLY = ("claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5")


class AnthropicRefusedError(Exception):
    """A request that the API refuses; `failure` is its answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.body)
        self.failure = failure


def error_body(kind: str, message: str) -> dict[str, Any]:
    """Return what an error says, in an answer or inside a stream."""
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_simulated",
    }


def anthropic_failure(status: int, kind: str, message: str) -> Failure:
    """Return an answer that reports an error."""
    return Failure(status, error_body(kind, message), {"request-id": "req_simulated"})


def invalid_request(message: str) -> Failure:
    """Return the answer to a request that is wrong."""
    return anthropic_failure(400, "invalid_request_error", message)


def refused(message: str) -> AnthropicRefusedError:
    """Return what refuses a request that is wrong."""
    return AnthropicRefusedError(invalid_request(message))


def first_invalid(error: ValidationError) -> str:
    """Describe the faults of a body that does not validate."""
    # Of a union that does not fit, report the member that fitted furthest.
    first = max(error.errors(include_url=False), key=lambda problem: len(problem["loc"]))
    place = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    return f"{place}: {first['msg']}"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("text content blocks must contain non-whitespace text")
    return text


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("invalid base64 data") from error
    return text


type _Identifier = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]+$")]


class _CacheControl(_Strict):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class _Text(_Strict):
    type: Literal["text"]
    text: Annotated[str, AfterValidator(_not_blank)]
    cache_control: _CacheControl | None = None


class _Base64Source(_Strict):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Annotated[str, Field(min_length=1), AfterValidator(_base64)]


class _URLSource(_Strict):
    type: Literal["url"]
    url: Annotated[str, Field(pattern=r"^https?://")]


class _Image(_Strict):
    type: Literal["image"]
    source: Annotated[_Base64Source | _URLSource, Field(discriminator="type")]
    cache_control: _CacheControl | None = None


class ToolUseBlock(_Strict):
    """A call that comes back as the API gave it out."""

    type: Literal["tool_use"]
    id: _Identifier
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
    input: dict[str, JsonValue]
    cache_control: _CacheControl | None = None


class _ToolResult(_Strict):
    type: Literal["tool_result"]
    tool_use_id: _Identifier
    content: str | list[Annotated[_Text | _Image, Field(discriminator="type")]] = ""
    is_error: bool = False
    cache_control: _CacheControl | None = None


class ThinkingBlock(_Strict):
    """Thinking that comes back as the API gave it out."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinkingBlock(_Strict):
    """Encrypted thinking that comes back as the API gave it out."""

    type: Literal["redacted_thinking"]
    data: str


type _UserBlock = Annotated[_Text | _Image | _ToolResult, Field(discriminator="type")]
type _AssistantBlock = Annotated[
    _Text | ToolUseBlock | ThinkingBlock | RedactedThinkingBlock, Field(discriminator="type")
]
type _Block = _Text | _Image | _ToolResult | ToolUseBlock | ThinkingBlock | RedactedThinkingBlock


class _UserMessage(_Strict):
    role: Literal["user"]
    content: Annotated[str, AfterValidator(_not_blank)] | Annotated[list[_UserBlock], Field(min_length=1)]


class _AssistantMessage(_Strict):
    role: Literal["assistant"]
    content: (
        Annotated[str, AfterValidator(_not_blank)] | Annotated[list[_AssistantBlock], Field(min_length=1)]
    )


type _Message = Annotated[_UserMessage | _AssistantMessage, Field(discriminator="role")]


class _InputSchema(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["object"]
    properties: dict[str, JsonValue] | None = None
    required: list[str] | None = None


class _Tool(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
    input_schema: _InputSchema
    description: str = ""
    cache_control: _CacheControl | None = None
    strict: bool = False
    type: Literal["custom"] | None = None


class _ToolChoice(_Strict):
    type: Literal["auto", "any", "none", "tool"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class _ThinkingConfig(_Strict):
    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class _JSONFormat(_Strict):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]


class _OutputConfig(_Strict):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: _JSONFormat | None = None


class _Metadata(_Strict):
    user_id: str | None = None


class MessagesBody(_Strict):
    """A request of the Messages API."""

    model: str
    max_tokens: Annotated[int, Field(ge=0)]
    messages: Annotated[list[_Message], Field(min_length=1, max_length=100_000)]
    system: str | list[_Text] = ""
    tools: list[_Tool] = Field(default_factory=list)
    tool_choice: _ToolChoice | None = None
    thinking: _ThinkingConfig | None = None
    output_config: _OutputConfig | None = None
    stop_sequences: list[Annotated[str, AfterValidator(_not_blank)]] = Field(default_factory=list)
    metadata: _Metadata | None = None
    cache_control: _CacheControl | None = None
    service_tier: Literal["auto", "standard_only"] = "auto"
    speed: Literal["standard", "fast"] | None = None
    inference_geo: str | None = None
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None


_COUNTED = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"}
)


def counted_body(body: bytes, *, context: dict[str, Any]) -> MessagesBody:
    """Read a request to count tokens. Raises ValidationError, or AnthropicRefusedError."""
    given = json.loads(body)
    if further := set(given) - _COUNTED:
        raise refused(f"{min(further)}: Extra inputs are not permitted")
    return MessagesBody.model_validate_json(json.dumps({**given, "max_tokens": 1_000_000}), context=context)


def check_thinking(body: MessagesBody) -> None:
    """Check that the model thinks in the way that is asked for. Raises AnthropicRefusedError."""
    thinking = body.thinking
    if thinking is None:
        return
    older = body.model in _BUDGET_ONLY
    if thinking.type == "enabled":
        if not older:
            raise refused('thinking.type: "enabled" is not supported on this model; use "adaptive"')
        budget = thinking.budget_tokens
        if budget is None or budget < 1024:
            raise refused("thinking.budget_tokens: Input should be at least 1024")
        if budget >= body.max_tokens:
            raise refused("`max_tokens` must be greater than `thinking.budget_tokens`")
        if body.tool_choice is not None and body.tool_choice.type in ("any", "tool"):
            raise refused("Thinking may not be enabled when tool_choice forces tool use.")
    elif thinking.budget_tokens is not None:
        raise refused("thinking.budget_tokens: Extra inputs are not permitted")
    elif thinking.type == "adaptive" and older:
        raise refused("adaptive thinking is not supported on this model")


def check_tools(body: MessagesBody) -> None:
    """Check the names of tools and the choice. Raises AnthropicRefusedError."""
    names = [tool.name for tool in body.tools]
    if len(set(names)) != len(names):
        raise refused("tools: Tool names must be unique.")
    choice = body.tool_choice
    if choice is None:
        return
    if not names:
        raise refused("tool_choice may only be specified while providing tools")
    if choice.type == "tool" and choice.name not in names:
        raise refused(f"Tool '{choice.name}' not found in provided tools")


_SCHEMA_KEYWORDS = frozenset(
    {
        "$ref", "$defs", "type", "enum", "const", "anyOf", "allOf", "title", "description", "properties",
        "required", "additionalProperties", "items", "format", "minItems", "default", "pattern",
    }
)  # fmt: skip


def check_format(body: MessagesBody) -> None:
    """Check that the shape of the answer stays in the vendor's subset. Raises AnthropicRefusedError."""
    if body.output_config is None or body.output_config.format is None:
        return
    schema = body.output_config.format.schema_
    if schema.get("type") != "object":
        raise refused("output_config.format.schema: the root must be of type 'object'")
    _check_schema(schema, "schema", schema.get("$defs"))


def _check_schema(schema: Any, where: str, definitions: Any, within: Sequence[str] = ()) -> None:
    if not isinstance(schema, dict):
        raise refused(f"output_config.format.{where}: not a schema")
    if unknown := set(schema) - _SCHEMA_KEYWORDS:
        raise refused(
            f"output_config.format.{where}: For this type, property {min(unknown)!r} is not supported"
        )
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        if name in within:
            raise refused(f"output_config.format.{where}: Recursive schemas are not supported")
        if not isinstance(definitions, dict) or name not in definitions:
            raise refused(f"output_config.format.{where}: {schema['$ref']} is not defined")
        _check_schema(definitions[name], name, definitions, (*within, name))
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise refused(
            f"output_config.format.{where}: For 'object' type, 'additionalProperties' must be explicitly "
            "set to false"
        )
    if schema.get("minItems", 0) not in (0, 1):
        raise refused(f"output_config.format.{where}: For 'array' type, 'minItems' must be 0 or 1")
    inner = [*schema.get("properties", {}).items(), *(("anyOf", each) for each in schema.get("anyOf", ()))]
    inner += [("items", schema["items"])] if "items" in schema else []
    for name, each in inner:
        _check_schema(each, f"{where}.{name}", definitions, within)


class MessagesTurn:
    """Messages of one role in a row, which the API reads as one."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.blocks: list[_Block] = []


def turns_of(messages: Sequence[_UserMessage | _AssistantMessage]) -> list[MessagesTurn]:
    """Join messages of one role in a row."""
    turns: list[MessagesTurn] = []
    for message in messages:
        if not turns or turns[-1].role != message.role:
            turns.append(MessagesTurn(message.role))
        if isinstance(message.content, str):
            turns[-1].blocks.append(_Text(type="text", text=message.content))
        else:
            turns[-1].blocks.extend(message.content)
    return turns


def check_turns(turns: Sequence[MessagesTurn]) -> None:
    """Check the order of roles, and that each call has one result. Raises AnthropicRefusedError."""
    if turns[0].role != "user":
        raise refused('messages: first message must use the "user" role')
    if turns[-1].role != "user":
        raise refused(
            "This model does not support assistant message prefill. "
            "The conversation must end with a user message."
        )
    seen: set[str] = set()
    called: list[str] = []
    for place, turn in enumerate(turns):
        if turn.role == "user":
            _check_results(place, turn, called)
        called = [block.id for block in turn.blocks if isinstance(block, ToolUseBlock)]
        if len(set(called)) != len(called) or seen & set(called):
            raise refused(f"messages.{place}: `tool_use` ids must be unique")
        seen.update(called)


def _check_results(place: int, turn: MessagesTurn, called: Sequence[str]) -> None:
    answered = [block.tool_use_id for block in turn.blocks if isinstance(block, _ToolResult)]
    if missing := [call for call in called if call not in answered]:
        raise refused(
            f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately "
            f"after: {', '.join(missing)}. Each `tool_use` block must have a corresponding "
            "`tool_result` block in the next message."
        )
    if extra := [answer for answer in answered if answer not in called]:
        raise refused(
            f"messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(extra)}."
        )
    if len(set(answered)) != len(answered):
        raise refused(f"messages.{place}: each tool_use must have a single result")
    head = turn.blocks[: len(answered)]
    if not all(isinstance(block, _ToolResult) for block in head):
        raise refused(f"messages.{place}: `tool_result` blocks must come first")
