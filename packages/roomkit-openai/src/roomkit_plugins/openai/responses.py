"""The Responses API: https://developers.openai.com/api/reference/responses (Nov 2026)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from roomkit.authoring.conversation import conversation, labelled, parts_of
from roomkit.models.ai import (
    AIImagePart,
    AIMessage,
    AIPart,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
)
from roomkit.models.generation import AIContext
from roomkit_plugins.openai.config import OpenAIConfig
from roomkit_plugins.openai.errors import api_error
from roomkit_plugins.openai.schema import json_format
from roomkit_plugins.openai.wire import (
    LONGEST_NAME,
    AnswerReader,
    OpenAIReader,
    OpenAIRequest,
    effort,
    image_problem,
    image_url,
    result_text,
    sampling,
    usage,
)
from roomkit_plugins.wire.halves import repaired_json
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.structured import answer_name, answer_schema
from roomkit_plugins.wire.tools import CallIds, ToolNames, object_schema, tool_choice

__all__ = ["answer", "request", "stream_fields"]

_IDS = CallIds(r"(?s:.){1,64}")
_INCOMPLETE = {"content_filter": "content_filter"}
_ENDS = {f"response.{status}": status for status in ("completed", "incomplete", "failed")}
"""The events that end a response, and the status that each stands for."""
_TEXT = ("response.output_text.delta", "response.refusal.delta")
_THINKING = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")


def request(config: OpenAIConfig, context: AIContext, origin: Origin) -> OpenAIRequest:
    """Write the request. Raises ProviderError for a context the API would refuse."""
    if context.stop:
        raise origin.refused('the Responses API has no stop sequences; leave `stop` out, or set api="chat"')
    names = ToolNames(LONGEST_NAME)
    tools = [_tool(tool, names, origin) for tool in context.tools]
    checked = conversation(context, origin.provider, vision=config.vision, image_problem=image_problem)
    temperature, left_out = sampling(config, context)
    chosen, also_left_out = effort(config, context, origin)
    reasoning = {"effort": chosen, "summary": config.reasoning_summary}
    optional: dict[str, object] = {
        "instructions": checked.system or None,
        "tools": tools or None,
        "tool_choice": _choice(context, names, origin),
        "parallel_tool_calls": config.parallel_tool_calls if tools else None,
        "max_output_tokens": context.max_tokens or config.max_tokens,
        "temperature": temperature,
        "reasoning": {name: value for name, value in reasoning.items() if value} or None,
        "include": ["reasoning.encrypted_content"] if config.reasons else None,
        "text": _text(config, context, origin) or None,
        "service_tier": config.service_tier,
        "safety_identifier": config.safety_identifier,
        "prompt_cache_key": config.prompt_cache_key,
    }
    items = [item for message in checked.messages for item in _items(message, names)]
    body: dict[str, Any] = {"model": config.model, "input": items, "store": config.store}
    body |= {name: value for name, value in optional.items() if value is not None}
    return OpenAIRequest(body, names, checked.call_ids, (*left_out, *also_left_out))


def stream_fields(config: OpenAIConfig) -> dict[str, Any]:
    """Return what a request for a stream has on top."""
    return {"stream": True}


def answer(config: OpenAIConfig, request: OpenAIRequest, origin: Origin) -> AnswerReader:
    """Return what reads the answer to `request`."""
    return ResponsesAnswer(config, request, origin)


def _text(config: OpenAIConfig, context: AIContext, origin: Origin) -> dict[str, Any]:
    said: dict[str, Any] = {"verbosity": config.verbosity} if config.verbosity else {}
    if (schema := answer_schema(context, origin)) is not None:
        said["format"] = {"type": "json_schema", **json_format(answer_name(context), schema)}
    return said


def _tool(tool: AITool, names: ToolNames, origin: Origin) -> dict[str, Any]:
    # Strict is this API's default and refuses most schemas, so it is turned off.
    written = {"type": "function", "name": names.to_wire(tool.name), "strict": False}
    if tool.description:
        written["description"] = tool.description
    return {**written, "parameters": object_schema(tool, origin)}


def _choice(context: AIContext, names: ToolNames, origin: Origin) -> object:
    choice = tool_choice(context, names, origin)
    if choice in (None, "auto", "none", "required"):
        return choice
    return {"type": "function", "name": choice}


def _items(message: AIMessage, names: ToolNames) -> Iterator[dict[str, Any]]:
    """Write one message: tool results are items of their own, before the rest."""
    if message.role == "assistant":
        for part in parts_of(message):
            yield from _assistant_item(part, names)
        return
    for part in parts_of(message):
        if isinstance(part, AIToolResultPart):
            output = {"call_id": _IDS.to_wire(part.tool_call_id), "output": result_text(part)}
            yield {"type": "function_call_output", **output}
    if said := [entry for part in labelled(message) if (entry := _input_part(part))]:
        yield {"type": "message", "role": "user", "content": said}


def _input_part(part: AIPart) -> dict[str, Any] | None:
    match part:
        case AITextPart(text=text):
            return {"type": "input_text", "text": text}
        case AIImagePart():
            return {"type": "input_image", "image_url": image_url(part), "detail": "auto"}
    return None


def _assistant_item(part: AIPart, names: ToolNames) -> Iterator[dict[str, Any]]:
    match part:
        case AITextPart(text=text):
            content = [{"type": "output_text", "text": text}]
            yield {"type": "message", "role": "assistant", "content": content}
        case AIToolCallPart():
            call = {
                "type": "function_call",
                "call_id": _IDS.to_wire(part.id),
                "name": names.to_wire(part.name),
                "arguments": json.dumps(part.arguments, ensure_ascii=False),
            }
            item_id = part.metadata.get("item_id")
            is_item = isinstance(item_id, str) and item_id.startswith("fc_")
            yield {**call, "id": item_id} if is_item else call
        case AIThinkingPart():
            if (item := _reasoning_item(part)) is not None:
                yield item


def _reasoning_item(part: AIThinkingPart) -> dict[str, Any] | None:
    """Return the reasoning item that the signature holds; another vendor's block says nothing here."""
    try:
        item = from_json(part.signature or "")
    except ValueError:
        return None
    return item if isinstance(item, dict) and item.get("type") == "reasoning" else None


class ResponsesAnswer(OpenAIReader):
    """Reads one response, whole or streamed. See `AnswerReader`.

    A reasoning item comes back as it is: the whole of it is the signature of its thinking.
    """

    def __init__(self, config: OpenAIConfig, request: OpenAIRequest, origin: Origin) -> None:
        super().__init__(request, origin)
        self._done: StreamDone | None = None
        self._called = False
        self._refused = False
        self._part: tuple[object, object] | None = None

    def whole(self, body: bytes) -> Iterator[StreamEvent]:
        """Yield what a whole answer says, `StreamDone` last."""
        response = self.parse(body)
        if response.get("output") is None and not response.get("status"):
            raise self.origin.bad_response("a response with neither output nor a status")
        for item in self.optional_list(response.get("output"), "'output'"):
            entry = self.as_object(item, "an output item")
            yield from self._content(entry)
            yield from self._item(entry)
        self._close(response, "completed")
        yield from self.end()

    def feed(self, data: str) -> Iterator[StreamEvent]:
        """Yield the parts of an event. Events after the end are ignored."""
        if self._done is not None:
            return
        if data.strip() == "[DONE]":  # proxies that speak several APIs end every stream so
            self._close({}, "completed")
            return
        event = self.parse_event(data)
        if event is None:
            return
        kind = event.get("type")
        if kind == "error" or (kind is None and event.get("error")):
            raise api_error(self.origin, 200, event, {})
        if kind in _TEXT:
            self._refused = self._refused or kind == "response.refusal.delta"
            yield StreamTextDelta(self.optional_text(event.get("delta"), "'delta'"))
        elif kind in _THINKING:
            yield from self._thinking(event)
        elif kind == "response.output_item.done":
            yield from self._item(self.optional_object(event.get("item"), "'item'"))
        elif isinstance(kind, str) and kind in _ENDS:
            self._close(self.optional_object(event.get("response"), "'response'"), _ENDS[kind])

    def end(self) -> Iterator[StreamEvent]:
        """Yield `StreamDone`. Raises ProviderError when the stream stopped before the end."""
        if self._done is None:
            raise self.origin.bad_response("it stopped before the end of the response")
        yield self._done

    def _content(self, item: dict[str, Any]) -> Iterator[StreamEvent]:
        """Yield what the deltas of a stream would have said of an item."""
        if item.get("type") == "message":
            content = item.get("content")
            if isinstance(content, str):
                yield StreamTextDelta(content)
                return
            for part in self.optional_list(content, "'content'"):
                entry = self.as_object(part, "a content part")
                if entry.get("type") == "refusal":
                    self._refused = True
                    yield StreamTextDelta(self.optional_text(entry.get("refusal"), "'refusal'"))
                elif entry.get("type") == "output_text":
                    yield StreamTextDelta(self.optional_text(entry.get("text"), "'text'"))
        elif item.get("type") == "reasoning":
            summary = self.optional_list(item.get("summary"), "'summary'")
            parts = [self.as_object(part, "a summary").get("text") for part in summary]
            if text := "\n\n".join(self.optional_text(part, "'text'") for part in parts):
                yield StreamThinkingDelta(text)

    def _thinking(self, event: dict[str, Any]) -> Iterator[StreamEvent]:
        """Yield a delta, with the parts of one item set apart."""
        place = (event.get("item_id"), event.get("summary_index", event.get("content_index")))
        follows = self._part is not None and self._part != place and self._part[0] == place[0]
        self._part = place
        text = self.optional_text(event.get("delta"), "'delta'")
        yield StreamThinkingDelta(f"\n\n{text}" if follows else text)

    def _item(self, item: dict[str, Any]) -> Iterator[StreamEvent]:
        match item.get("type"):
            case "reasoning":
                yield StreamThinkingDelta("", signature=json.dumps(repaired_json(item), ensure_ascii=False))
            case "function_call":
                self._called = True
                name = self.as_text(item.get("name"), "a tool's name")
                item_id = item.get("id")
                metadata = {"item_id": item_id} if isinstance(item_id, str) else {}
                yield self.call(item.get("call_id"), name, item.get("arguments"), metadata)

    def _close(self, response: dict[str, Any], unsaid: str) -> None:
        """Read how the response ended: in the status `unsaid` when it does not say."""
        status = self.optional_text(response.get("status"), "'status'") or unsaid
        reason = status
        if status == "completed":
            finish = "refusal" if self._refused else "tool_calls" if self._called else "stop"
        elif status == "incomplete":
            details = self.optional_object(response.get("incomplete_details"), "the details")
            reason = str(details.get("reason") or status)
            finish = _INCOMPLETE.get(reason, "length")
        elif response.get("error") is not None:
            raise api_error(self.origin, 200, response, {})
        else:
            raise self.origin.bad_response(f"a response with the status {status!r}")
        counted = usage(response.get("usage"), prompt="input_tokens", completion="output_tokens")
        self._done = StreamDone(finish, counted, self.metadata(response, reason))
