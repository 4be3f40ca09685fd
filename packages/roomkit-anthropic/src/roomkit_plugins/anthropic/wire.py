"""From an `AIContext` to the body of a Messages request.

https://platform.claude.com/docs/en/api/messages (Nov 2026). Pure: no network, no SDK. What the API
would refuse, or take for something else, is refused here with what to change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from roomkit.abc.errors import ErrorCode
from roomkit.models.ai import (
    AIContext,
    AIImagePart,
    AIMessage,
    AIPart,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit_plugins.anthropic.config import AnthropicConfig
from roomkit_plugins.anthropic.errors import refused
from roomkit_plugins.anthropic.models import takes_temperature, thinks_by_budget

__all__ = ["Request", "ToolNames", "request"]

type Block = dict[str, Any]

_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.+)", re.DOTALL)
_OPENING = "(The conversation begins with the assistant's message.)"


class ToolNames:
    """Tool names as the API takes them (letters, digits, `_` and `-`, up to 128), and back."""

    def __init__(self) -> None:
        self._ours: dict[str, str] = {}  # bound: the tools of one request
        self._theirs: dict[str, str] = {}  # bound: the tools of one request

    def to_wire(self, name: str) -> str:
        """Return the vendor's form of `name`, always the same and never that of another."""
        if name not in self._theirs:
            safe = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:128]
            if safe != name or safe in self._ours:
                safe = f"{safe[:119]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
            self._theirs[name] = safe
            self._ours[safe] = name
        return self._theirs[name]

    def from_wire(self, name: str) -> str:
        """Return our name for what the model called."""
        return self._ours.get(name, name)


@dataclass(frozen=True, slots=True)
class Request:
    """A request's body, with what is needed to read the answer."""

    body: dict[str, Any]
    names: ToolNames
    left_out: tuple[str, ...]
    """Parameters of the context that this model does not take."""


def request(config: AnthropicConfig, context: AIContext) -> Request:
    """Write the request. Raises ProviderError for a context the API would refuse."""
    names = ToolNames()
    tools = [_tool(tool, names) for tool in context.tools]
    system, messages = _conversation(context, names, vision=config.vision)
    body: dict[str, Any] = {"model": config.model, "messages": messages, **_thinking(config, context)}
    left_out: list[str] = []
    temperature = config.temperature if context.temperature is None else context.temperature
    if temperature is not None:
        if config.api_version == "2023-06-01" and takes_temperature(config.model):
            body["temperature"] = temperature
        else:
            left_out.append("temperature")
    optional = {
        "system": system,
        "tools": tools,
        "tool_choice": _tool_choice(config, context, names),
        "stop_sequences": list(context.stop),
        "cache_control": config.cache_ttl and {"type": "ephemeral", "ttl": config.cache_ttl},
        "service_tier": config.service_tier,
        "metadata": config.user_id and {"user_id": config.user_id},
    }
    body |= {name: value for name, value in optional.items() if value}
    return Request(body, names, tuple(left_out))


def _thinking(config: AnthropicConfig, context: AIContext) -> dict[str, Any]:
    """Write max_tokens, thinking and effort, which depend on each other."""
    budget = config.thinking_budget if context.thinking_budget is None else context.thinking_budget
    effort = context.reasoning_effort or config.effort
    if effort is not None and effort not in _EFFORTS:
        raise refused(f"Claude knows no reasoning_effort {effort!r}; use one of {', '.join(_EFFORTS)}")
    max_tokens = context.max_tokens or config.max_tokens
    thinking: Block | None = {"type": config.thinking} if config.thinking else None
    if budget == 0:
        thinking = {"type": "disabled"}
    elif budget is not None:
        max_tokens += budget
        if thinks_by_budget(config.model):
            if budget < 1024:
                raise refused(f"a thinking_budget of {budget} is too small: 0, or at least 1024")
            thinking = {"type": "enabled", "budget_tokens": budget}
        else:
            thinking = {"type": "adaptive"}
            effort = effort or _effort_for(budget)
    if thinking and config.thinking_display and thinking["type"] in ("enabled", "adaptive"):
        thinking["display"] = config.thinking_display
    fields: dict[str, Any] = {"max_tokens": max_tokens}
    if thinking:
        fields["thinking"] = thinking
    if effort:
        fields["output_config"] = {"effort": effort}
    return fields


def _effort_for(budget: int) -> str:
    steps = ((2_048, "low"), (8_192, "medium"), (24_576, "high"))
    return next((effort for limit, effort in steps if budget <= limit), "xhigh")


def _tool(tool: AITool, names: ToolNames) -> Block:
    schema = dict(tool.parameters)
    if schema.setdefault("type", "object") != "object":
        raise refused(
            f"the parameters of tool {tool.name!r} are a JSON Schema of type {schema['type']!r}; "
            "Claude takes an object only: wrap the value in one"
        )
    schema.setdefault("properties", {})
    written: Block = {"name": names.to_wire(tool.name), "input_schema": schema}
    if tool.description:
        written["description"] = tool.description
    return written


def _tool_choice(config: AnthropicConfig, context: AIContext, names: ToolNames) -> Block | None:
    choice = context.tool_choice
    offered = [tool.name for tool in context.tools]
    if not offered:
        if choice in (None, "auto", "none"):
            return None
        raise refused(f"tool_choice is {choice!r}, but no tool is offered; add it to `tools`")
    if choice in (None, "auto"):
        written: Block = {"type": "auto"}
    elif choice == "none":
        return {"type": "none"}
    elif choice == "required":
        written = {"type": "any"}
    elif choice in offered:
        written = {"type": "tool", "name": names.to_wire(choice)}
    else:
        raise refused(f"tool_choice names {choice!r}, which is not among the tools: {offered}")
    if config.parallel_tool_calls is not None:
        written["disable_parallel_tool_use"] = not config.parallel_tool_calls
    elif choice is None:
        return None
    return written


def _conversation(context: AIContext, names: ToolNames, *, vision: bool) -> tuple[str, list[dict[str, Any]]]:
    """Write the system prompt and the messages, one for each turn of a side."""
    system = [context.system_prompt or ""]
    turns: list[dict[str, Any]] = []
    calls = _OpenCalls()
    for message in context.messages:
        if message.role == "system":
            system.append(_plain_text(message))
            continue
        parts = _parts(message)
        if not parts:
            continue
        calls.check(parts)
        role = "assistant" if message.role == "assistant" else "user"
        blocks = list(_blocks(message, parts, names, vision=vision))
        if not blocks:
            continue
        if not turns and role == "assistant":
            turns.append({"role": "user", "content": [{"type": "text", "text": _OPENING}]})
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    calls.check_all_answered()
    if not turns or turns[-1]["role"] != "user":
        raise refused(
            "Claude answers a user's message or a tool's result, and the conversation does not end "
            "with one; the last message is "
            + (f"the {context.messages[-1].role}'s" if context.messages else "missing")
        )
    return "\n\n".join(text for text in system if text.strip()), turns


class _OpenCalls:
    """Follows tool calls through a conversation: each id once, each answered by what comes next."""

    def __init__(self) -> None:
        self._seen: set[str] = set()  # bound: one conversation
        self._open: list[str] = []  # bound: one turn

    def check(self, parts: Sequence[AIPart]) -> None:
        results = [part for part in parts if isinstance(part, AIToolResultPart)]
        if not results:
            self.check_all_answered()
        for result in results:
            if result.tool_call_id not in self._open:
                raise refused(
                    f"the result of {result.name!r} answers the call {result.tool_call_id!r}, which is not "
                    "open: keep a call and its result together, right after each other, and once"
                )
            self._open.remove(result.tool_call_id)
        for part in parts:
            if isinstance(part, AIToolCallPart):
                if part.id in self._seen:
                    raise refused(f"two tool calls have the id {part.id!r}; ids are unique in a conversation")
                self._seen.add(part.id)
                self._open.append(part.id)

    def check_all_answered(self) -> None:
        if self._open:
            raise refused(
                f"the tool calls {', '.join(self._open)} have no result; put one right after each call, "
                "an error if the tool was not run"
            )


def _blocks(
    message: AIMessage, parts: Sequence[AIPart], names: ToolNames, *, vision: bool
) -> Iterator[Block]:
    """Write the content of one message, tool results first."""
    label = f"{' '.join(message.name.split())}: " if message.name and message.role == "user" else ""
    for part in parts:
        if isinstance(part, AIToolResultPart):
            yield from _block(message, part, names, vision=vision)
    for part in parts:
        if isinstance(part, AIToolResultPart):
            continue
        if label and isinstance(part, AITextPart | AIImagePart):
            labelled = isinstance(part, AITextPart)
            text = f"{label}{part.text}" if isinstance(part, AITextPart) else label.strip()
            label = ""
            yield {"type": "text", "text": text}
            if labelled:
                continue
        yield from _block(message, part, names, vision=vision)


def _parts(message: AIMessage) -> tuple[AIPart, ...]:
    """Return the parts that say something: the API refuses blank text."""
    content = message.content
    parts = (AITextPart(text=content),) if isinstance(content, str) else content
    return tuple(part for part in parts if not isinstance(part, AITextPart) or part.text.strip())


def _block(message: AIMessage, part: AIPart, names: ToolNames, *, vision: bool) -> Iterable[Block]:
    match part:
        case AITextPart() if message.role != "tool":
            return [{"type": "text", "text": part.text}]
        case AIImagePart() if message.role == "user":
            return [_image(part, vision=vision)]
        case AIToolResultPart() if message.role != "assistant":
            result = {"type": "tool_result", "tool_use_id": part.tool_call_id, "content": part.result}
            return [{**result, "is_error": True} if part.is_error else result]
        case AIToolCallPart() if message.role == "assistant":
            call = {"type": "tool_use", "id": part.id, "name": names.to_wire(part.name)}
            return [{**call, "input": dict(part.arguments)}]
        case AIThinkingPart() if message.role == "assistant":
            return _thought(part)
    raise refused(f"a {part.type} part cannot stand in a message of the role {message.role!r}")


def _thought(part: AIThinkingPart) -> list[Block]:
    """Write a reasoning block as it came; one that Claude did not sign says nothing to it."""
    if part.redacted_data is not None:
        return [{"type": "redacted_thinking", "data": part.redacted_data}]
    if part.signature is None or part.signature.startswith("{"):  # JSON: another vendor's
        return []
    return [{"type": "thinking", "thinking": part.thinking, "signature": part.signature}]


def _image(part: AIImagePart, *, vision: bool) -> Block:
    if not vision:
        raise refused(
            "the conversation holds an image and vision is off for this model; set vision=True, or "
            "leave images out",
            error_code=ErrorCode.UNSUPPORTED_CONTENT,
        )
    if part.url.startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    inline = _DATA_URL.fullmatch(part.url)
    if inline is None:
        raise refused(
            f"an image is given as {part.url[:40]!r}; use an http(s) URL, or data: with base64",
            error_code=ErrorCode.UNSUPPORTED_CONTENT,
        )
    media_type = part.mime_type or inline[1]
    if media_type not in _IMAGES:
        raise refused(
            f"Claude does not read images of the type {media_type}; convert it to one of "
            f"{', '.join(_IMAGES)}",
            error_code=ErrorCode.UNSUPPORTED_CONTENT,
        )
    source = {"type": "base64", "media_type": media_type, "data": inline[2]}
    return {"type": "image", "source": source}


def _plain_text(message: AIMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    if other := [part.type for part in message.content if not isinstance(part, AITextPart)]:
        raise refused(f"a {other[0]} part cannot stand in a message of the role 'system'")
    return "\n\n".join(part.text for part in message.content if isinstance(part, AITextPart))
