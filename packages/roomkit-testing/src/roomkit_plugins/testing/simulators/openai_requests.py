"""What the simulated OpenAI API takes: the bodies of requests, the order of messages, and how it refuses.

A field that is not here is refused, as the vendor refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from roomkit_plugins.testing.simulators.ai import Failure


class OpenAIRefusedError(Exception):
    """A request that the API refuses; `failure` is its answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.body)
        self.failure = failure


def openai_failure(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> Failure:
    """Return an answer that reports an error in OpenAI's words."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Failure(status, body, {"x-request-id": "req_simulated"})


def refused(message: str, param: str, *, code: str | None = None) -> OpenAIRefusedError:
    """Return what refuses a parameter."""
    return OpenAIRefusedError(openai_failure(400, message, param=param, code=code))


def unsupported(param: str, hint: str) -> OpenAIRefusedError:
    """Return what refuses a parameter that the model does not take."""
    message = f"Unsupported parameter: '{param}' is not supported with this model. {hint}".strip()
    return refused(message, param, code="unsupported_parameter")


def first_problem(error: ValidationError) -> Failure:
    """Return the answer to a body that does not validate."""
    # Of a union that does not fit, report the member that fitted furthest.
    first = max(error.errors(include_url=False), key=lambda problem: len(problem["loc"]))
    place = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    if first["type"] == "extra_forbidden":
        return openai_failure(400, f"Unknown parameter: '{place}'.", param=place, code="unknown_parameter")
    if first["type"] == "missing":
        return openai_failure(
            400,
            f"Missing required parameter: '{place}'.",
            param=place,
            code="missing_required_parameter",
        )
    return openai_failure(400, f"Invalid '{place}': {first['msg']}", param=place, code="invalid_value")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


type _Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
type _Temperature = Annotated[float, Field(ge=0, le=2)]
type _ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
type _ImageURL = Annotated[str, Field(pattern=r"^(https?://|data:image/(png|jpeg|gif|webp);base64,)")]
type _ChatCallId = Annotated[str, Field(min_length=1, max_length=40)]
"""40 is Azure's limit; OpenAI itself takes 64 (checked 2026-11-29)."""
type _Tier = Literal["auto", "default", "flex", "scale", "priority", "fast"]


class _TextPart(_Strict):
    type: Literal["text"]
    text: str


class _ImageRef(_Strict):
    url: _ImageURL
    detail: Literal["auto", "low", "high", "original"] = "auto"


class _ImagePart(_Strict):
    type: Literal["image_url"]
    image_url: _ImageRef


class _SystemMessage(_Strict):
    role: Literal["system", "developer"]
    content: str | list[_TextPart]
    name: str | None = None


class _UserMessage(_Strict):
    role: Literal["user"]
    content: (
        str
        | Annotated[list[Annotated[_TextPart | _ImagePart, Field(discriminator="type")]], Field(min_length=1)]
    )
    name: Annotated[str, Field(pattern=r"^[^\s<|\\/>]+$", max_length=64)] | None = None


class _CalledFunction(_Strict):
    name: _ToolName
    arguments: str


class _ChatToolCall(_Strict):
    id: _ChatCallId
    type: Literal["function"]
    function: _CalledFunction


class _AssistantMessage(_Strict):
    role: Literal["assistant"]
    content: str | list[_TextPart] | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: Annotated[list[_ChatToolCall], Field(min_length=1)] | None = None


class _VLLMAssistantMessage(_AssistantMessage):
    reasoning: str | None = None
    reasoning_content: str | None = None


class _ToolMessage(_Strict):
    role: Literal["tool"]
    content: str | list[_TextPart]
    tool_call_id: _ChatCallId


type _ChatMessage = Annotated[
    _SystemMessage | _UserMessage | _AssistantMessage | _ToolMessage, Field(discriminator="role")
]
type _VLLMMessage = Annotated[
    _SystemMessage | _UserMessage | _VLLMAssistantMessage | _ToolMessage, Field(discriminator="role")
]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["object"]
    properties: dict[str, JsonValue]


class _ChatFunction(_Strict):
    name: _ToolName
    description: str = ""
    parameters: _Parameters | None = None
    strict: bool | None = None


class _ChatTool(_Strict):
    type: Literal["function"]
    function: _ChatFunction


class _JSONSchemaFormat(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class _ChatFormat(_Strict):
    type: Literal["json_schema"]
    json_schema: _JSONSchemaFormat


class _ResponsesFormat(_JSONSchemaFormat):
    type: Literal["json_schema"]


class _StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class ChatBody(_Strict):
    """A request of Chat Completions."""

    model: str
    messages: Annotated[list[_ChatMessage], Field(min_length=1)]
    tools: list[_ChatTool] = Field(default_factory=list)
    tool_choice: JsonValue = None
    parallel_tool_calls: bool | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: _Temperature | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    reasoning_effort: _Effort | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    service_tier: _Tier | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    response_format: _ChatFormat | None = None
    seed: int | None = None
    top_p: float | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None


class VLLMBody(BaseModel):
    """A chat request to vLLM, which ignores fields that it does not know."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: str
    messages: Annotated[list[_VLLMMessage], Field(min_length=1)]
    tools: list[_ChatTool] = Field(default_factory=list)
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    response_format: _ChatFormat | None = None


class _InputText(_Strict):
    type: Literal["input_text"]
    text: str


class _InputImage(_Strict):
    type: Literal["input_image"]
    image_url: _ImageURL
    detail: Literal["auto", "low", "high", "original"]


class _OutputText(_Strict):
    type: Literal["output_text"]
    text: str
    annotations: list[JsonValue] = Field(default_factory=list)


class _InputMessage(_Strict):
    type: Literal["message"]
    role: Literal["user", "system", "developer"]
    content: str | list[Annotated[_InputText | _InputImage, Field(discriminator="type")]]


class _OutputMessage(_Strict):
    type: Literal["message"]
    role: Literal["assistant"]
    content: str | list[_OutputText]
    phase: Literal["commentary", "final_answer"] | None = None


class FunctionCallItem(_Strict):
    """A call that comes back as the API gave it out."""

    type: Literal["function_call"]
    call_id: Annotated[str, Field(min_length=1, max_length=64)]
    name: _ToolName
    arguments: str
    id: Annotated[str, Field(pattern=r"^fc_")] | None = None
    status: str | None = None


class FunctionCallOutputItem(_Strict):
    """What a tool answered."""

    type: Literal["function_call_output"]
    call_id: Annotated[str, Field(min_length=1, max_length=64)]
    output: str


class _Summary(_Strict):
    type: Literal["summary_text"]
    text: str


class ReasoningItem(_Strict):
    """Reasoning that comes back as the API gave it out."""

    type: Literal["reasoning"]
    id: str
    summary: list[_Summary]
    encrypted_content: str | None = None
    content: list[JsonValue] | None = None
    status: str | None = None


type _Item = _InputMessage | _OutputMessage | FunctionCallItem | FunctionCallOutputItem | ReasoningItem


class _FunctionTool(_Strict):
    type: Literal["function"]
    name: _ToolName
    parameters: _Parameters | None
    strict: bool | None
    description: str | None = None


class _Reasoning(_Strict):
    effort: _Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class _TextConfig(_Strict):
    verbosity: Literal["low", "medium", "high"] | None = None
    format: _ResponsesFormat | None = None


class ResponsesBody(_Strict):
    """A request of Responses."""

    model: str
    input: str | Annotated[list[_Item], Field(min_length=1)]
    instructions: str | None = None
    tools: list[_FunctionTool] = Field(default_factory=list)
    tool_choice: JsonValue = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Annotated[int, Field(ge=16)] | None = None
    temperature: _Temperature | None = None
    reasoning: _Reasoning | None = None
    text: _TextConfig | None = None
    include: list[Literal["reasoning.encrypted_content"]] | None = None
    store: bool | None = None
    stream: bool = False
    service_tier: _Tier | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    top_p: float | None = None
    user: str | None = None


_STRICT_KEYWORDS = frozenset(
    {
        "$ref", "$defs", "type", "enum", "const", "anyOf", "title", "description", "properties", "required",
        "additionalProperties", "items", "pattern", "format", "multipleOf", "minimum", "maximum",
        "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
    }
)  # fmt: skip


def check_format(shape: ChatBody | ResponsesBody) -> None:
    """Check the shape of the answer that is asked for. Raises OpenAIRefusedError."""
    asked: _JSONSchemaFormat | None = None
    param = "response_format"
    if isinstance(shape, ResponsesBody):
        param = "text.format.schema"
        asked = shape.text.format if shape.text else None
    elif shape.response_format:
        asked = shape.response_format.json_schema
    if asked is None:
        return
    if asked.schema_.get("type") != "object":
        raise refused(f"Invalid schema for response_format '{asked.name}': not of type 'object'.", param)
    if asked.strict:
        _check_strict(asked.schema_, asked.name, param)


def _check_strict(schema: Any, name: str, param: str) -> None:
    where = f"Invalid schema for response_format '{name}'"
    if not isinstance(schema, dict):
        raise refused(f"{where}: not a schema.", param)
    if unknown := set(schema) - _STRICT_KEYWORDS:
        raise refused(f"{where}: '{min(unknown)}' is not permitted.", param, code="invalid_json_schema")
    if "$ref" in schema and set(schema) - {"$ref", "$defs"}:
        raise refused(f"{where}: $ref cannot have keywords beside it.", param, code="invalid_json_schema")
    fields = schema.get("properties", {})
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False
        or sorted(schema.get("required", ())) != sorted(fields)
    ):
        raise refused(
            f"{where}: 'additionalProperties' is required to be supplied and to be false, and 'required' "
            "to be an array including every key in properties.",
            param,
            code="invalid_json_schema",
        )
    inner = [*fields.values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]
    for each in [*inner, *([schema["items"]] if "items" in schema else [])]:
        _check_strict(each, name, param)


_COUNTED = frozenset(
    {"model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text"}
)


def check_counted(body: dict[str, Any]) -> None:
    """Check that a request to count tokens has no field too many. Raises OpenAIRefusedError."""
    if further := set(body) - _COUNTED:
        raise refused(f"Unknown parameter: '{min(further)}'.", min(further), code="unknown_parameter")


def check_choice(names: Sequence[str], choice: JsonValue) -> None:
    """Check that a choice of tools names one that is offered. Raises OpenAIRefusedError."""
    if choice is None:
        return
    if not names:
        raise refused("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise refused(f"Invalid value: '{choice}'.", "tool_choice", code="invalid_value")
        return
    function = choice.get("function", choice) if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if name not in names:
        raise refused(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")


def check_chat_order(messages: Sequence[Any]) -> None:
    """Check that each tool call is answered once, at once. Raises OpenAIRefusedError."""
    seen: set[str] = set()
    expected: list[str] = []
    for place, message in enumerate(messages):
        param = f"messages.[{place}].role"
        if isinstance(message, _ToolMessage):
            if message.tool_call_id not in expected:
                raise refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                    "message with 'tool_calls'.",
                    param,
                )
            expected.remove(message.tool_call_id)
            continue
        _check_all_answered(expected, param)
        calls = message.tool_calls if isinstance(message, _AssistantMessage) else None
        expected = [call.id for call in calls or ()]
        if len(set(expected)) != len(expected) or seen & set(expected):
            raise refused("Duplicate value for 'tool_call_id'.", param)
        seen.update(expected)
    _check_all_answered(expected, "messages")


def _check_all_answered(expected: Sequence[str], param: str) -> None:
    if expected:
        raise refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(expected),
            param,
        )
