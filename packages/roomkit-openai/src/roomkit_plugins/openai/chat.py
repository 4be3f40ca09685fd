"""The Chat Completions API: https://developers.openai.com/api/reference/chat (Nov 2026).

Spoken by OpenAI and, each with a dialect, by nearly every other server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

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
from roomkit_plugins.openai.think import ThinkTags, tagged
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
from roomkit_plugins.wire.fragments import Fragments
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.structured import answer_name, answer_schema
from roomkit_plugins.wire.tools import CallIds, ToolNames, object_schema, tool_choice

__all__ = ["answer", "request", "stream_fields"]

_IDS = CallIds(r"(?s:.){1,40}")
"""OpenAI takes any characters (Azure 40 of them, checked 2026-11-29); some models want their own back."""
_NAME = re.compile(r"[^\s<|\\/>]{1,64}")
_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def request(config: OpenAIConfig, context: AIContext, origin: Origin) -> OpenAIRequest:
    """Write the request. Raises ProviderError for a context the API would refuse."""
    names = ToolNames(LONGEST_NAME)
    tools = [_tool(tool, names, origin) for tool in context.tools]
    checked = conversation(context, origin.provider, vision=config.vision, image_problem=image_problem)
    messages = [entry for message in checked.messages for entry in _entries(config, message, names)]
    if not config.official:
        messages = _merged(messages)
    if checked.system:
        messages.insert(0, {"role": "system", "content": checked.system})
    temperature, left_out = sampling(config, context)
    reasoning_effort, also_left_out = effort(config, context, origin)
    new_field = config.official or config.reasons
    limit = config.max_tokens_field or ("max_completion_tokens" if new_field else "max_tokens")
    optional: dict[str, object] = {
        "tools": tools or None,
        "tool_choice": _choice(context, names, origin),
        "parallel_tool_calls": config.parallel_tool_calls if tools else None,
        limit: context.max_tokens or config.max_tokens,
        "temperature": temperature,
        "stop": list(context.stop) or None,
        "response_format": _format(context, origin),
        "reasoning_effort": reasoning_effort,
        "verbosity": config.verbosity,
        "service_tier": config.service_tier,
        "safety_identifier": config.safety_identifier,
        "prompt_cache_key": config.prompt_cache_key,
        "store": config.store or None,
    }
    body: dict[str, Any] = {"model": config.model, "messages": messages}
    body |= {name: value for name, value in optional.items() if value is not None}
    return OpenAIRequest(body, names, checked.call_ids, (*left_out, *also_left_out))


def stream_fields(config: OpenAIConfig) -> dict[str, Any]:
    """Return what a request for a stream has on top."""
    if not config.include_usage:
        return {"stream": True}
    return {"stream": True, "stream_options": {"include_usage": True}}


def answer(config: OpenAIConfig, request: OpenAIRequest, origin: Origin) -> AnswerReader:
    """Return what reads the answer to `request`."""
    return ChatAnswer(config, request, origin)


def _format(context: AIContext, origin: Origin) -> dict[str, Any] | None:
    schema = answer_schema(context, origin)
    if schema is None:
        return None
    return {"type": "json_schema", "json_schema": json_format(answer_name(context), schema)}


def _tool(tool: AITool, names: ToolNames, origin: Origin) -> dict[str, Any]:
    function = {"name": names.to_wire(tool.name), "parameters": object_schema(tool, origin)}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _choice(context: AIContext, names: ToolNames, origin: Origin) -> object:
    choice = tool_choice(context, names, origin)
    if choice in (None, "auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def _entries(config: OpenAIConfig, message: AIMessage, names: ToolNames) -> Iterator[dict[str, Any]]:
    """Write one message: tool results are messages of their own, before the rest."""
    parts = parts_of(message)
    if message.role == "assistant":
        yield _assistant(config, parts, names)
        return
    for part in parts:
        if isinstance(part, AIToolResultPart):
            answered = {"role": "tool", "tool_call_id": _IDS.to_wire(part.tool_call_id)}
            yield {**answered, "content": result_text(part)}
    # OpenAI has a field for the speaker; other servers take it, and their templates leave it out.
    has_field = config.official and message.name and _NAME.fullmatch(message.name)
    said = [
        part
        for part in (parts if has_field else labelled(message))
        if isinstance(part, AITextPart | AIImagePart)
    ]
    if said:
        entry = {"role": "user", "content": _content(said)}
        yield {**entry, "name": message.name} if has_field else entry


def _content(parts: list[AITextPart | AIImagePart]) -> str | list[dict[str, Any]]:
    if len(parts) == 1 and isinstance(parts[0], AITextPart):
        return parts[0].text
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, AITextPart)
        else {"type": "image_url", "image_url": {"url": image_url(part)}}
        for part in parts
    ]


def _assistant(config: OpenAIConfig, parts: tuple[AIPart, ...], names: ToolNames) -> dict[str, Any]:
    text = "\n\n".join(part.text for part in parts if isinstance(part, AITextPart))
    thinking = "\n\n".join(
        part.thinking for part in parts if isinstance(part, AIThinkingPart) and part.thinking
    )
    if thinking and config.think_tags:
        text = tagged(thinking) + text
    entry: dict[str, Any] = {"role": "assistant", "content": text or None}
    if thinking and config.reasoning_field:
        entry[config.reasoning_field] = thinking
    calls = [
        {
            "id": _IDS.to_wire(part.id),
            "type": "function",
            "function": {
                "name": names.to_wire(part.name),
                "arguments": json.dumps(part.arguments, ensure_ascii=False),
            },
        }
        for part in parts
        if isinstance(part, AIToolCallPart)
    ]
    if calls:
        entry["tool_calls"] = calls
    elif not text:
        entry["content"] = ""
    return entry


def _merged(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make one message of what users say in a row: many servers' templates want turns to alternate."""
    merged: list[dict[str, Any]] = []
    for message in messages:
        if merged and message["role"] == merged[-1]["role"] == "user":
            merged[-1] = {"role": "user", "content": _joined(merged[-1], message)}
        else:
            merged.append(message)
    return merged


def _joined(first: dict[str, Any], second: dict[str, Any]) -> str | list[dict[str, Any]]:
    one, other = first["content"], second["content"]
    if isinstance(one, str) and isinstance(other, str):
        return f"{one}\n\n{other}"
    as_parts = [[{"type": "text", "text": c}] if isinstance(c, str) else c for c in (one, other)]
    return [*as_parts[0], *as_parts[1]]


class ChatAnswer(OpenAIReader):
    """Reads one chat answer, whole or streamed. See `AnswerReader`."""

    def __init__(self, config: OpenAIConfig, request: OpenAIRequest, origin: Origin) -> None:
        super().__init__(request, origin)
        self._tags: ThinkTags | None = None
        if config.think_tags:
            self._tags = ThinkTags(inside=config.think_tags == "prefilled")
        self._calls = Fragments()
        self._reason: str | None = None
        """Why the model stopped: "" when a whole answer does not say, None while it goes on."""
        self._refused = False
        self._usage: object = None
        self._about: dict[str, Any] = {}

    def whole(self, body: bytes) -> Iterator[StreamEvent]:
        """Yield what a whole answer says, `StreamDone` last."""
        answer = self.parse(body)
        self._raise_error(answer)
        choices = self.optional_list(answer.get("choices"), "'choices'")
        if not choices:
            raise self.origin.bad_response("an answer without a choice")
        choice = self.as_object(choices[0], "a choice")
        self._about, self._usage = answer, answer.get("usage")
        message = self.as_object(choice.get("message"), "the message")
        calls = self.optional_list(message.get("tool_calls"), "'tool_calls'")
        yield from self._delta({**message, "tool_calls": None})
        for index, call in enumerate(calls):
            self._collect({**self.as_object(call, "a tool call"), "index": index})
        yield from self._finish(self.optional_text(choice.get("finish_reason"), "'finish_reason'"))
        yield from self.end()

    def feed(self, data: str) -> Iterator[StreamEvent]:
        """Yield the parts of an event. Events after the end are ignored."""
        if data.strip() == "[DONE]":
            if self._reason is None:
                yield from self._finish("")
            return
        chunk = self.parse_event(data)
        if chunk is None:
            return
        self._raise_error(chunk)
        if chunk.get("usage") is not None:
            self._usage = chunk["usage"]
        self._about = {**chunk, **self._about}
        for choice in self.optional_list(chunk.get("choices"), "'choices'"):
            if self._reason is not None:
                return
            entry = self.optional_object(choice, "a choice")
            yield from self._delta(self.optional_object(entry.get("delta"), "the delta"))
            if reason := self.optional_text(entry.get("finish_reason"), "'finish_reason'"):
                yield from self._finish(reason)

    def end(self) -> Iterator[StreamEvent]:
        """Yield `StreamDone`. Raises ProviderError when the stream stopped before the end."""
        if self._reason is None:
            raise self.origin.bad_response("it stopped before the end of the message")
        finish = _FINISH.get(self._reason or "stop", "error")
        if finish == "stop" and self._refused:
            finish = "refusal"
        elif finish == "stop" and self._calls:
            finish = "tool_calls"
        counted = usage(self._usage, prompt="prompt_tokens", completion="completion_tokens")
        yield StreamDone(finish, counted, self.metadata(self._about, self._reason))

    def _raise_error(self, answer: dict[str, Any]) -> None:
        if answer.get("error") is not None or answer.get("object") == "error":
            raise api_error(self.origin, 200, answer, {})

    def _delta(self, delta: dict[str, Any]) -> Iterator[StreamEvent]:
        for field in ("reasoning", "reasoning_content"):
            if isinstance(delta.get(field), str) and delta[field]:
                yield StreamThinkingDelta(delta[field])
                break
        yield from self._content(delta.get("content"))
        if delta.get("refusal"):
            self._refused = True
            yield StreamTextDelta(self.as_text(delta["refusal"], "'refusal'"))
        for fragment in self.optional_list(delta.get("tool_calls"), "'tool_calls'"):
            self._collect(self.optional_object(fragment, "a tool call"))

    def _content(self, content: object) -> Iterator[StreamEvent]:
        """Yield the text, which some servers give as a list of parts, with reasoning among them."""
        if isinstance(content, list):
            for part in content:
                yield from self._part(part)
        elif text := self.optional_text(content, "'content'"):
            yield from self._tags.feed(text) if self._tags else [StreamTextDelta(text)]

    def _part(self, part: object) -> Iterator[StreamEvent]:
        if not isinstance(part, dict):
            yield from self._content(part)
        elif part.get("type") == "thinking":
            for thought in self.optional_list(part.get("thinking"), "'thinking'"):
                text = self.optional_text(self.as_object(thought, "a thought").get("text"), "'text'")
                yield StreamThinkingDelta(text)
        else:
            yield from self._content(self.optional_text(part.get("text"), "'text'"))

    def _collect(self, fragment: dict[str, Any]) -> None:
        function = self.optional_object(fragment.get("function"), "'function'")
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # some servers send the object itself
            arguments = json.dumps(arguments)
        identity = self.optional_text(fragment.get("id"), "a tool call's id")
        name = self.optional_text(function.get("name"), "a tool's name")
        written = self.optional_text(arguments, "the arguments")
        try:
            self._calls.add(index=fragment.get("index"), identity=identity, name=name, arguments=written)
        except ValueError as error:
            raise self.origin.bad_response(str(error)) from error

    def _finish(self, reason: str) -> Iterator[StreamEvent]:
        self._reason = reason
        if self._tags:
            yield from self._tags.flush()
        for call in self._calls:
            if not call.name:
                raise self.origin.bad_response("a tool call without a name")
            yield self.call(call.identity, call.name, call.arguments)
