"""What the two APIs have in common, between our models and theirs.

Pure: no network, no SDK. `chat.py` and `responses.py` write the requests and read the answers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import from_json

from roomkit.abc.errors import ErrorCode
from roomkit.models.ai import (
    AIContext,
    AIImagePart,
    AIMessage,
    AIPart,
    AIResponse,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCall,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.models.base import freeze, new_id
from roomkit_plugins.openai.config import OpenAIConfig
from roomkit_plugins.openai.errors import Origin

__all__ = ["Answer", "Reading", "Request", "ToolNames", "collect", "conversation"]

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_IMAGE = re.compile(r"https?://.+|data:image/[a-z.+-]+;base64,.+", re.DOTALL)
_ALLOWED: dict[str, tuple[type[AIPart], ...]] = {
    "system": (AITextPart,),
    "user": (AITextPart, AIImagePart, AIToolResultPart),
    "assistant": (AITextPart, AIThinkingPart, AIToolCallPart),
    "tool": (AIToolResultPart,),
}


class ToolNames:
    """Tool names as the API takes them (letters, digits, `_` and `-`, up to 64), and back."""

    def __init__(self) -> None:
        self._ours: dict[str, str] = {}  # bound: the tools of one request
        self._theirs: dict[str, str] = {}  # bound: the tools of one request

    def to_wire(self, name: str) -> str:
        """Return the vendor's form of `name`, always the same and never that of another."""
        if name not in self._theirs:
            safe = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64]
            if safe != name or safe in self._ours:
                safe = f"{safe[:55]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
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
    call_ids: frozenset[str]
    """The ids of tool calls the conversation has; a new call gets none of these."""
    left_out: tuple[str, ...]
    """Parameters of the context that this model does not take."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation that the API can be asked: checked, and without what says nothing."""

    system: str
    messages: tuple[AIMessage, ...]
    call_ids: frozenset[str]


def conversation(context: AIContext, origin: Origin, *, vision: bool) -> Conversation:
    """Check the conversation's shape. Raises ProviderError for one the API would refuse."""
    system = [context.system_prompt or ""]
    messages: list[AIMessage] = []
    calls = _OpenCalls(origin)
    for message in context.messages:
        parts = _parts(message)
        for part in parts:
            _check_part(message, part, origin, vision=vision)
        if message.role == "system":
            system += [part.text for part in parts if isinstance(part, AITextPart)]
            continue
        if parts:
            calls.check(parts)
            messages.append(message.replace(content=parts))
    calls.check_all_answered()
    if not messages or messages[-1].role == "assistant":
        raise origin.refused(
            "the model answers a user's message or a tool's result, and the conversation does not end "
            "with one; the last message is "
            + (f"the {context.messages[-1].role}'s" if context.messages else "missing")
        )
    joined = "\n\n".join(text for text in system if text.strip())
    return Conversation(joined, tuple(messages), frozenset(calls.seen))


def parts_of(message: AIMessage) -> tuple[AIPart, ...]:
    """Return the content of a message of `conversation`, which has parts only."""
    assert not isinstance(message.content, str)
    return message.content


def labelled(message: AIMessage) -> tuple[AIPart, ...]:
    """Return the parts of a user's message, with the speaker's name in front of the text."""
    parts = parts_of(message)
    if not message.name or not any(isinstance(part, AITextPart | AIImagePart) for part in parts):
        return parts
    label = f"{' '.join(message.name.split())}:"
    for place, part in enumerate(parts):
        if isinstance(part, AITextPart):
            named = AITextPart(text=f"{label} {part.text}")
            return (*parts[:place], named, *parts[place + 1 :])
    return (AITextPart(text=label), *parts)


def sampling(config: OpenAIConfig, context: AIContext) -> tuple[float | None, list[str]]:
    """Return the temperature to send, and the names of what this model does not take."""
    temperature = config.temperature if context.temperature is None else context.temperature
    if temperature is not None and config.reasons:
        return None, ["temperature"]
    return temperature, []


def effort(config: OpenAIConfig, context: AIContext, origin: Origin) -> tuple[str | None, list[str]]:
    """Return the reasoning effort to ask for, and the names of what this model does not take."""
    chosen = context.reasoning_effort or config.reasoning_effort
    if chosen is not None and chosen not in _EFFORTS:
        raise origin.refused(f"there is no reasoning_effort {chosen!r}; use one of {', '.join(_EFFORTS)}")
    budget = context.thinking_budget
    if chosen or budget is None:
        return chosen, []
    if not config.reasons:
        return None, ["thinking_budget"]
    steps = ((0, "none"), (2_048, "low"), (8_192, "medium"), (24_576, "high"))
    return next((effort for limit, effort in steps if budget <= limit), "xhigh"), []


def schema(tool: AITool, origin: Origin) -> dict[str, Any]:
    """Return a tool's parameters as an object schema."""
    written = dict(tool.parameters)
    if written.setdefault("type", "object") != "object":
        raise origin.refused(
            f"the parameters of tool {tool.name!r} are a JSON Schema of type {written['type']!r}; "
            "the API takes an object only: wrap the value in one"
        )
    written.setdefault("properties", {})
    return written


def tool_choice(context: AIContext, names: ToolNames, origin: Origin) -> str | None:
    """Return `auto`, `none`, `required` or a tool's name on the wire; None to leave it unsaid."""
    choice = context.tool_choice
    offered = [tool.name for tool in context.tools]
    if not offered:
        if choice in (None, "auto", "none"):
            return None
        raise origin.refused(f"tool_choice is {choice!r}, but no tool is offered; add it to `tools`")
    if choice is None or choice in ("auto", "none", "required"):
        return choice
    if choice not in offered:
        raise origin.refused(f"tool_choice names {choice!r}, which is not among the tools: {offered}")
    return names.to_wire(choice)


def result_text(part: AIToolResultPart) -> str:
    """Return what a tool answered; the API has no other place to say that it failed."""
    return f"Error: {part.result}" if part.is_error else part.result


class _OpenCalls:
    """Follows tool calls through a conversation: each id once, each answered by what comes next."""

    def __init__(self, origin: Origin) -> None:
        self.seen: set[str] = set()  # bound: one conversation
        self._open: list[str] = []  # bound: one turn
        self._origin = origin

    def check(self, parts: Sequence[AIPart]) -> None:
        if not _is_results(parts):
            self.check_all_answered()
        for part in parts:
            if isinstance(part, AIToolResultPart):
                self._close(part)
            elif isinstance(part, AIToolCallPart):
                if part.id in self.seen:
                    raise self._origin.refused(
                        f"two tool calls have the id {part.id!r}; ids are unique in a conversation"
                    )
                self.seen.add(part.id)
                self._open.append(part.id)

    def check_all_answered(self) -> None:
        if self._open:
            raise self._origin.refused(
                f"the tool calls {', '.join(self._open)} have no result; put one right after each call, "
                "an error if the tool was not run"
            )

    def _close(self, part: AIToolResultPart) -> None:
        if part.tool_call_id not in self._open:
            raise self._origin.refused(
                f"the result of {part.name!r} answers the call {part.tool_call_id!r}, which is not open: "
                "keep a call and its result together, right after each other, and once"
            )
        self._open.remove(part.tool_call_id)


def _is_results(parts: Sequence[AIPart]) -> bool:
    return any(isinstance(part, AIToolResultPart) for part in parts)


def _parts(message: AIMessage) -> tuple[AIPart, ...]:
    """Return the parts that say something."""
    content = message.content
    parts = (AITextPart(text=content),) if isinstance(content, str) else content
    return tuple(part for part in parts if not isinstance(part, AITextPart) or part.text.strip())


def _check_part(message: AIMessage, part: AIPart, origin: Origin, *, vision: bool) -> None:
    if not isinstance(part, _ALLOWED[message.role]):
        raise origin.refused(f"a {part.type} part cannot stand in a message of the role {message.role!r}")
    if not isinstance(part, AIImagePart):
        return
    if not vision:
        raise origin.refused(
            "the conversation holds an image and vision is off for this model; set vision=True, or "
            "leave images out",
            error_code=ErrorCode.UNSUPPORTED_CONTENT,
        )
    if not _IMAGE.fullmatch(part.url):
        raise origin.refused(
            f"an image is given as {part.url[:40]!r}; use an http(s) URL, or data:image/... with base64",
            error_code=ErrorCode.UNSUPPORTED_CONTENT,
        )


class Answer(Protocol):
    """Reads one answer of an API, whole or as the events of a stream."""

    def whole(self, body: bytes) -> Iterable[StreamEvent]:
        """Yield what a whole answer says, `StreamDone` last."""

    def feed(self, data: str) -> Iterator[StreamEvent]:
        """Yield what an event tells. What comes after the end is not looked at."""

    def end(self) -> Iterator[StreamEvent]:
        """Yield the rest, `StreamDone` last. Raises ProviderError when the stream stopped too early."""


class Reading:
    """What reading both APIs needs: the shapes they must have, and calls with ids of their own."""

    def __init__(self, request: Request, origin: Origin) -> None:
        self.origin = origin
        self._names = request.names
        self._ids = set(request.call_ids)  # bound: one conversation

    def parse(self, data: str | bytes) -> dict[str, Any]:
        """Read a JSON object."""
        try:
            value = from_json(data)
        except ValueError as error:
            raise self.origin.bad_response(f"not JSON ({error})") from error
        if not isinstance(value, dict):
            raise self.origin.bad_response(f"a JSON {type(value).__name__} where an object belongs")
        return value

    def as_object(self, value: object, what: str) -> dict[str, Any]:
        """Return `value` if it is a JSON object."""
        if not isinstance(value, dict):
            raise self.origin.bad_response(f"{what} is not an object")
        return value

    def as_list(self, value: object, what: str) -> list[Any]:
        """Return `value` if it is a JSON list."""
        if not isinstance(value, list):
            raise self.origin.bad_response(f"{what} is not a list")
        return value

    def as_text(self, value: object, what: str) -> str:
        """Return `value` if it is a string."""
        if not isinstance(value, str):
            raise self.origin.bad_response(f"{what} is not a string")
        return value

    def call(
        self, identity: object, name: str, given: object, metadata: dict[str, Any] | None = None
    ) -> StreamToolCall:
        """Make a tool call, under an id that the conversation does not have yet."""
        if not isinstance(identity, str) or not identity or identity in self._ids:
            identity = f"call_{new_id()}"
        self._ids.add(identity)
        arguments, invalid = _arguments(given)
        return StreamToolCall(identity, self._names.from_wire(name), arguments, metadata or {}, invalid)

    def metadata(self, answer: dict[str, Any], reason: str) -> dict[str, Any]:
        """Return what may help to find this answer at the vendor's."""
        known = ("id", "model", "service_tier", "system_fingerprint")
        found = {name: answer[name] for name in known if isinstance(answer.get(name), str)}
        if self.origin.request_id:
            found["request_id"] = self.origin.request_id
        return {**found, "finish_reason": reason}


def collect(events: Iterable[StreamEvent]) -> AIResponse:
    """Put the events of a whole answer together."""
    response = AIResponse(content="")
    thinking: AIThinkingPart | None = None
    for event in events:
        match event:
            case StreamThinkingDelta():
                begun = thinking.thinking if thinking else ""
                thinking = AIThinkingPart(thinking=begun + event.thinking, signature=event.signature)
                if event.signature:
                    response.thinking_parts.append(thinking)
                    thinking = None
            case StreamTextDelta():
                response.content += event.text
            case StreamToolCall():
                response.tool_calls.append(
                    AIToolCall(
                        id=event.id,
                        name=event.name,
                        arguments=event.arguments,
                        metadata=event.metadata,
                        invalid=event.invalid,
                    )
                )
            case StreamDone():
                response.finish_reason = event.finish_reason
                response.usage, response.metadata = event.usage, event.metadata
    if thinking:
        response.thinking_parts.append(thinking)
    response.thinking = "\n\n".join(p.thinking for p in response.thinking_parts if p.thinking) or None
    response.thinking_signature = next(
        (part.signature for part in response.thinking_parts if part.signature), None
    )
    return response


def usage(counts: object, *, prompt: str, completion: str) -> dict[str, int]:
    """Count tokens in our words; what the vendor does not say stays unsaid.

    `prompt` and `completion` are what the API calls the two; the first includes what was read from
    and written to a cache, and ours does not.
    """
    if not isinstance(counts, dict):
        return {}
    given, written = counts.get(f"{prompt}_details"), counts.get(f"{completion}_details")
    found = {
        "cache_read_input_tokens": _count(given, "cached_tokens"),
        "cache_creation_input_tokens": _count(given, "cache_write_tokens"),
        "reasoning_tokens": _count(written, "reasoning_tokens"),
        "output_tokens": _count(counts, completion),
        "total_tokens": _count(counts, "total_tokens"),
    }
    total_input = _count(counts, prompt)
    if total_input is not None:
        cached = (found["cache_read_input_tokens"] or 0) + (found["cache_creation_input_tokens"] or 0)
        found["input_tokens"] = max(0, total_input - cached)
    return {name: count for name, count in found.items() if count is not None}


def _count(holder: object, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _arguments(given: object) -> tuple[dict[str, Any], str | None]:
    """Return a call's arguments, or what the model wrote instead and why that is none."""
    raw = given if isinstance(given, str) else None
    try:
        value = (from_json(raw, allow_inf_nan=False) if raw.strip() else {}) if raw is not None else given
        if isinstance(value, dict):
            return dict(freeze(value)), None
        problem = f"the arguments are a JSON {type(value).__name__}, not an object"
    except ValueError as error:
        problem = f"the arguments are not JSON: {error}"
    return {"raw": raw if raw is not None else repr(given)}, problem
