"""The Anthropic Messages API, simulated: https://platform.claude.com/docs/en/api/messages (Nov 2026)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.testing.simulators.ai import (
    AISimulator,
    Failure,
    Finish,
    Reply,
    ScriptedThinking,
    ScriptedUsage,
)
from roomkit_plugins.testing.simulators.anthropic_requests import (
    AnthropicRefusedError,
    MessagesBody,
    MessagesTurn,
    RedactedThinkingBlock,
    ThinkingBlock,
    ToolUseBlock,
    anthropic_failure,
    check_format,
    check_thinking,
    check_tools,
    check_turns,
    counted_body,
    error_body,
    first_invalid,
    invalid_request,
    refused,
    turns_of,
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

_COUNT = "/v1/messages/count_tokens"
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
            return anthropic_failure(401, "authentication_error", "invalid x-api-key")
        version = request.headers.get("anthropic-version")
        if version not in VERSIONS:
            return invalid_request(f"anthropic-version: {version!r} is not a valid version")
        if request.path.startswith("/v1/models"):
            return None
        counts = request.path == _COUNT
        if request.method != "POST" or (request.path != "/v1/messages" and not counts):
            return anthropic_failure(404, "not_found_error", "Not Found")
        if not request.headers.get("content-type", "").startswith("application/json"):
            return invalid_request("content-type: Must be application/json")
        try:
            read = counted_body if counts else MessagesBody.model_validate_json
            body = read(request.body, context={"version": version})
            self._check(body, version)
        except ValidationError as error:
            return invalid_request(first_invalid(error))
        except AnthropicRefusedError as error:
            return error.failure
        return None

    async def handle_other(self, request: ReceivedRequest, exchange: Exchange) -> bool:
        """Answer `/v1/models` and `/v1/models/{id}`."""
        if request.path == _COUNT:
            await self.send_count(request, exchange, "input_tokens")
            return True
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
            await exchange.send_json(404, error_body("not_found_error", f"model: {name}"), self.headers())
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

    def _check(self, body: MessagesBody, version: str) -> None:
        """Check what needs more than one field. Raises AnthropicRefusedError."""
        for field in ("temperature", "top_p", "top_k"):
            if version >= "2026-10-21" and field in body.model_fields_set:
                raise refused(f"{field}: Extra inputs are not permitted")
        if body.model not in self.models:
            raise AnthropicRefusedError(anthropic_failure(404, "not_found_error", f"model: {body.model}"))
        check_thinking(body)
        check_tools(body)
        check_format(body)
        turns = turns_of(body.messages)
        check_turns(turns)
        self._check_thoughts(body, turns)

    def _check_thoughts(self, body: MessagesBody, turns: Sequence[MessagesTurn]) -> None:
        for turn in turns:
            for block in turn.blocks:
                if (
                    isinstance(block, ThinkingBlock)
                    and self._signatures.get(block.signature) != block.thinking
                ):
                    raise refused("Invalid `signature` in `thinking` block")
                if isinstance(block, RedactedThinkingBlock) and block.data not in self._redacted:
                    raise refused("Invalid `data` in `redacted_thinking` block")
        if body.thinking is None or body.thinking.type == "disabled" or len(turns) < 2:
            return
        last = turns[-2].blocks
        calls = [block for block in last if isinstance(block, ToolUseBlock)]
        if any(call.id in self._thought_before for call in calls) and not isinstance(
            last[0], ThinkingBlock | RedactedThinkingBlock
        ):
            raise refused(
                f"messages.{len(turns) - 2}.content.0.type: Expected `thinking` or "
                f"`redacted_thinking`, but found `{last[0].type}`"
            )


_FAILURES = {
    ErrorCode.INVALID_REQUEST: invalid_request("messages: Invalid"),
    ErrorCode.CONTEXT_OVERFLOW: invalid_request("prompt is too long: 210031 tokens > 200000 maximum"),
    ErrorCode.UNSUPPORTED_CONTENT: invalid_request("Could not process image"),
    ErrorCode.AUTH: anthropic_failure(401, "authentication_error", "invalid x-api-key"),
    ErrorCode.QUOTA: anthropic_failure(402, "billing_error", "Your credit balance is too low"),
    ErrorCode.PERMISSION: anthropic_failure(403, "permission_error", "Not allowed to use this model"),
    ErrorCode.NOT_FOUND: anthropic_failure(404, "not_found_error", "model: claude-none"),
    ErrorCode.TOO_LONG: anthropic_failure(413, "request_too_large", "Request exceeds the maximum size"),
    ErrorCode.RATE_LIMIT: anthropic_failure(429, "rate_limit_error", "Number of requests exceeded"),
    ErrorCode.SERVER: anthropic_failure(500, "api_error", "Internal server error"),
    ErrorCode.TIMEOUT: anthropic_failure(504, "timeout_error", "Request timed out"),
    ErrorCode.OVERLOADED: anthropic_failure(529, "overloaded_error", "Overloaded"),
}


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
