"""From an `AIContext` to the body of a Messages request.

https://platform.claude.com/docs/en/api/messages (Nov 2026). Pure: no network, no SDK. What the API
would refuse, or take for something else, is refused here with what to change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from roomkit.authoring.conversation import conversation, labelled, parts_of
from roomkit.models.ai import (
    AIImagePart,
    AIPart,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit.models.generation import AIContext
from roomkit_plugins.anthropic.config import AnthropicConfig
from roomkit_plugins.anthropic.errors import ORIGIN
from roomkit_plugins.anthropic.models import takes_temperature, thinks_by_budget
from roomkit_plugins.anthropic.schema import output_format
from roomkit_plugins.wire.structured import answer_schema
from roomkit_plugins.wire.tools import CallIds, ToolNames, object_schema, tool_choice

__all__ = ["AnthropicRequest", "request"]

type Block = dict[str, Any]

_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_IDS = CallIds(r"[a-zA-Z0-9_-]{1,64}")
_LONGEST_NAME = 128
_OPENING = "(The conversation begins with the assistant's message.)"


@dataclass(frozen=True, slots=True)
class AnthropicRequest:
    """A request's body, with the facts needed to read the answer."""

    body: dict[str, Any]
    names: ToolNames
    left_out: tuple[str, ...]
    """Parameters of the context that this model does not take."""


def request(config: AnthropicConfig, context: AIContext) -> AnthropicRequest:
    """Write the request. Raises ProviderError for a context the API would refuse."""
    names = ToolNames(_LONGEST_NAME)
    tools = [_tool(tool, names) for tool in context.tools]
    system, messages = _conversation(context, names, vision=config.vision)
    body: dict[str, Any] = {"model": config.model, "messages": messages, **_thinking(config, context)}
    if (schema := answer_schema(context, ORIGIN)) is not None:
        body["output_config"] = {**body.get("output_config", {}), "format": output_format(schema)}
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
    return AnthropicRequest(body, names, tuple(left_out))


def _thinking(config: AnthropicConfig, context: AIContext) -> dict[str, Any]:
    """Write max_tokens, thinking and effort, which depend on each other."""
    budget = config.thinking_budget if context.thinking_budget is None else context.thinking_budget
    effort = context.reasoning_effort or config.effort
    if effort is not None and effort not in _EFFORTS:
        raise ORIGIN.refused(f"Claude knows no reasoning_effort {effort!r}; use one of {', '.join(_EFFORTS)}")
    max_tokens = context.max_tokens or config.max_tokens
    thinking: Block | None = {"type": config.thinking} if config.thinking else None
    if budget == 0:
        thinking = {"type": "disabled"}
    elif budget is not None:
        max_tokens += budget
        if thinks_by_budget(config.model):
            if budget < 1024:
                raise ORIGIN.refused(f"a thinking_budget of {budget} is too small: 0, or at least 1024")
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
    written: Block = {"name": names.to_wire(tool.name), "input_schema": object_schema(tool, ORIGIN)}
    if tool.description:
        written["description"] = tool.description
    return written


def _tool_choice(config: AnthropicConfig, context: AIContext, names: ToolNames) -> Block | None:
    choice = tool_choice(context, names, ORIGIN)
    if not context.tools:
        return None
    if choice == "none":
        return {"type": "none"}
    if choice is None and config.parallel_tool_calls is None:
        return None
    simple = {None: "auto", "auto": "auto", "required": "any"}
    written: Block = {"type": simple[choice]} if choice in simple else {"type": "tool", "name": choice}
    if config.parallel_tool_calls is not None:
        written["disable_parallel_tool_use"] = not config.parallel_tool_calls
    return written


def _conversation(context: AIContext, names: ToolNames, *, vision: bool) -> tuple[str, list[Block]]:
    """Write the system prompt and the messages, one for each turn of a side."""
    checked = conversation(
        context, ORIGIN.provider, vision=vision, is_mute=_is_foreign_thought, image_problem=_image_problem
    )
    turns: list[Block] = []
    for message in checked.messages:
        role = "assistant" if message.role == "assistant" else "user"
        parts = labelled(message) if message.role == "user" else parts_of(message)
        blocks = [_block(part, names) for part in parts]
        if not turns and role == "assistant":
            turns.append({"role": "user", "content": [{"type": "text", "text": _OPENING}]})
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    return checked.system, turns


def _block(part: AIPart, names: ToolNames) -> Block:
    match part:
        case AITextPart(text=text):
            return {"type": "text", "text": text}
        case AIImagePart():
            return _image(part)
        case AIToolResultPart():
            result = {"type": "tool_result", "tool_use_id": _IDS.to_wire(part.tool_call_id)}
            result["content"] = part.result
            return {**result, "is_error": True} if part.is_error else result
        case AIToolCallPart():
            call = {"type": "tool_use", "id": _IDS.to_wire(part.id), "name": names.to_wire(part.name)}
            return {**call, "input": dict(part.arguments)}
        case AIThinkingPart():
            return _thought(part)


def _thought(part: AIThinkingPart) -> Block:
    """Write a reasoning block as it came."""
    if part.redacted_data is not None:
        return {"type": "redacted_thinking", "data": part.redacted_data}
    return {"type": "thinking", "thinking": part.thinking, "signature": part.signature}


def _is_foreign_thought(part: AIPart) -> bool:
    """Whether it is reasoning that Claude did not sign: it says nothing to it."""
    if not isinstance(part, AIThinkingPart) or part.redacted_data is not None:
        return False
    return part.signature is None or part.signature.startswith("{")  # JSON: another vendor's


def _image_problem(part: AIImagePart) -> str | None:
    """Return why Claude cannot be sent an image, None when it can."""
    if part.is_fetched:
        return None
    inline = part.inline
    if inline is None:
        return f"an image is given as {part.url[:40]!r}; use an http(s) URL, or data: with base64"
    if inline.media_type in _IMAGES:
        return None
    return (
        f"Claude does not read images of the type {inline.media_type}; convert it to one of "
        f"{', '.join(_IMAGES)}"
    )


def _image(part: AIImagePart) -> Block:
    inline = part.inline
    if inline is None:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    source = {"type": "base64", "media_type": inline.media_type, "data": inline.data}
    return {"type": "image", "source": source}
