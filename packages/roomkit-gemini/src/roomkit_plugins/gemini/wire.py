"""From an `AIContext` to a request of the Gemini API, in the words of its Python SDK.

https://ai.google.dev/api/generate-content (Nov 2026). Pure: no network, no SDK. What the API would refuse, or
take for something else, is refused here with what to change.
"""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
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
from roomkit_plugins.gemini.config import GeminiConfig
from roomkit_plugins.gemini.errors import ORIGIN
from roomkit_plugins.gemini.models import thinks_by_budget
from roomkit_plugins.gemini.schema import subset
from roomkit_plugins.wire.structured import answer_schema
from roomkit_plugins.wire.tools import CallIds, ToolNames, object_schema, tool_choice

__all__ = ["GeminiRequest", "counting", "request", "signature", "signature_of_text"]

type Part = dict[str, Any]

_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "image/gif")
_LEVELS = ("minimal", "low", "medium", "high", "xhigh")
_IDS = CallIds(r"[a-zA-Z0-9_.:-]{1,64}")
_LONGEST_NAME = 64
_MOST_STOPS = 5
_OPENING = "(The conversation begins with the assistant's message.)"
_UNSIGNED = b"skip_thought_signature_validator"
"""Google's own word for calls that Gemini did not make: another model's, in a conversation handed over."""


@dataclass(frozen=True, slots=True)
class GeminiRequest:
    """A request's content and configuration, with the facts needed to read the answer."""

    contents: list[dict[str, Any]]
    config: dict[str, Any]
    names: ToolNames
    call_ids: frozenset[str]
    """The ids of tool calls the conversation has; a new call gets none of these."""
    left_out: tuple[str, ...]
    """Parameters of the context that this model does not take."""


def request(config: GeminiConfig, context: AIContext) -> GeminiRequest:
    """Write the request. Raises ProviderError for a context the API would refuse."""
    names = ToolNames(_LONGEST_NAME, letter_first=True)
    checked = conversation(
        context,
        ORIGIN.provider,
        vision=config.vision,
        is_mute=_is_foreign_thought,
        image_problem=_image_problem,
    )
    tools = [_tool(tool, names) for tool in context.tools]
    _check(config, context, checked.system)
    thinking, left_out = _thinking(config, context)
    limit = context.max_tokens or config.max_tokens
    optional: dict[str, Any] = {
        "system_instruction": checked.system,
        "temperature": config.temperature if context.temperature is None else context.temperature,
        "max_output_tokens": limit,
        "stop_sequences": list(context.stop),
        "tools": tools and [{"function_declarations": tools}],
        "tool_config": _tool_config(context, names),
        "thinking_config": thinking,
        "safety_settings": _safety(config),
        "cached_content": config.cached_content,
        "service_tier": config.service_tier,
        **_shape(config, context),
    }
    written = {name: value for name, value in optional.items() if value not in (None, "", [], {})}
    return GeminiRequest(_contents(checked.messages, names), written, names, checked.call_ids, left_out)


def counting(model: str, body: bytes) -> bytes:
    """Write the question how many tokens the request with this body has, which the SDK cannot ask in full."""
    asked = {"model": f"models/{model.removeprefix('models/')}", **json.loads(body)}
    return json.dumps({"generateContentRequest": asked}).encode()


def signature(token: str) -> str:
    """Return the signature of a thought as an `AIThinkingPart` keeps it: marked as Gemini's."""
    return json.dumps({"gemini": token})


def signature_of_text(token: str) -> str:
    """Return the signature that came with a text, as an `AIThinkingPart` keeps it."""
    return json.dumps({"gemini_text": token})


def _shape(config: GeminiConfig, context: AIContext) -> dict[str, Any]:
    """Write the shape of the answer."""
    schema = answer_schema(context, ORIGIN)
    if schema is None:
        return {}
    if context.tools and thinks_by_budget(config.model):
        raise ORIGIN.refused(
            f"{config.model} takes a response_schema or tools, not both; leave one out, or ask a newer model"
        )
    return {"response_mime_type": "application/json", "response_json_schema": subset(schema)}


def _check(config: GeminiConfig, context: AIContext, system: str) -> None:
    if len(context.stop) > _MOST_STOPS:
        raise ORIGIN.refused(f"Gemini takes {_MOST_STOPS} stop sequences, not {len(context.stop)}")
    if config.cached_content and (system or context.tools):
        raise ORIGIN.refused(
            "cached_content holds the system prompt and the tools, and this request has its own; leave "
            "them out, or cached_content"
        )


def _thinking(config: GeminiConfig, context: AIContext) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write how to think, and say which parameters this model does not take."""
    effort, budget = context.reasoning_effort, context.thinking_budget
    written: dict[str, Any] = {"include_thoughts": True} if config.include_thoughts else {}
    if thinks_by_budget(config.model):
        budget = config.thinking_budget if budget is None else budget
        if budget is not None:
            written["thinking_budget"] = budget
        return written, ("reasoning_effort",) if effort else ()
    if effort is not None and effort not in _LEVELS:
        raise ORIGIN.refused(f"Gemini knows no reasoning_effort {effort!r}; use one of {', '.join(_LEVELS)}")
    if effort is None and budget is None:
        effort, budget = config.thinking_level, config.thinking_budget
    if effort is None and budget is not None:
        effort = _level_for(budget)
    if effort is not None:
        written["thinking_level"] = effort.upper()
    return written, ()


def _level_for(budget: int) -> str:
    steps = ((0, "minimal"), (2_048, "low"), (8_192, "medium"), (24_576, "high"))
    return next((level for limit, level in steps if budget <= limit), "xhigh")


def _tool(tool: AITool, names: ToolNames) -> dict[str, Any]:
    written: dict[str, Any] = {"name": names.to_wire(tool.name)}
    if tool.description:
        written["description"] = tool.description
    schema = subset(object_schema(tool, ORIGIN))
    if schema.get("properties") or len(schema) > 2:
        written["parameters_json_schema"] = schema
    return written


def _tool_config(context: AIContext, names: ToolNames) -> dict[str, Any] | None:
    choice = tool_choice(context, names, ORIGIN)
    if choice is None:
        return None
    if choice in ("auto", "none"):
        return {"function_calling_config": {"mode": choice.upper()}}
    calling: dict[str, Any] = {"mode": "ANY"}
    if choice != "required":
        calling["allowed_function_names"] = [choice]
    return {"function_calling_config": calling}


def _safety(config: GeminiConfig) -> list[dict[str, str]]:
    return [
        {
            "category": f"HARM_CATEGORY_{harm.upper()}",
            "threshold": "OFF" if threshold == "off" else f"BLOCK_{threshold.upper()}",
        }
        for harm, threshold in config.safety.items()
    ]


def _contents(messages: tuple[AIMessage, ...], names: ToolNames) -> list[dict[str, Any]]:
    """Write the messages, one content for each turn of a side."""
    turns: list[dict[str, Any]] = []
    called: dict[str, str] = {}  # bound: one conversation
    for message in messages:
        role = "model" if message.role == "assistant" else "user"
        parts = labelled(message) if message.role == "user" else parts_of(message)
        called |= {part.id: part.name for part in parts if isinstance(part, AIToolCallPart)}
        written = _signed([_part(part, names, called) for part in parts])
        if not turns and role == "model":
            turns.append({"role": "user", "parts": [{"text": _OPENING}]})
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"].extend(written)
        else:
            turns.append({"role": role, "parts": written})
    return turns


def _signed(parts: list[Part]) -> list[Part]:
    """Return the parts of a message; of its calls, the first is signed, by Gemini or in its stead."""
    calls = [part for part in parts if "function_call" in part]
    if calls and not any("thought_signature" in call for call in calls):
        calls[0]["thought_signature"] = _UNSIGNED
    return parts


def _part(part: AIPart, names: ToolNames, called: dict[str, str]) -> Part:
    """Write a part; `called` has the name of each call, which its result repeats."""
    match part:
        case AITextPart(text=text):
            return {"text": text}
        case AIImagePart():
            return _image(part)
        case AIToolResultPart():
            said = {"error" if part.is_error else "output": part.result}
            name = names.to_wire(called[part.tool_call_id])
            answered = {"id": _IDS.to_wire(part.tool_call_id), "name": name}
            return {"function_response": {**answered, "response": said}}
        case AIToolCallPart():
            call = {"id": _IDS.to_wire(part.id), "name": names.to_wire(part.name)}
            written: Part = {"function_call": {**call, "args": dict(part.arguments)}}
            token = _token(part.metadata.get("thought_signature"))
            return {**written, "thought_signature": token} if token else written
        case AIThinkingPart():
            return _thought(part)


def _thought(part: AIThinkingPart) -> Part:
    """Write a thought as it came; the signature of a text comes back on a part without text."""
    kept = json.loads(part.signature or "{}")
    if "gemini_text" in kept:
        return {"text": "", "thought_signature": _token(kept["gemini_text"])}
    return {"text": part.thinking, "thought": True, "thought_signature": _token(kept["gemini"])}


def _is_foreign_thought(part: AIPart) -> bool:
    """Whether it is a thought that Gemini did not sign: it says nothing to it."""
    if not isinstance(part, AIThinkingPart):
        return False
    try:
        kept = json.loads(part.signature or "")
    except ValueError:
        return True
    return not (isinstance(kept, dict) and (_token(kept.get("gemini")) or _token(kept.get("gemini_text"))))


def _token(given: object) -> bytes | None:
    """Return the bytes of a signature; None for anything else."""
    if not isinstance(given, str) or not given:
        return None
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return None


def _image_problem(part: AIImagePart) -> str | None:
    """Return why Gemini cannot be sent an image, None when it can."""
    inline = part.inline
    media_type = _media_type(part) if inline is None else inline.media_type
    if inline is None and not part.url.startswith(("https://", "gs://")):
        return f"an image is given as {part.url[:40]!r}; use an https or gs URL, or data: with base64"
    if media_type is None:
        return (
            "the type of an image does not show in its URL, and Gemini requires it; set mime_type, "
            "such as image/png"
        )
    if media_type not in _IMAGES:
        types = ", ".join(_IMAGES)
        return f"Gemini does not read images of the type {media_type}; convert it to one of {types}"
    return None if inline is None or _is_base64(inline.data) else "the data: URL of an image is not base64"


def _is_base64(data: str) -> bool:
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _media_type(part: AIImagePart) -> str | None:
    """Return what an image at a URL is, as it was said or as its name ends."""
    return part.mime_type or mimetypes.guess_type(part.url.partition("?")[0])[0]


def _image(part: AIImagePart) -> Part:
    inline = part.inline
    if inline is None:
        return {"file_data": {"file_uri": part.url, "mime_type": _media_type(part)}}
    return {"inline_data": {"mime_type": inline.media_type, "data": base64.b64decode(inline.data)}}
