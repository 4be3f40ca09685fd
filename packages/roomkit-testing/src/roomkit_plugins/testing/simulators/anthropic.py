"""The Anthropic Messages API, simulated: https://platform.claude.com/docs/en/api/messages (Nov 2026)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
)

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.testing.simulators.ai import (
    AISimulator,
    Failure,
    Finish,
    Reply,
    ScriptedThinking,
    ScriptedUsage,
)
from roomkit_plugins.testing.simulators.deviations import (
    COMMON,
    DONE,
    Deviation,
    changed,
    json_bytes,
    without,
)
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest

VERSIONS = ("2023-06-01", "2026-10-21")
"""The API versions the vendor serves. The second took the sampling parameters away."""

DEFAULT_MODELS = ("claude-sonnet-5-5", "claude-haiku-4-5")
"""A current model and an older one, which knows no adaptive thinking."""

_BUDGET_ONLY = ("claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5")

_STOP_REASONS: Mapping[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}


class AnthropicSimulator(AISimulator):
    """`/v1/messages` and `/v1/models` of Anthropic, on a free local port.

        async with AnthropicSimulator() as sim:
            sim.reply("Hello!")
            client = anthropic.AsyncAnthropic(api_key=sim.api_key, base_url=sim.base_url)

    Signatures of thinking blocks are checked as the vendor does: only what this simulator gave out,
    or was given with `accept_thinking`, comes back unchanged.
    """

    vendor = "Anthropic"

    def __init__(
        self,
        *,
        api_key: str = "sk-ant-simulated",
        models: Sequence[str] = DEFAULT_MODELS,
        allow_unused: bool = False,
    ) -> None:
        super().__init__(api_key=api_key, allow_unused=allow_unused)
        self.models = tuple(models)
        self._signatures: dict[str, str] = {}  # bound: one test
        self._redacted: set[str] = set()  # bound: one test
        self._thought_before: set[str] = set()  # bound: one test

    @property
    def base_url(self) -> str:
        """What to give the SDK as `base_url`."""
        return self.origin

    @property
    def failures(self) -> Mapping[ErrorCode, Failure]:
        """How Anthropic reports each class of error."""
        return _FAILURES

    def accept_thinking(self, *blocks: ScriptedThinking) -> None:
        """Treat `blocks` as given out by this API in an earlier conversation."""
        for block in blocks:
            if block.redacted_data is not None:
                self._redacted.add(block.redacted_data)
            elif block.signature is not None:
                self._signatures[block.signature] = block.text

    def headers(self) -> dict[str, str]:
        """Return the headers of a good answer."""
        return {"request-id": self.new_id("req_")}

    def refusal(self, request: ReceivedRequest) -> Failure | None:
        """Check a request as the vendor would; None for a good one."""
        if request.headers.get("authorization") != f"Bearer {self.api_key}" and (
            request.headers.get("x-api-key") != self.api_key
        ):
            return _failure(401, "authentication_error", "invalid x-api-key")
        version = request.headers.get("anthropic-version")
        if version not in VERSIONS:
            return _invalid(f"anthropic-version: {version!r} is not a valid version")
        if request.path.startswith("/v1/models"):
            return None
        if (request.method, request.path) != ("POST", "/v1/messages"):
            return _failure(404, "not_found_error", "Not Found")
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _invalid("content-type: Must be application/json")
        try:
            body = _Body.model_validate_json(request.body, context={"version": version})
            self._check(body, version)
        except ValidationError as error:
            return _invalid(_first(error))
        except _RefusedError as error:
            return error.failure
        return None

    async def handle_other(self, request: ReceivedRequest, exchange: Exchange) -> bool:
        """Answer `/v1/models` and `/v1/models/{id}`."""
        if not request.path.startswith("/v1/models"):
            return False
        name = request.path.removeprefix("/v1/models").strip("/")
        if not name:
            data = [_model(known) for known in self.models]
            page = {"data": data, "has_more": False, "first_id": None, "last_id": None}
            await exchange.send_json(200, page, self.headers())
        elif name in self.models:
            await exchange.send_json(200, _model(name), self.headers())
        else:
            await exchange.send_json(404, _error("not_found_error", f"model: {name}"), self.headers())
        return True

    def document(self, request: ReceivedRequest, reply: Reply) -> object:
        """Write the whole message."""
        return {
            **self._head(request, reply),
            "content": self._blocks(reply),
            "stop_reason": _STOP_REASONS[reply.reason],
            "stop_sequence": None,
        }

    def events(self, request: ReceivedRequest, reply: Reply) -> Iterator[bytes | asyncio.Event]:
        """Write the message as a stream."""
        usage = _usage(reply.usage)
        start = {**self._head(request, reply), "content": [], "stop_reason": None}
        yield _event("message_start", message={**start, "stop_sequence": None})
        yield _event("ping")
        for index, block in enumerate(self._blocks(reply)):
            yield from _block_events(index, block, reply)
        delta = {"stop_reason": _STOP_REASONS[reply.reason], "stop_sequence": None}
        yield _event("message_delta", delta=delta, usage=usage)
        yield _event("message_stop")

    def deviations(self, request: ReceivedRequest) -> Mapping[str, Deviation]:
        """Return how servers of this API deviate in what means the same."""
        return {**COMMON, **_DEVIATIONS}

    def error_event(self, failure: Failure) -> bytes:
        """Write an error as it is reported inside a stream."""
        return _sse("error", failure.body)

    def malformed_event(self) -> bytes:
        """Write an event whose data is not JSON."""
        return b'event: content_block_delta\ndata: {"type": \n\n'

    def _head(self, request: ReceivedRequest, reply: Reply) -> dict[str, Any]:
        return {
            "id": self.new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": request.json()["model"],
            "usage": _usage(reply.usage),
        }

    def _blocks(self, reply: Reply) -> list[dict[str, Any]]:
        blocks = [self._thinking_block(thought) for thought in reply.thinking]
        if reply.whole_text:
            blocks.append({"type": "text", "text": reply.whole_text})
        for call in reply.tool_calls:
            identity = call.id or self.new_id("toolu_")
            if reply.thinking:
                self._thought_before.add(identity)
            given = call.arguments if isinstance(call.arguments, str) else dict(call.arguments)
            blocks.append({"type": "tool_use", "id": identity, "name": call.name, "input": given})
        return blocks

    def _thinking_block(self, thought: ScriptedThinking) -> dict[str, Any]:
        if thought.redacted_data is not None:
            self.accept_thinking(thought)
            return {"type": "redacted_thinking", "data": thought.redacted_data}
        signature = thought.signature or base64.b64encode(self.new_id("sig-").encode()).decode()
        self.accept_thinking(ScriptedThinking(thought.text, signature))
        return {"type": "thinking", "thinking": thought.text, "signature": signature}

    def _check(self, body: _Body, version: str) -> None:
        """Check what needs more than one field. Raises _RefusedError."""
        for field in ("temperature", "top_p", "top_k"):
            if version >= "2026-10-21" and field in body.model_fields_set:
                raise _RefusedError(_invalid(f"{field}: Extra inputs are not permitted"))
        if body.model not in self.models:
            raise _RefusedError(_failure(404, "not_found_error", f"model: {body.model}"))
        _check_thinking(body)
        _check_tools(body)
        turns = _turns(body.messages)
        _check_turns(turns)
        self._check_thoughts(body, turns)

    def _check_thoughts(self, body: _Body, turns: Sequence[_Turn]) -> None:
        for turn in turns:
            for block in turn.blocks:
                if isinstance(block, _Thinking) and self._signatures.get(block.signature) != block.thinking:
                    raise _RefusedError(_invalid("Invalid `signature` in `thinking` block"))
                if isinstance(block, _RedactedThinking) and block.data not in self._redacted:
                    raise _RefusedError(_invalid("Invalid `data` in `redacted_thinking` block"))
        if body.thinking is None or body.thinking.type == "disabled" or len(turns) < 2:
            return
        last = turns[-2].blocks
        calls = [block for block in last if isinstance(block, _ToolUse)]
        if any(call.id in self._thought_before for call in calls) and not isinstance(
            last[0], _Thinking | _RedactedThinking
        ):
            raise _RefusedError(
                _invalid(
                    f"messages.{len(turns) - 2}.content.0.type: Expected `thinking` or "
                    f"`redacted_thinking`, but found `{last[0].type}`"
                )
            )


class _RefusedError(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.body)
        self.failure = failure


def _error(kind: str, message: str) -> dict[str, Any]:
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": "req_simulated",
    }


def _failure(status: int, kind: str, message: str) -> Failure:
    return Failure(status, _error(kind, message), {"request-id": "req_simulated"})


def _invalid(message: str) -> Failure:
    return _failure(400, "invalid_request_error", message)


_FAILURES = {
    ErrorCode.INVALID_REQUEST: _invalid("messages: Invalid"),
    ErrorCode.CONTEXT_OVERFLOW: _invalid("prompt is too long: 210031 tokens > 200000 maximum"),
    ErrorCode.UNSUPPORTED_CONTENT: _invalid("Could not process image"),
    ErrorCode.AUTH: _failure(401, "authentication_error", "invalid x-api-key"),
    ErrorCode.QUOTA: _failure(402, "billing_error", "Your credit balance is too low"),
    ErrorCode.PERMISSION: _failure(403, "permission_error", "Not allowed to use this model"),
    ErrorCode.NOT_FOUND: _failure(404, "not_found_error", "model: claude-none"),
    ErrorCode.TOO_LONG: _failure(413, "request_too_large", "Request exceeds the maximum size"),
    ErrorCode.RATE_LIMIT: _failure(429, "rate_limit_error", "Number of requests exceeded"),
    ErrorCode.SERVER: _failure(500, "api_error", "Internal server error"),
    ErrorCode.TIMEOUT: _failure(504, "timeout_error", "Request timed out"),
    ErrorCode.OVERLOADED: _failure(529, "overloaded_error", "Overloaded"),
}


def _first(error: ValidationError) -> str:
    # Of a union that does not fit, report the member that fitted furthest.
    first = max(error.errors(include_url=False), key=lambda problem: len(problem["loc"]))
    place = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    return f"{place}: {first['msg']}"


def _model(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "type": "model",
        "display_name": name,
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
    }


def _usage(usage: ScriptedUsage | None) -> dict[str, Any]:
    counted = usage or ScriptedUsage()
    return {
        "input_tokens": counted.input,
        "output_tokens": counted.output,
        "cache_read_input_tokens": counted.cache_read,
        "cache_creation_input_tokens": counted.cache_write,
        "output_tokens_details": {"thinking_tokens": counted.reasoning},
    }


def _sse(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json_bytes(data).decode()}\n\n".encode()


def _event(name: str, **fields: object) -> bytes:
    return _sse(name, {"type": name, **fields})


def _block_events(index: int, block: dict[str, Any], reply: Reply) -> Iterator[bytes | asyncio.Event]:
    empty, deltas = _parts(block, reply)
    yield _event("content_block_start", index=index, content_block=empty)
    for delta in deltas:
        if isinstance(delta, asyncio.Event):
            yield delta
        else:
            yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _parts(
    block: dict[str, Any], reply: Reply
) -> tuple[dict[str, Any], Iterable[dict[str, Any] | asyncio.Event]]:
    """Split a block into its start and its deltas."""
    match block["type"]:
        case "text":
            return {**block, "text": ""}, [
                chunk if isinstance(chunk, asyncio.Event) else {"type": "text_delta", "text": chunk}
                for chunk in reply.chunks
            ]
        case "thinking":
            return {**block, "thinking": "", "signature": ""}, [
                *({"type": "thinking_delta", "thinking": piece} for piece in _halves(block["thinking"])),
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        case "tool_use":
            given = block["input"]
            text = given if isinstance(given, str) else json.dumps(given)
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": piece} for piece in ("", *_halves(text))
            ]
    return block, []


def _halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


def _without_stop(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return None if event["type"] == "message_stop" else event


_DEVIATIONS: Mapping[str, Deviation] = {
    "no stop reason": Deviation(without("stop_reason")),
    "empty stop reason": Deviation(changed("stop_reason", lambda reason: "")),
    "null deltas": Deviation(before=_event("message_delta", delta=None, usage=None)),
    "no index": Deviation(without("index")),
    "ended by [DONE]": Deviation(_without_stop, after=DONE),
}


# The request body. A field that is not here is refused, as the vendor refuses it.


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


class _ToolUse(_Strict):
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


class _Thinking(_Strict):
    type: Literal["thinking"]
    thinking: str
    signature: str


class _RedactedThinking(_Strict):
    type: Literal["redacted_thinking"]
    data: str


type _UserBlock = Annotated[_Text | _Image | _ToolResult, Field(discriminator="type")]
type _AssistantBlock = Annotated[
    _Text | _ToolUse | _Thinking | _RedactedThinking, Field(discriminator="type")
]
type _Block = _Text | _Image | _ToolResult | _ToolUse | _Thinking | _RedactedThinking


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


class _OutputConfig(_Strict):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonValue = None


class _Metadata(_Strict):
    user_id: str | None = None


class _Body(_Strict):
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


def _check_thinking(body: _Body) -> None:
    thinking = body.thinking
    if thinking is None:
        return
    older = body.model in _BUDGET_ONLY
    if thinking.type == "enabled":
        if not older:
            raise _RefusedError(
                _invalid('thinking.type: "enabled" is not supported on this model; use "adaptive"')
            )
        budget = thinking.budget_tokens
        if budget is None or budget < 1024:
            raise _RefusedError(_invalid("thinking.budget_tokens: Input should be at least 1024"))
        if budget >= body.max_tokens:
            raise _RefusedError(_invalid("`max_tokens` must be greater than `thinking.budget_tokens`"))
        if body.tool_choice is not None and body.tool_choice.type in ("any", "tool"):
            raise _RefusedError(_invalid("Thinking may not be enabled when tool_choice forces tool use."))
    elif thinking.budget_tokens is not None:
        raise _RefusedError(_invalid("thinking.budget_tokens: Extra inputs are not permitted"))
    elif thinking.type == "adaptive" and older:
        raise _RefusedError(_invalid("adaptive thinking is not supported on this model"))


def _check_tools(body: _Body) -> None:
    names = [tool.name for tool in body.tools]
    if len(set(names)) != len(names):
        raise _RefusedError(_invalid("tools: Tool names must be unique."))
    choice = body.tool_choice
    if choice is None:
        return
    if not names:
        raise _RefusedError(_invalid("tool_choice may only be specified while providing tools"))
    if choice.type == "tool" and choice.name not in names:
        raise _RefusedError(_invalid(f"Tool '{choice.name}' not found in provided tools"))


class _Turn:
    """Messages of one role in a row, which the API reads as one."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.blocks: list[_Block] = []


def _turns(messages: Sequence[_UserMessage | _AssistantMessage]) -> list[_Turn]:
    turns: list[_Turn] = []
    for message in messages:
        if not turns or turns[-1].role != message.role:
            turns.append(_Turn(message.role))
        if isinstance(message.content, str):
            turns[-1].blocks.append(_Text(type="text", text=message.content))
        else:
            turns[-1].blocks.extend(message.content)
    return turns


def _check_turns(turns: Sequence[_Turn]) -> None:
    if turns[0].role != "user":
        raise _RefusedError(_invalid('messages: first message must use the "user" role'))
    if turns[-1].role != "user":
        raise _RefusedError(
            _invalid(
                "This model does not support assistant message prefill. "
                "The conversation must end with a user message."
            )
        )
    seen: set[str] = set()
    called: list[str] = []
    for place, turn in enumerate(turns):
        if turn.role == "user":
            _check_results(place, turn, called)
        called = [block.id for block in turn.blocks if isinstance(block, _ToolUse)]
        if len(set(called)) != len(called) or seen & set(called):
            raise _RefusedError(_invalid(f"messages.{place}: `tool_use` ids must be unique"))
        seen.update(called)


def _check_results(place: int, turn: _Turn, called: Sequence[str]) -> None:
    answered = [block.tool_use_id for block in turn.blocks if isinstance(block, _ToolResult)]
    if missing := [call for call in called if call not in answered]:
        raise _RefusedError(
            _invalid(
                f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately "
                f"after: {', '.join(missing)}. Each `tool_use` block must have a corresponding "
                "`tool_result` block in the next message."
            )
        )
    if extra := [answer for answer in answered if answer not in called]:
        raise _RefusedError(
            _invalid(
                f"messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(extra)}."
            )
        )
    if len(set(answered)) != len(answered):
        raise _RefusedError(_invalid(f"messages.{place}: each tool_use must have a single result"))
    head = turn.blocks[: len(answered)]
    if not all(isinstance(block, _ToolResult) for block in head):
        raise _RefusedError(_invalid(f"messages.{place}: `tool_result` blocks must come first"))
