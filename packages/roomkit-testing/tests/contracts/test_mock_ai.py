"""The contract of AI providers, kept by `MockAIProvider`, which a simulator without a server scripts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.authoring.conversation import labelled
from roomkit.models.ai import AIImagePart, AIMessage, AIPart, AIThinkingPart, AIToolCall
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.values import repaired
from roomkit_plugins.testing.contracts.ai_provider import AIProviderContract
from roomkit_plugins.testing.mocks.ai import MockAIProvider, Piece, asked
from roomkit_plugins.testing.simulators.ai import (
    AISimulator,
    FailMidStream,
    Failure,
    NeverAnswer,
    Reply,
    ScriptedToolCall,
    ScriptedUsage,
)
from roomkit_plugins.testing.simulators.http import ReceivedRequest

_STATUSES = {
    ErrorCode.AUTH: 401,
    ErrorCode.PERMISSION: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.CONTEXT_OVERFLOW: 400,
    ErrorCode.RATE_LIMIT: 429,
    ErrorCode.QUOTA: 402,
    ErrorCode.OVERLOADED: 529,
    ErrorCode.SERVER: 500,
}


class MockVendor(AISimulator):
    """Answers the calls of the providers that `provider` makes, without a server.

    A request is what a provider that passed the context on would send. Texts are streamed in the chunks of
    the reply, those with tool calls or thoughts in pieces of five characters.
    """

    vendor = "mock"

    def __init__(self, *, vision: bool) -> None:
        super().__init__()
        self._vision = vision

    async def __aenter__(self) -> Self:
        """Start nothing: there is no server. Leaving checks that every reply was asked for."""
        return self

    def provider(self) -> MockAIProvider:
        """Make a mock that this vendor scripts."""
        return MockAIProvider([self._respond], streaming=True, chunk_size=5, vision=self._vision)

    @property
    def base_url(self) -> str:
        """Nothing: there is no server."""
        return ""

    @property
    def failures(self) -> Mapping[ErrorCode, Failure]:
        """Each class of error that a vendor reports; its body names it."""
        return {code: Failure(status, {"error": code.value}) for code, status in _STATUSES.items()}

    async def _respond(self, context: AIContext) -> AIResponse | Exception | Sequence[Piece]:
        request = ReceivedRequest(
            "POST", "/", {}, {}, json.dumps(_body(context, vision=self._vision)).encode()
        )
        self.requests.append(request)
        async with self._arrived:
            self._arrived.notify_all()
        reply = self._next(request)
        match reply.fault:
            case Failure(status, body):
                return _failure(ErrorCode(body["error"]), status)
            case FailMidStream(code, after):
                pieces: list[Piece] = [*reply.chunks[:after]]
                return [*pieces, _failure(code, self.failures[code].status)]
            case NeverAnswer():
                await _silence(request)
        if reply.tool_calls or reply.thinking or isinstance(reply.text, str):
            return self._response(reply)
        return list(reply.chunks)

    def _response(self, reply: Reply) -> AIResponse:
        parts = [AIThinkingPart(thinking=t.text, signature=t.signature) for t in reply.thinking]
        return AIResponse(
            content=reply.whole_text,
            thinking_parts=parts,
            tool_calls=[self._call(call) for call in reply.tool_calls],
            finish_reason=reply.finish,
            usage=_usage(reply.usage or ScriptedUsage()),
        )

    def _call(self, call: ScriptedToolCall) -> AIToolCall:
        call_id = call.id or self.new_id("call_")
        try:
            arguments = _repaired(json.loads(call.json))
        except ValueError as error:
            return AIToolCall(id=call_id, name=call.name, arguments={"raw": call.json}, invalid=str(error))
        return AIToolCall(id=call_id, name=call.name, arguments=arguments)

    def refusal(self, request: ReceivedRequest) -> Failure | None:
        """Refuse nothing: the mock itself does."""
        return None

    def document(self, request: ReceivedRequest, reply: Reply) -> object:
        """Raise: nothing is sent over a wire."""
        raise NotImplementedError

    def events(self, request: ReceivedRequest, reply: Reply) -> Iterator[bytes | asyncio.Event]:
        """Raise: nothing is sent over a wire."""
        raise NotImplementedError

    def error_event(self, failure: Failure) -> bytes:
        """Raise: nothing is sent over a wire."""
        raise NotImplementedError


def _body(context: AIContext, *, vision: bool) -> dict[str, Any]:
    """Write a context as JSON, with the defaults left out."""
    checked = asked(context, vision=vision)
    schema = context.response_schema
    body: dict[str, Any] = {
        "system": checked.system,
        "messages": [_message(message) for message in checked.messages],
        "tools": [tool.model_dump(mode="json") for tool in context.tools],
        "tool_choice": context.tool_choice,
        "max_tokens": context.max_tokens,
        "temperature": context.temperature,
        "response_schema": schema.model_json_schema() if isinstance(schema, type) else schema,
    }
    return {name: value for name, value in body.items() if value not in (None, [], "")}


def _message(message: AIMessage) -> dict[str, Any]:
    return {"role": message.role, "content": [_part(part) for part in labelled(message)]}


def _part(part: AIPart) -> dict[str, Any]:
    if isinstance(part, AIImagePart):
        return {"image": part.inline.url if part.inline else part.url}
    written: dict[str, Any] = part.model_dump(mode="json")
    return written


def _failure(code: ErrorCode, status: int) -> ProviderError:
    return ProviderError(
        f"the vendor reports {code.value}", error_code=code, status_code=status, provider="mock"
    )


async def _silence(request: ReceivedRequest) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        request.disconnected.set()


def _usage(usage: ScriptedUsage) -> dict[str, int]:
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
        "reasoning_tokens": usage.reasoning,
    }


def _repaired(arguments: dict[str, Any]) -> dict[str, Any]:
    """Repair the texts, as a reader of JSON has to: a call takes valid Unicode only."""
    return {name: repaired(value) if isinstance(value, str) else value for name, value in arguments.items()}


class TestMockAIProvider(AIProviderContract):
    speaks_http = False
    reads_the_wire = False
    finishes = ("stop", "length", "content_filter", "refusal")
    secrets = ()
    vision = False

    @pytest.fixture
    async def simulator(self) -> AsyncIterator[MockVendor]:
        async with MockVendor(vision=self.vision) as vendor:
            yield vendor

    @pytest.fixture
    def factory(self, simulator: MockVendor) -> Callable[..., MockAIProvider]:
        return simulator.provider


class TestMockAIProviderWithVision(TestMockAIProvider):
    vision = True
