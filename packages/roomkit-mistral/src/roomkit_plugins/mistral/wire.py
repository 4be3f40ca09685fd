"""From an `AIContext` to a chat request of Mistral's.

https://docs.mistral.ai/api (Nov 2026). Pure: no network, no SDK. What the API would refuse, or take for
something else, is refused here with what to change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
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
)
from roomkit.models.generation import AIContext
from roomkit_plugins.mistral.config import MistralConfig
from roomkit_plugins.mistral.errors import ORIGIN
from roomkit_plugins.wire.structured import answer_name, answer_schema, closed
from roomkit_plugins.wire.tools import CallIds, ToolNames, object_schema, tool_choice

__all__ = ["MistralRequest", "request", "signature"]

type Message = dict[str, Any]

_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_IDS = CallIds(r"[a-zA-Z0-9]{9}", letters=9)
_LONGEST_NAME = 64
_OPENING = "(The conversation begins with the assistant's message.)"
_NOTED = "(I have the results.)"
"""What the assistant says between a tool's result and a user: the API refuses one right after the other."""


@dataclass(frozen=True, slots=True)
class MistralRequest:
    """A request's body, with the facts needed to read the answer."""

    body: dict[str, Any]
    names: ToolNames
    call_ids: frozenset[str]
    """The ids of tool calls the conversation has; a new call gets none of these."""
    left_out: tuple[str, ...]
    """Parameters of the context that this API does not take."""


def request(config: MistralConfig, context: AIContext) -> MistralRequest:
    """Write the request. Raises ProviderError for a context the API would refuse."""
    names = ToolNames(_LONGEST_NAME)
    tools = [_tool(tool, names) for tool in context.tools]
    checked = conversation(
        context,
        ORIGIN.provider,
        vision=config.vision,
        is_mute=_is_foreign_thought,
        image_problem=_image_problem,
    )
    messages = _messages(checked.messages, names)
    if checked.system:
        messages.insert(0, {"role": "system", "content": checked.system})
    optional: dict[str, object] = {
        "tools": tools or None,
        "tool_choice": _choice(context, names),
        "parallel_tool_calls": config.parallel_tool_calls if tools else None,
        "max_tokens": context.max_tokens or config.max_tokens,
        "temperature": config.temperature if context.temperature is None else context.temperature,
        "stop": list(context.stop) or None,
        "response_format": _format(context),
        "reasoning_effort": _effort(config, context),
        "prompt_mode": config.prompt_mode,
        "random_seed": config.random_seed,
        "safe_prompt": config.safe_prompt or None,
        "prompt_cache_key": config.prompt_cache_key,
        "service_tier": config.service_tier,
    }
    body: dict[str, Any] = {"model": config.model, "messages": messages}
    body |= {name: value for name, value in optional.items() if value is not None}
    left_out = ("thinking_budget",) if context.thinking_budget is not None else ()
    return MistralRequest(body, names, checked.call_ids, left_out)


def signature(token: str) -> str:
    """Return the signature of a thought as an `AIThinkingPart` keeps it: marked as Mistral's."""
    return json.dumps({"mistral": token})


def _format(context: AIContext) -> dict[str, Any] | None:
    """Write the shape of the answer, in the SDK's words."""
    schema = answer_schema(context, ORIGIN)
    if schema is None:
        return None
    shape = {"name": answer_name(context), "schema_definition": closed(schema), "strict": True}
    return {"type": "json_schema", "json_schema": shape}


def _effort(config: MistralConfig, context: AIContext) -> str | None:
    effort = context.reasoning_effort or config.reasoning_effort
    if effort is not None and effort not in _EFFORTS:
        raise ORIGIN.refused(
            f"Mistral knows no reasoning_effort {effort!r}; use one of {', '.join(_EFFORTS)}"
        )
    return effort


def _tool(tool: AITool, names: ToolNames) -> dict[str, Any]:
    function = {"name": names.to_wire(tool.name), "parameters": object_schema(tool, ORIGIN)}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _choice(context: AIContext, names: ToolNames) -> object:
    choice = tool_choice(context, names, ORIGIN)
    if choice in (None, "auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def _messages(messages: tuple[AIMessage, ...], names: ToolNames) -> list[Message]:
    """Write the messages in an order that the API takes."""
    written: list[Message] = []
    called: dict[str, str] = {}  # bound: one conversation
    for message in messages:
        parts = parts_of(message)
        called |= {part.id: part.name for part in parts if isinstance(part, AIToolCallPart)}
        for entry in _entries(message, names, called):
            last = written[-1]["role"] if written else None
            if last == entry["role"] == "assistant":
                written[-1] = _joined(written[-1], entry)
                continue
            if last is None and entry["role"] == "assistant":
                written.append({"role": "user", "content": _OPENING})
            if last == "tool" and entry["role"] == "user":
                written.append({"role": "assistant", "content": _NOTED})
            written.append(entry)
    return written


def _entries(message: AIMessage, names: ToolNames, called: dict[str, str]) -> Iterator[Message]:
    """Write one message; tool results are messages of their own."""
    if message.role == "assistant":
        yield _assistant(parts_of(message), names)
        return
    said: list[dict[str, Any]] = []
    for part in labelled(message) if message.role == "user" else parts_of(message):
        match part:
            case AIToolResultPart():
                name = names.to_wire(called[part.tool_call_id])
                answered = {"role": "tool", "tool_call_id": _IDS.to_wire(part.tool_call_id), "name": name}
                yield {**answered, "content": f"Error: {part.result}" if part.is_error else part.result}
            case AITextPart(text=text):
                said.append({"type": "text", "text": text})
            case AIImagePart():
                said.append({"type": "image_url", "image_url": _image_url(part)})
    if said:
        alone = len(said) == 1 and said[0]["type"] == "text"
        yield {"role": "user", "content": said[0]["text"] if alone else said}


def _assistant(parts: tuple[AIPart, ...], names: ToolNames) -> Message:
    chunks = [chunk for part in parts if (chunk := _chunk(part)) is not None]
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
    entry: Message = {"role": "assistant"}
    if any(chunk["type"] == "thinking" for chunk in chunks):
        entry["content"] = chunks
    else:
        entry["content"] = "\n\n".join(chunk["text"] for chunk in chunks)
    return {**entry, "tool_calls": calls} if calls else entry


def _joined(first: Message, second: Message) -> Message:
    """Make one message of two of the assistant's in a row."""
    one, other = first["content"], second["content"]
    if isinstance(one, str) and isinstance(other, str):
        return {**second, "content": "\n\n".join(text for text in (one, other) if text)}
    as_chunks = [[{"type": "text", "text": c}] if isinstance(c, str) else c for c in (one, other) if c]
    return {**second, "content": [chunk for chunks in as_chunks for chunk in chunks]}


def _chunk(part: AIPart) -> dict[str, Any] | None:
    match part:
        case AITextPart(text=text):
            return {"type": "text", "text": text}
        case AIThinkingPart():
            said: dict[str, Any] = {"type": "thinking", "closed": True}
            said["thinking"] = [{"type": "text", "text": part.thinking}] if part.thinking else []
            token = json.loads(part.signature or "{}")["mistral"]
            return {**said, "signature": token} if token else said
    return None


def _is_foreign_thought(part: AIPart) -> bool:
    """Whether it is a thought of another vendor's model: it says nothing to this one."""
    if not isinstance(part, AIThinkingPart):
        return False
    try:
        kept = json.loads(part.signature or "")
    except ValueError:
        return True
    return not (isinstance(kept, dict) and isinstance(kept.get("mistral"), str))


def _image_problem(part: AIImagePart) -> str | None:
    """Return why Mistral cannot be sent an image, None when it can."""
    if part.is_fetched:
        return None
    inline = part.inline
    if inline is None:
        return f"an image is given as {part.url[:40]!r}; use an http(s) URL, or data: with base64"
    if inline.media_type in _IMAGES:
        return None
    types = ", ".join(_IMAGES)
    return f"Mistral does not read images of the type {inline.media_type}; convert it to one of {types}"


def _image_url(part: AIImagePart) -> str:
    inline = part.inline
    return part.url if inline is None else inline.url
