"""The Mistral API, simulated: https://docs.mistral.ai/api (Nov 2026)."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

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
from roomkit_plugins.testing.simulators.deviations import COMMON, Deviation, changed, json_bytes
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from roomkit_plugins.testing.simulators.mistral_requests import (
    MistralBody,
    MistralRefusedError,
    check_format,
    check_order,
    check_tools,
    invalid_request,
    mistral_failure,
    refused,
    thoughts,
    unprocessable,
)

DEFAULT_MODELS = ("mistral-large-latest", "magistral-medium-latest")
"""A model, and one that reasons."""

_CREATED = 1_795_359_845
_FINISH: Mapping[Finish, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "error",
    "refusal": "stop",
}


class MistralSimulator(AISimulator):
    """`/v1/chat/completions` and `/v1/models` of Mistral, on a free local port.

        async with MistralSimulator() as sim:
            sim.reply("Hello!")
            client = Mistral(api_key=sim.api_key, server_url=sim.base_url)

    Thoughts are checked as the vendor does: those that it signed come back unchanged.
    """

    vendor = "Mistral"

    def __init__(
        self,
        *,
        api_key: str = "sk-simulated",
        models: Sequence[str] = DEFAULT_MODELS,
        allow_unused: bool = False,
    ) -> None:
        super().__init__(api_key=api_key, allow_unused=allow_unused)
        self.models = tuple(models)
        self._signatures: dict[str, str] = {}  # bound: one test

    @property
    def base_url(self) -> str:
        """What to give the SDK as `server_url`."""
        return self.origin

    @property
    def failures(self) -> Mapping[ErrorCode, Failure]:
        """How Mistral reports each class of error."""
        return _FAILURES

    def refusal(self, request: ReceivedRequest) -> Failure | None:
        """Check a request as the vendor would; None for a good one."""
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            return self.failures[ErrorCode.AUTH]
        if request.path.startswith("/v1/models"):
            return None
        if (request.method, request.path) != ("POST", "/v1/chat/completions"):
            return Failure(404, {"message": "no Route matched with those values"})
        try:
            body = MistralBody.model_validate_json(request.body)
            if body.model not in self.models:
                return _invalid_model(body.model)
            check_tools(body)
            check_format(body)
            check_order(body.messages)
            self._check_thoughts(body)
        except ValidationError as error:
            return unprocessable(error)
        except MistralRefusedError as error:
            return error.failure
        return None

    async def handle_other(self, request: ReceivedRequest, exchange: Exchange) -> bool:
        """Answer `/v1/models` and `/v1/models/{id}`."""
        if not request.path.startswith("/v1/models"):
            return False
        name = request.path.removeprefix("/v1/models").strip("/")
        known = {model: {"id": model, "object": "model", "created": _CREATED} for model in self.models}
        if not name:
            await exchange.send_json(200, {"object": "list", "data": list(known.values())})
        elif name in known:
            await exchange.send_json(200, known[name])
        else:
            failure = _invalid_model(name)
            await exchange.send_json(404, failure.body)
        return True

    def document(self, request: ReceivedRequest, reply: Reply) -> object:
        """Write the whole answer."""
        content: Any = reply.whole_text
        if reply.thinking:
            content = [self._thought(thought) for thought in reply.thinking]
            content += [{"type": "text", "text": reply.whole_text}] if reply.whole_text else []
        message = {"role": "assistant", "content": content, "tool_calls": self._calls(reply) or None}
        choice = {"index": 0, "message": message, "finish_reason": _FINISH[reply.reason]}
        head = self._head(request, "chat.completion")
        return {**head, "choices": [choice], "usage": _usage(reply.usage)}

    def events(self, request: ReceivedRequest, reply: Reply) -> Iterator[bytes | asyncio.Event]:
        """Write the answer as a stream."""
        head = self._head(request, "chat.completion.chunk")

        def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
            usage = {"usage": _usage(reply.usage)} if finish else {}
            return _sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **usage})

        yield chunk({"role": "assistant", "content": ""})
        for thought in reply.thinking:
            yield from self._thought_events(thought, chunk)
        for text in reply.chunks:
            yield text if isinstance(text, asyncio.Event) else chunk({"content": text})
        last: dict[str, Any] = {"content": ""}
        if reply.tool_calls:
            last["tool_calls"] = self._calls(reply)
        yield chunk(last, _FINISH[reply.reason])
        yield b"data: [DONE]\n\n"

    def deviations(self, request: ReceivedRequest) -> Mapping[str, Deviation]:
        """Return how servers of this API deviate in what means the same."""
        return {**COMMON, **_DEVIATIONS}

    def error_event(self, failure: Failure) -> bytes:
        """Write an error as it is reported inside a stream."""
        return _sse(failure.body)

    def _head(self, request: ReceivedRequest, kind: str) -> dict[str, Any]:
        return {
            "id": self.new_id("cmpl-"),
            "object": kind,
            "created": _CREATED,
            "model": request.json()["model"],
        }

    def _calls(self, reply: Reply) -> list[dict[str, Any]]:
        return [self._call(index, call) for index, call in enumerate(reply.tool_calls)]

    def _call(self, index: int, call: ScriptedToolCall) -> dict[str, Any]:
        identity = call.id or self._nine()
        function = {"name": call.name, "arguments": call.json}
        return {"id": identity, "type": "function", "function": function, "index": index}

    def _nine(self) -> str:
        """Return an id of nine letters and digits, as the vendor's are."""
        number = int(self.new_id(""))
        return f"call{string.ascii_letters[number % 52]}{number:04d}"

    def _thought(self, thought: ScriptedThinking) -> dict[str, Any]:
        said = {"type": "thinking", "thinking": [{"type": "text", "text": thought.text}], "closed": True}
        if thought.signature is None:
            return said
        self._signatures[thought.signature] = thought.text
        return {**said, "signature": thought.signature}

    def _thought_events(
        self, thought: ScriptedThinking, chunk: Callable[[dict[str, Any]], bytes]
    ) -> Iterator[bytes]:
        whole = self._thought(thought)
        for piece in _pieces(thought.text):
            part = {"type": "thinking", "thinking": [{"type": "text", "text": piece}], "closed": False}
            yield chunk({"content": [part]})
        yield chunk({"content": [{**whole, "thinking": []}]})

    def _check_thoughts(self, body: MistralBody) -> None:
        for thought in thoughts(body.messages):
            if thought.signature is not None and self._signatures.get(thought.signature) != thought.text:
                raise refused("Invalid signature in thinking chunk")


_FAILURES = {
    ErrorCode.INVALID_REQUEST: invalid_request("Invalid request"),
    ErrorCode.CONTEXT_OVERFLOW: mistral_failure(
        400,
        "invalid_request_error",
        "Prompt contains 140000 tokens and 0 draft tokens, too large for model with 131072 maximum context "
        "length",
        "3051",
    ),
    ErrorCode.UNSUPPORTED_CONTENT: mistral_failure(
        400, "invalid_request_file", "Image could not be loaded as a valid image.", "3310"
    ),
    ErrorCode.AUTH: Failure(401, {"detail": "Unauthorized"}),
    ErrorCode.QUOTA: Failure(402, {"message": "You cannot be billed for this usage"}),
    ErrorCode.PERMISSION: Failure(403, {"message": "Forbidden"}),
    ErrorCode.NOT_FOUND: mistral_failure(400, "invalid_model", "Invalid model: mistral-none", "1500"),
    ErrorCode.TOO_LONG: Failure(413, {"message": "Request size limit exceeded"}),
    ErrorCode.RATE_LIMIT: mistral_failure(429, "rate_limited", "Rate limit exceeded", "1300"),
    ErrorCode.SERVER: mistral_failure(500, "internal_server_error", "Internal server error", "1000"),
    ErrorCode.OVERLOADED: mistral_failure(503, "service_unavailable", "Service unavailable", "1001"),
    ErrorCode.TIMEOUT: Failure(504, {"message": "The upstream server is timing out"}),
}


def _invalid_model(model: str) -> Failure:
    return mistral_failure(400, "invalid_model", f"Invalid model: {model}", "1500")


def _usage(usage: ScriptedUsage | None) -> dict[str, Any]:
    counted = usage or ScriptedUsage()
    prompt = counted.input + counted.cache_read + counted.cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": counted.output,
        "total_tokens": prompt + counted.output,
        "prompt_tokens_details": {"cached_tokens": counted.cache_read},
    }


def _pieces(text: str) -> list[str]:
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


def _sse(data: object) -> bytes:
    return b"data: " + json_bytes(data) + b"\n\n"


def _in_chunks(content: Any) -> Any:
    return [{"type": "text", "text": content}, None] if isinstance(content, str) else content


def _calls_with(**fields: object) -> Callable[[Any], Any]:
    def rewrite(calls: Any) -> Any:
        return [{**call, **fields} for call in calls or ()]

    return changed("tool_calls", rewrite)


_DEVIATIONS: Mapping[str, Deviation] = {
    "null choices": Deviation(before=_sse({"choices": None, "usage": None})),
    "null delta": Deviation(before=_sse({"choices": [{"index": 0, "delta": None}]})),
    "null fields": Deviation(
        before=_sse({"choices": [{"delta": {"content": None, "tool_calls": None}, "finish_reason": None}]})
    ),
    "empty reasons": Deviation(changed("finish_reason", lambda reason: reason or "")),
    "ended by [DONE] alone": Deviation(changed("finish_reason", lambda reason: None)),
    "content in chunks": Deviation(changed("content", _in_chunks)),
    "ids that are null": Deviation(_calls_with(id="null")),
    "no index of calls": Deviation(_calls_with(index=None)),
}
