"""The OpenAI API, simulated: Chat Completions, Responses, and a vLLM server's dialect of them.

https://developers.openai.com/api/reference and https://docs.vllm.ai (Nov 2026).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.testing.simulators.ai import (
    AISimulator,
    Failure,
    Finish,
    Reply,
    ScriptedThinking,
    ScriptedToolCall,
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

DEFAULT_MODELS = ("gpt-5.5", "gpt-4.1")
"""A reasoning model, and one that is not."""

_REASONING = ("gpt-5", "gpt-6", "o1", "o3", "o4")
_CREATED = 1_795_359_845

_CHAT_FINISH: Mapping[Finish, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
}


class OpenAISimulator(AISimulator):
    """`/v1/chat/completions`, `/v1/responses` and `/v1/models` of OpenAI, on a free local port.

        async with OpenAISimulator() as sim:
            sim.reply("Hello!")
            client = openai.AsyncOpenAI(api_key=sim.api_key, base_url=sim.base_url)

    Reasoning items are checked as the vendor does: an item comes back as it was given out.
    """

    vendor = "OpenAI"
    reasoning_field: ClassVar[str | None] = None
    """Where a chat answer holds its reasoning; OpenAI's holds none."""

    def __init__(
        self,
        *,
        api_key: str = "sk-simulated",
        models: Sequence[str] = DEFAULT_MODELS,
        allow_unused: bool = False,
    ) -> None:
        super().__init__(api_key=api_key, allow_unused=allow_unused)
        self.models = tuple(models)
        self._reasoning: dict[str, dict[str, Any]] = {}  # bound: one test

    @property
    def base_url(self) -> str:
        """What to give the SDK as `base_url`."""
        return f"{self.origin}/v1"

    @property
    def failures(self) -> Mapping[ErrorCode, Failure]:
        """How OpenAI reports each class of error."""
        return _FAILURES

    def headers(self) -> dict[str, str]:
        """Return the headers of a good answer."""
        return {"x-request-id": self.new_id("req_")}

    def refusal(self, request: ReceivedRequest) -> Failure | None:
        """Check a request as the vendor would; None for a good one."""
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            return self.failures[ErrorCode.AUTH]
        if request.path.startswith("/v1/models"):
            return None
        try:
            match request.method, request.path:
                case "POST", "/v1/chat/completions":
                    self.check_chat(request)
                case "POST", "/v1/responses":
                    self.check_responses(request)
                case _:
                    return _error(404, "Invalid URL", code="unknown_url")
        except ValidationError as error:
            return _first(error)
        except _RefusedError as error:
            return error.failure
        return None

    async def handle_other(self, request: ReceivedRequest, exchange: Exchange) -> bool:
        """Answer `/v1/models` and `/v1/models/{id}`."""
        if not request.path.startswith("/v1/models"):
            return False
        name = request.path.removeprefix("/v1/models").strip("/")
        known = [
            {"id": model, "object": "model", "created": _CREATED, "owned_by": self.vendor}
            for model in self.models
        ]
        if not name:
            await exchange.send_json(200, {"object": "list", "data": known}, self.headers())
        elif name in self.models:
            await exchange.send_json(200, known[self.models.index(name)], self.headers())
        else:
            failure = self.failures[ErrorCode.NOT_FOUND]
            await exchange.send_json(failure.status, failure.body, self.headers())
        return True

    def document(self, request: ReceivedRequest, reply: Reply) -> object:
        """Write the whole answer."""
        if request.path.endswith("/responses"):
            return self._response(request, reply, self._items(reply))
        return self._completion(request, reply)

    def events(self, request: ReceivedRequest, reply: Reply) -> Iterator[bytes | asyncio.Event]:
        """Write the answer as a stream."""
        if request.path.endswith("/responses"):
            yield from self._response_events(request, reply)
        else:
            yield from self._chunks(request, reply)

    def deviations(self, request: ReceivedRequest) -> Mapping[str, Deviation]:
        """Return how servers of the API that is asked deviate in what means the same."""
        if request.path.endswith("/responses"):
            return {**COMMON, **_RESPONSES_DEVIATIONS}
        return {**COMMON, **_CHAT_DEVIATIONS, **_deviations_of_whole_calls()}

    def error_event(self, failure: Failure) -> bytes:
        """Write an error as it is reported inside a stream."""
        return _sse(failure.body)

    # Chat Completions

    def check_chat(self, request: ReceivedRequest) -> None:
        """Check a chat request. Raises ValidationError or a refusal."""
        body = _ChatBody.model_validate_json(request.body)
        self._check_model(body.model)
        if _reasons(body.model):
            if body.max_tokens is not None:
                raise _unsupported("max_tokens", "Use 'max_completion_tokens' instead.")
            if body.temperature not in (None, 1):
                raise _unsupported("temperature", "Only the default (1) value is supported.")
            if body.stop:
                raise _unsupported("stop", "")
        elif body.reasoning_effort is not None:
            raise _unsupported("reasoning_effort", "")
        if body.stream_options is not None and not body.stream:
            raise _refused(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                "stream_options",
            )
        _check_choice([tool.function.name for tool in body.tools], body.tool_choice)
        _check_chat_order(body.messages)

    def _completion(self, request: ReceivedRequest, reply: Reply) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": reply.whole_text or None}
        if reply.finish == "refusal":
            message |= {"content": None, "refusal": reply.whole_text}
        if reply.tool_calls:
            message["tool_calls"] = [self._chat_call(call) for call in reply.tool_calls]
        if self.reasoning_field and reply.thinking:
            message[self.reasoning_field] = "".join(thought.text for thought in reply.thinking)
        return {
            **self._chat_head(request, "chat.completion"),
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "finish_reason": _CHAT_FINISH[reply.reason],
                    "logprobs": None,
                }
            ],
            "usage": _chat_usage(reply.usage),
        }

    def _chunks(self, request: ReceivedRequest, reply: Reply) -> Iterator[bytes | asyncio.Event]:
        head = self._chat_head(request, "chat.completion.chunk")
        wants_usage = (request.json().get("stream_options") or {}).get("include_usage")
        extra = {"usage": None} if wants_usage else {}

        def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
            return _sse({**head, "choices": [choice], **extra})

        yield chunk({"role": "assistant", "content": ""})
        if self.reasoning_field:
            for thought in reply.thinking:
                for piece in _pieces(thought.text):
                    yield chunk({self.reasoning_field: piece})
        for text in reply.chunks:
            if isinstance(text, asyncio.Event):
                yield text
            else:
                yield chunk({"refusal" if reply.finish == "refusal" else "content": text})
        for index, call in enumerate(reply.tool_calls):
            whole = self._chat_call(call)
            first = {**whole, "function": {**whole["function"], "arguments": ""}}
            yield chunk({"tool_calls": [{"index": index, **first}]})
            for piece in _pieces(call.json):
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield chunk({}, _CHAT_FINISH[reply.reason])
        if wants_usage:
            yield _sse({**head, "choices": [], "usage": _chat_usage(reply.usage)})
        yield b"data: [DONE]\n\n"

    def _chat_call(self, call: ScriptedToolCall) -> dict[str, Any]:
        return {
            "id": self.new_id("call_") if call.id is None else call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.json},
        }

    def _chat_head(self, request: ReceivedRequest, kind: str) -> dict[str, Any]:
        model = request.json()["model"]
        return {"id": self.new_id("chatcmpl-"), "object": kind, "created": _CREATED, "model": model}

    # Responses

    def check_responses(self, request: ReceivedRequest) -> None:
        """Check a Responses request. Raises ValidationError or a refusal."""
        body = _ResponsesBody.model_validate_json(request.body)
        self._check_model(body.model)
        if _reasons(body.model):
            if body.temperature not in (None, 1):
                raise _unsupported("temperature", "")
        elif body.reasoning is not None:
            raise _unsupported("reasoning.effort", "")
        _check_choice([tool.name for tool in body.tools], body.tool_choice)
        if not isinstance(body.input, str):
            self._check_items(body)

    def _check_items(self, body: _ResponsesBody) -> None:
        called: dict[str, bool] = {}
        items = body.input
        for place, item in enumerate(items):
            match item:
                case _FunctionCall(call_id=call):
                    if call in called:
                        raise _refused(f"Duplicate function call id {call}.", "input")
                    called[call] = False
                case _FunctionCallOutput(call_id=call):
                    if called.get(call) is not False:
                        raise _refused(
                            f"No tool call found for function call output with call_id {call}.", "input"
                        )
                    called[call] = True
                case _ReasoningItem():
                    self._check_reasoning(item, followed=place + 1 < len(items))
        if missing := [call for call, answered in called.items() if not answered]:
            raise _refused(f"No tool output found for function call {missing[0]}.", "input")

    def _check_reasoning(self, item: _ReasoningItem, *, followed: bool) -> None:
        known = self._reasoning.get(item.id)
        if known is None:
            raise _refused(f"Item with id '{item.id}' not found.", "input")
        if item.encrypted_content != known["encrypted_content"] or (
            [part.model_dump() for part in item.summary] != known["summary"]
        ):
            raise _refused("The encrypted content could not be verified.", "input")
        if not followed:
            raise _refused(
                f"Item '{item.id}' of type 'reasoning' was provided without its required following item.",
                "input",
            )

    def _items(self, reply: Reply) -> list[dict[str, Any]]:
        items = [self._reasoning_item(thought) for thought in reply.thinking]
        if reply.whole_text:
            part: dict[str, Any] = {"type": "output_text", "text": reply.whole_text, "annotations": []}
            if reply.finish == "refusal":
                part = {"type": "refusal", "refusal": reply.whole_text}
            items.append(
                {
                    "type": "message",
                    "id": self.new_id("msg_"),
                    "role": "assistant",
                    "status": "completed",
                    "content": [part],
                }
            )
        return [*items, *(self._function_call(call) for call in reply.tool_calls)]

    def _function_call(self, call: ScriptedToolCall) -> dict[str, Any]:
        return {
            "type": "function_call",
            "id": self.new_id("fc_"),
            "call_id": self.new_id("call_") if call.id is None else call.id,
            "name": call.name,
            "arguments": call.json,
            "status": "completed",
        }

    def _reasoning_item(self, thought: ScriptedThinking) -> dict[str, Any]:
        identity = self.new_id("rs_")
        item = {
            "type": "reasoning",
            "id": identity,
            "summary": [{"type": "summary_text", "text": thought.text}] if thought.text else [],
            "encrypted_content": thought.signature or thought.redacted_data or f"enc-{identity}",
        }
        self._reasoning[identity] = item
        return item

    def _response(
        self, request: ReceivedRequest, reply: Reply, output: list[dict[str, Any]]
    ) -> dict[str, Any]:
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        reason = reasons.get(reply.reason)
        return {
            "id": self.new_id("resp_"),
            "object": "response",
            "created_at": _CREATED,
            "model": request.json()["model"],
            "status": "incomplete" if reason else "completed",
            "incomplete_details": {"reason": reason} if reason else None,
            "error": None,
            "output": output,
            "usage": _response_usage(reply.usage),
        }

    def _response_events(self, request: ReceivedRequest, reply: Reply) -> Iterator[bytes | asyncio.Event]:
        items = self._items(reply)
        final = self._response(request, reply, items)
        number = 0

        def event(name: str, **fields: object) -> bytes:
            nonlocal number
            number += 1
            data = {"type": name, "sequence_number": number, **fields}
            return f"event: {name}\n".encode() + _sse(data)

        begun = {**final, "status": "in_progress", "output": [], "usage": None}
        yield event("response.created", response=begun)
        yield event("response.in_progress", response=begun)
        for index, item in enumerate(items):
            place = {"output_index": index, "item_id": item["id"]}
            yield event("response.output_item.added", output_index=index, item=_begun(item))
            for name, fields in _item_events(item, reply):
                if isinstance(fields, asyncio.Event):
                    yield fields
                else:
                    yield event(name, **place, **fields)
            yield event("response.output_item.done", output_index=index, item=item)
        yield event(f"response.{final['status']}", response=final)

    def _check_model(self, model: str) -> None:
        if model not in self.models:
            raise _RefusedError(self.failures[ErrorCode.NOT_FOUND])


class VLLMSimulator(OpenAISimulator):
    """A vLLM server: the chat API with reasoning in its own field, and errors in its own words.

    It takes any key unless `api_key` is given, ignores fields it does not know, as the server does,
    and has no Responses API here.
    """

    vendor = "vLLM"
    reasoning_field = "reasoning"

    def __init__(
        self,
        *,
        api_key: str = "",
        models: Sequence[str] = ("qwen/qwen3-8b",),
        allow_unused: bool = False,
    ) -> None:
        super().__init__(api_key=api_key, models=models, allow_unused=allow_unused)

    @property
    def failures(self) -> Mapping[ErrorCode, Failure]:
        """How vLLM reports each class of error."""
        return _VLLM_FAILURES

    def refusal(self, request: ReceivedRequest) -> Failure | None:
        """Check a request as the server would; None for a good one."""
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return self.failures[ErrorCode.AUTH]
        if request.path.startswith("/v1/models") or request.path == "/health":
            return None
        if (request.method, request.path) != ("POST", "/v1/chat/completions"):
            return Failure(404, {"detail": "Not Found"})
        try:
            body = _VLLMBody.model_validate_json(request.body)
            self._check_model(body.model)
            _check_chat_order(body.messages)
        except ValidationError as error:
            return _vllm_error(400, str(error), "BadRequestError")
        except _RefusedError as error:
            refused = error.failure
            if refused.status == 404:
                return refused
            return _vllm_error(400, str(refused.body["error"]["message"]), "BadRequestError")
        return None

    async def handle_other(self, request: ReceivedRequest, exchange: Exchange) -> bool:
        """Answer `/health` and the list of models."""
        if request.path == "/health":
            await exchange.send_bytes(200, b"")
            return True
        return await super().handle_other(request, exchange)


class _RefusedError(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.body)
        self.failure = failure


def _error(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> Failure:
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Failure(status, body, {"x-request-id": "req_simulated"})


def _refused(message: str, param: str, *, code: str | None = None) -> _RefusedError:
    return _RefusedError(_error(400, message, param=param, code=code))


def _unsupported(param: str, hint: str) -> _RefusedError:
    message = f"Unsupported parameter: '{param}' is not supported with this model. {hint}".strip()
    return _refused(message, param, code="unsupported_parameter")


def _first(error: ValidationError) -> Failure:
    # Of a union that does not fit, report the member that fitted furthest.
    first = max(error.errors(include_url=False), key=lambda problem: len(problem["loc"]))
    place = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    if first["type"] == "extra_forbidden":
        return _error(400, f"Unknown parameter: '{place}'.", param=place, code="unknown_parameter")
    if first["type"] == "missing":
        return _error(
            400,
            f"Missing required parameter: '{place}'.",
            param=place,
            code="missing_required_parameter",
        )
    return _error(400, f"Invalid '{place}': {first['msg']}", param=place, code="invalid_value")


_FAILURES = {
    ErrorCode.INVALID_REQUEST: _error(400, "Invalid value", param="messages", code="invalid_value"),
    ErrorCode.CONTEXT_OVERFLOW: _error(
        400,
        "This model's maximum context length is 128000 tokens.",
        param="messages",
        code="context_length_exceeded",
    ),
    ErrorCode.UNSUPPORTED_CONTENT: _error(
        400, "You uploaded an unsupported image.", param="messages", code="invalid_image_format"
    ),
    ErrorCode.CONTENT_FILTER: _error(400, "The prompt was filtered.", code="content_filter"),
    ErrorCode.AUTH: _error(401, "Incorrect API key provided.", code="invalid_api_key"),
    ErrorCode.PERMISSION: _error(403, "Country not supported", code="unsupported_country_region"),
    ErrorCode.NOT_FOUND: _error(404, "The model does not exist", code="model_not_found"),
    ErrorCode.RATE_LIMIT: _error(429, "Rate limit reached", kind="requests", code="rate_limit_exceeded"),
    ErrorCode.QUOTA: _error(
        429, "You exceeded your current quota", kind="insufficient_quota", code="insufficient_quota"
    ),
    ErrorCode.SERVER: _error(500, "The server had an error", kind="server_error"),
    ErrorCode.OVERLOADED: _error(503, "The engine is overloaded", kind="server_error"),
    ErrorCode.TIMEOUT: _error(504, "Gateway timeout", kind="server_error"),
}


def _vllm_error(status: int, message: str, kind: str) -> Failure:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return Failure(status, {"error": error})


_VLLM_FAILURES = {
    ErrorCode.INVALID_REQUEST: _vllm_error(400, "Invalid value", "BadRequestError"),
    ErrorCode.AUTH: Failure(401, {"error": "Unauthorized"}),
    ErrorCode.NOT_FOUND: _vllm_error(404, "The model does not exist.", "NotFoundError"),
    ErrorCode.SERVER: _vllm_error(500, "Internal server error", "InternalServerError"),
    ErrorCode.OVERLOADED: _vllm_error(503, "Engine is not ready", "ServiceUnavailableError"),
}


def _reasons(model: str) -> bool:
    return model.startswith(_REASONING)


def _pieces(text: str) -> list[str]:
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


def _sse(data: object) -> bytes:
    return b"data: " + json_bytes(data) + b"\n\n"


def _chat_usage(usage: ScriptedUsage | None) -> dict[str, Any]:
    counted = usage or ScriptedUsage()
    prompt = counted.input + counted.cache_read + counted.cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": counted.output,
        "total_tokens": prompt + counted.output,
        "prompt_tokens_details": {
            "cached_tokens": counted.cache_read,
            "cache_write_tokens": counted.cache_write,
        },
        "completion_tokens_details": {"reasoning_tokens": counted.reasoning},
    }


def _response_usage(usage: ScriptedUsage | None) -> dict[str, Any]:
    chat = _chat_usage(usage)
    return {
        "input_tokens": chat["prompt_tokens"],
        "output_tokens": chat["completion_tokens"],
        "total_tokens": chat["total_tokens"],
        "input_tokens_details": chat["prompt_tokens_details"],
        "output_tokens_details": chat["completion_tokens_details"],
    }


def _begun(item: dict[str, Any]) -> dict[str, Any]:
    """Write an item as it stands before its content comes."""
    match item["type"]:
        case "message":
            return {**item, "status": "in_progress", "content": []}
        case "function_call":
            return {**item, "status": "in_progress", "arguments": ""}
    return {**item, "summary": []}


def _item_events(item: dict[str, Any], reply: Reply) -> Iterator[tuple[str, dict[str, Any] | asyncio.Event]]:
    match item["type"]:
        case "message":
            yield from _message_events(reply)
        case "function_call":
            for piece in _pieces(item["arguments"]):
                yield "response.function_call_arguments.delta", {"delta": piece}
            yield "response.function_call_arguments.done", {"arguments": item["arguments"]}
        case _:
            for index, part in enumerate(item["summary"]):
                place = {"summary_index": index}
                yield "response.reasoning_summary_part.added", {**place, "part": {**part, "text": ""}}
                for piece in _pieces(part["text"]):
                    yield "response.reasoning_summary_text.delta", {**place, "delta": piece}
                yield "response.reasoning_summary_text.done", {**place, "text": part["text"]}


def _message_events(reply: Reply) -> Iterator[tuple[str, dict[str, Any] | asyncio.Event]]:
    kind = "refusal" if reply.finish == "refusal" else "output_text"
    place = {"content_index": 0}
    yield "response.content_part.added", {**place, "part": {"type": kind}}
    for chunk in reply.chunks:
        if isinstance(chunk, asyncio.Event):
            yield "", chunk
        else:
            yield f"response.{kind}.delta", {**place, "delta": chunk}
    word = "refusal" if kind == "refusal" else "text"
    yield f"response.{kind}.done", {**place, word: reply.whole_text}


def _in_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}, None] if isinstance(content, str) else content


def _calls(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Any], Any]:
    return changed("tool_calls", lambda calls: [change(call) for call in calls])


def _deviations_of_whole_calls() -> dict[str, Deviation]:
    """Return the ways to send each call whole. Each collects the fragments of one stream."""
    return {
        "whole calls under index 0": Deviation(_WholeCalls(lambda call: {**call, "index": 0})),
        "whole calls under null": Deviation(_WholeCalls(lambda call: {**call, "index": None})),
        "whole calls without ids": Deviation(_WholeCalls(lambda call: {**call, "index": 0, "id": None})),
    }


class _WholeCalls:
    """Rewrites the fragments of a chat stream's calls to whole calls, sent before the stream ends."""

    def __init__(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._change = change
        self._calls: dict[int, dict[str, Any]] = {}  # bound: one answer

    def __call__(self, value: Any) -> Any:
        choices = value.get("choices") or [{}]
        fragments = (choices[0].get("delta") or {}).get("tool_calls")
        if fragments:
            for fragment in fragments:
                call = self._calls.setdefault(fragment["index"], fragment)
                if call is not fragment:
                    call["function"]["arguments"] += fragment["function"]["arguments"]
            return None
        if choices[0].get("finish_reason") and self._calls:
            whole = [self._change(call) for call in self._calls.values()]
            self._calls = {}
            choices[0]["delta"] = {"tool_calls": whole}
        return value


def _deviations_of_chat() -> dict[str, Deviation]:
    def reasons(value: object) -> Callable[[Any], Any]:
        return changed("finish_reason", lambda reason: value)

    return {
        "null choices": Deviation(before=_sse({"choices": None, "usage": None})),
        "no choices": Deviation(before=_sse({"id": "x", "choices": []})),
        "null delta": Deviation(before=_sse({"choices": [{"index": 0, "delta": None}]})),
        "null fields": Deviation(
            before=_sse(
                {"choices": [{"delta": {"content": None, "tool_calls": None}, "finish_reason": None}]}
            )
        ),
        "ended by [DONE] alone": Deviation(reasons(None)),
        "empty reasons": Deviation(changed("finish_reason", lambda reason: reason or "")),
        "only empty reasons": Deviation(reasons("")),
        "content in parts": Deviation(changed("content", _in_parts)),
        "no index of calls": Deviation(_calls(lambda call: {k: v for k, v in call.items() if k != "index"})),
    }


_CHAT_DEVIATIONS = _deviations_of_chat()


def _without_the_end(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return None if event.get("type") == "response.completed" else event


_RESPONSES_DEVIATIONS: Mapping[str, Deviation] = {
    "no status": Deviation(without("status")),
    "empty status": Deviation(changed("status", lambda status: "")),
    "null details": Deviation(without("incomplete_details")),
    "null deltas": Deviation(before=_sse({"type": "response.output_text.delta", "delta": None})),
    "null item": Deviation(before=_sse({"type": "response.output_item.done", "item": None})),
    "null summary": Deviation(changed("summary", lambda summary: summary or None)),
    "ended by [DONE]": Deviation(_without_the_end, after=DONE),
}


# The request bodies. A field that is not here is refused, as the vendor refuses it.


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


class _StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class _ChatBody(_Strict):
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
    response_format: JsonValue = None
    seed: int | None = None
    top_p: float | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None


class _VLLMBody(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    model: str
    messages: Annotated[list[_VLLMMessage], Field(min_length=1)]
    tools: list[_ChatTool] = Field(default_factory=list)
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None


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


class _FunctionCall(_Strict):
    type: Literal["function_call"]
    call_id: Annotated[str, Field(min_length=1, max_length=64)]
    name: _ToolName
    arguments: str
    id: Annotated[str, Field(pattern=r"^fc_")] | None = None
    status: str | None = None


class _FunctionCallOutput(_Strict):
    type: Literal["function_call_output"]
    call_id: Annotated[str, Field(min_length=1, max_length=64)]
    output: str


class _Summary(_Strict):
    type: Literal["summary_text"]
    text: str


class _ReasoningItem(_Strict):
    type: Literal["reasoning"]
    id: str
    summary: list[_Summary]
    encrypted_content: str | None = None
    content: list[JsonValue] | None = None
    status: str | None = None


type _Item = _InputMessage | _OutputMessage | _FunctionCall | _FunctionCallOutput | _ReasoningItem


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
    format: JsonValue = None


class _ResponsesBody(_Strict):
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


def _check_choice(names: Sequence[str], choice: JsonValue) -> None:
    if choice is None:
        return
    if not names:
        raise _refused("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise _refused(f"Invalid value: '{choice}'.", "tool_choice", code="invalid_value")
        return
    function = choice.get("function", choice) if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if name not in names:
        raise _refused(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")


def _check_chat_order(messages: Sequence[Any]) -> None:
    seen: set[str] = set()
    expected: list[str] = []
    for place, message in enumerate(messages):
        param = f"messages.[{place}].role"
        if isinstance(message, _ToolMessage):
            if message.tool_call_id not in expected:
                raise _refused(
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
            raise _refused("Duplicate value for 'tool_call_id'.", param)
        seen.update(expected)
    _check_all_answered(expected, "messages")


def _check_all_answered(expected: Sequence[str], param: str) -> None:
    if expected:
        raise _refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(expected),
            param,
        )
