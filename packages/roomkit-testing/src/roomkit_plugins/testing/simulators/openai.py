"""The OpenAI API, simulated: Chat Completions, Responses, and a vLLM server's dialect of them.

https://developers.openai.com/api/reference and https://docs.vllm.ai (Nov 2026).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import ValidationError

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
from roomkit_plugins.testing.simulators.deviations import COMMON, Deviation
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from roomkit_plugins.testing.simulators.openai_deviations import (
    CHAT_DEVIATIONS,
    RESPONSES_DEVIATIONS,
    deviations_of_whole_calls,
    sse,
)
from roomkit_plugins.testing.simulators.openai_requests import (
    ChatBody,
    FunctionCallItem,
    FunctionCallOutputItem,
    OpenAIRefusedError,
    ReasoningItem,
    ResponsesBody,
    VLLMBody,
    check_chat_order,
    check_choice,
    check_counted,
    check_format,
    first_problem,
    openai_failure,
    refused,
    unsupported,
)

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
                case "POST", "/v1/responses/input_tokens":
                    self.check_responses(request)
                    check_counted(request.json())
                case _:
                    return openai_failure(404, "Invalid URL", code="unknown_url")
        except ValidationError as error:
            return first_problem(error)
        except OpenAIRefusedError as error:
            return error.failure
        return None

    async def handle_other(self, request: ReceivedRequest, exchange: Exchange) -> bool:
        """Answer `/v1/models` and `/v1/models/{id}`."""
        if request.path == "/v1/responses/input_tokens":
            await self.send_count(request, exchange, "input_tokens", object="response.input_tokens")
            return True
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
            return {**COMMON, **RESPONSES_DEVIATIONS}
        return {**COMMON, **CHAT_DEVIATIONS, **deviations_of_whole_calls()}

    def error_event(self, failure: Failure) -> bytes:
        """Write an error as it is reported inside a stream."""
        return sse(failure.body)

    # Chat Completions

    def check_chat(self, request: ReceivedRequest) -> None:
        """Check a chat request. Raises ValidationError or a refusal."""
        body = ChatBody.model_validate_json(request.body)
        self._check_model(body.model)
        if _reasons(body.model):
            if body.max_tokens is not None:
                raise unsupported("max_tokens", "Use 'max_completion_tokens' instead.")
            if body.temperature not in (None, 1):
                raise unsupported("temperature", "Only the default (1) value is supported.")
            if body.stop:
                raise unsupported("stop", "")
        elif body.reasoning_effort is not None:
            raise unsupported("reasoning_effort", "")
        if body.stream_options is not None and not body.stream:
            raise refused(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                "stream_options",
            )
        check_format(body)
        check_choice([tool.function.name for tool in body.tools], body.tool_choice)
        check_chat_order(body.messages)

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
            return sse({**head, "choices": [choice], **extra})

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
            yield sse({**head, "choices": [], "usage": _chat_usage(reply.usage)})
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
        body = ResponsesBody.model_validate_json(request.body)
        self._check_model(body.model)
        if _reasons(body.model):
            if body.temperature not in (None, 1):
                raise unsupported("temperature", "")
        elif body.reasoning is not None:
            raise unsupported("reasoning.effort", "")
        check_format(body)
        check_choice([tool.name for tool in body.tools], body.tool_choice)
        if not isinstance(body.input, str):
            self._check_items(body)

    def _check_items(self, body: ResponsesBody) -> None:
        called: dict[str, bool] = {}
        items = body.input
        for place, item in enumerate(items):
            match item:
                case FunctionCallItem(call_id=call):
                    if call in called:
                        raise refused(f"Duplicate function call id {call}.", "input")
                    called[call] = False
                case FunctionCallOutputItem(call_id=call):
                    if called.get(call) is not False:
                        raise refused(
                            f"No tool call found for function call output with call_id {call}.", "input"
                        )
                    called[call] = True
                case ReasoningItem():
                    self._check_reasoning(item, followed=place + 1 < len(items))
        if missing := [call for call, answered in called.items() if not answered]:
            raise refused(f"No tool output found for function call {missing[0]}.", "input")

    def _check_reasoning(self, item: ReasoningItem, *, followed: bool) -> None:
        known = self._reasoning.get(item.id)
        if known is None:
            raise refused(f"Item with id '{item.id}' not found.", "input")
        if item.encrypted_content != known["encrypted_content"] or (
            [part.model_dump() for part in item.summary] != known["summary"]
        ):
            raise refused("The encrypted content could not be verified.", "input")
        if not followed:
            raise refused(
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
            return f"event: {name}\n".encode() + sse(data)

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
            raise OpenAIRefusedError(self.failures[ErrorCode.NOT_FOUND])


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
            body = VLLMBody.model_validate_json(request.body)
            self._check_model(body.model)
            check_chat_order(body.messages)
        except ValidationError as error:
            return _vllm_error(400, str(error), "BadRequestError")
        except OpenAIRefusedError as error:
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


_FAILURES = {
    ErrorCode.INVALID_REQUEST: openai_failure(400, "Invalid value", param="messages", code="invalid_value"),
    ErrorCode.CONTEXT_OVERFLOW: openai_failure(
        400,
        "This model's maximum context length is 128000 tokens.",
        param="messages",
        code="context_length_exceeded",
    ),
    ErrorCode.UNSUPPORTED_CONTENT: openai_failure(
        400, "You uploaded an unsupported image.", param="messages", code="invalid_image_format"
    ),
    ErrorCode.CONTENT_FILTER: openai_failure(400, "The prompt was filtered.", code="content_filter"),
    ErrorCode.AUTH: openai_failure(401, "Incorrect API key provided.", code="invalid_api_key"),
    ErrorCode.PERMISSION: openai_failure(403, "Country not supported", code="unsupported_country_region"),
    ErrorCode.NOT_FOUND: openai_failure(404, "The model does not exist", code="model_not_found"),
    ErrorCode.RATE_LIMIT: openai_failure(
        429, "Rate limit reached", kind="requests", code="rate_limit_exceeded"
    ),
    ErrorCode.QUOTA: openai_failure(
        429, "You exceeded your current quota", kind="insufficient_quota", code="insufficient_quota"
    ),
    ErrorCode.SERVER: openai_failure(500, "The server had an error", kind="server_error"),
    ErrorCode.OVERLOADED: openai_failure(503, "The engine is overloaded", kind="server_error"),
    ErrorCode.TIMEOUT: openai_failure(504, "Gateway timeout", kind="server_error"),
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
