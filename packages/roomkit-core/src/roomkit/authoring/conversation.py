"""A conversation with a model: the shape that every vendor wants it to have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import ErrorCode, ProviderError
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
from roomkit.models.values import repaired

__all__ = [
    "Conversation",
    "attributed",
    "check_parameters",
    "check_tools",
    "conversation",
    "labelled",
    "parts_of",
]

_ALLOWED: dict[str, tuple[type[AIPart], ...]] = {
    "system": (AITextPart,),
    "user": (AITextPart, AIImagePart, AIToolResultPart),
    "assistant": (AITextPart, AIThinkingPart, AIToolCallPart),
    "tool": (AIToolResultPart,),
}


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation that a model can be asked: checked, and without what says nothing."""

    system: str
    messages: tuple[AIMessage, ...]
    """Of users, tools and the assistant. `parts_of` each are results of tools, or others; never none."""
    call_ids: frozenset[str]


def conversation(
    context: AIContext,
    provider: str,
    *,
    vision: bool,
    is_mute: Callable[[AIPart], bool] = lambda part: False,
    image_problem: Callable[[AIImagePart], str | None] = lambda part: None,
) -> Conversation:
    """Check the conversation's shape. Raises ProviderError, from `provider`, for one that no vendor takes.

    Each part is one its role can hold, each tool call has an id of its own and its result right
    after it, and the last word is not the assistant's. Blank text is omitted, and so are the parts
    for which `is_mute` says that they mean nothing to this vendor. Parts beside tools' results
    come after them, once all calls are answered.

    `image_problem` says why the vendor cannot take an image, and a model without vision takes none.
    Such an image is refused in the message to be answered, the last of a user; an older one has
    become a note, so that it fails no later turn.
    """
    system = [context.system_prompt or ""]
    messages: list[AIMessage] = []
    beside: list[AIMessage] = []
    calls = _OpenCalls(provider)
    present = _present(context.messages)
    problem = image_problem if vision else _no_vision
    for place, message in enumerate(context.messages):
        images = _Images(problem, provider, older=place < present)
        said = [images.taken(part) for part in _parts(message)]
        for part in said:
            _check_part(message, part, provider)
        parts = [part for part in said if not is_mute(part)]
        if message.role == "system":
            system += [part.text for part in parts if isinstance(part, AITextPart)]
        elif parts:
            calls.check(parts)
            results = tuple(part for part in parts if isinstance(part, AIToolResultPart))
            others = tuple(part for part in parts if not isinstance(part, AIToolResultPart))
            if results:
                messages.append(message.replace(content=results, name=None))
            if others:
                beside.append(message.replace(content=others))
            if not results or calls.are_answered:
                messages += beside
                beside.clear()
    calls.check_all_answered()
    if not messages or messages[-1].role == "assistant":
        raise _refused(
            provider,
            "the model answers a user's message or a tool's result, and the conversation does not end "
            "with one; the last message is "
            + (f"the {context.messages[-1].role}'s" if context.messages else "missing"),
        )
    joined = repaired("\n\n".join(text for text in system if text.strip()), keep_nul=True)
    return Conversation(joined, tuple(messages), frozenset(calls.seen))


def check_tools(context: AIContext, provider: str) -> None:
    """Raise ProviderError, from `provider`, for tools that no API takes, or a `tool_choice` beyond them.

    Each has a name of its own, and parameters as `check_parameters` has them.
    """
    choice = context.tool_choice
    offered = [tool.name for tool in context.tools]
    if len(set(offered)) < len(offered):
        name = next(name for name in offered if offered.count(name) > 1)
        raise _refused(provider, f"two tools have the name {name!r}; rename one, or leave it out")
    for tool in context.tools:
        check_parameters(tool, provider)
    if choice in (None, "auto", "none") or choice in offered:
        return
    if not offered:
        raise _refused(provider, f"tool_choice is {choice!r}, but no tool is offered; add it to `tools`")
    if choice != "required":
        raise _refused(provider, f"tool_choice names {choice!r}, which is not among the tools: {offered}")


def check_parameters(tool: AITool, provider: str) -> None:
    """Raise ProviderError, from `provider`, if a tool's parameters are no JSON Schema of an object."""
    written = tool.parameters.get("type", "object")
    if written != "object":
        raise _refused(
            provider,
            f"the parameters of tool {tool.name!r} are a JSON Schema of type {written!r}; the API takes an "
            "object only: wrap the value in one",
        )


def parts_of(message: AIMessage) -> tuple[AIPart, ...]:
    """Return the content of a message of `conversation`, which has parts only."""
    assert not isinstance(message.content, str)
    return message.content


def attributed(speaker: str, text: str) -> str:
    """Return words with their speaker in front.

    Further lines are indented: what begins a line is a speaker's name, and no one writes another's.
    """
    return f"{speaker}: {_indented(text)}"


def labelled(message: AIMessage) -> tuple[AIPart, ...]:
    """Return the parts of a message, with the speaker's name, if any, before them, as `attributed` has it."""
    content = message.content
    first, *others = (AITextPart(text=content),) if isinstance(content, str) else content
    if not message.name:
        return (first, *others)
    speaker = " ".join(message.name.split())
    rest = [
        part.replace(text=f"  {_indented(part.text)}") if isinstance(part, AITextPart) else part
        for part in others
    ]
    if isinstance(first, AITextPart):
        return (AITextPart(text=attributed(speaker, first.text)), *rest)
    return (AITextPart(text=f"{speaker}:"), first, *rest)


def _indented(text: str) -> str:
    """Return a text whose lines after the first are indented, whatever separates them."""
    return text if len(lines := text.splitlines()) < 2 else "\n  ".join(lines)


class _OpenCalls:
    """Follows tool calls through a conversation: each id once, each answered by the next message."""

    def __init__(self, provider: str) -> None:
        self.seen: set[str] = set()  # bound: one conversation
        self._open: list[str] = []  # bound: one turn
        self._provider = provider

    def check(self, parts: Sequence[AIPart]) -> None:
        if not any(isinstance(part, AIToolResultPart) for part in parts):
            self.check_all_answered()
        for part in parts:
            if isinstance(part, AIToolResultPart):
                self._answer(part)
            elif isinstance(part, AIToolCallPart):
                self._call(part)

    @property
    def are_answered(self) -> bool:
        return not self._open

    def check_all_answered(self) -> None:
        if self._open:
            raise _refused(
                self._provider,
                f"the tool calls {', '.join(self._open)} have no result; put one right after each call, "
                "an error if the tool was not run",
            )

    def _call(self, part: AIToolCallPart) -> None:
        if part.id in self.seen:
            raise _refused(
                self._provider, f"two tool calls have the id {part.id!r}; ids are unique in a conversation"
            )
        self.seen.add(part.id)
        self._open.append(part.id)

    def _answer(self, part: AIToolResultPart) -> None:
        if part.tool_call_id not in self._open:
            raise _refused(
                self._provider,
                f"the result of {part.name!r} answers the call {part.tool_call_id!r}, which is not open: "
                "keep a call and its result together, right after each other, and once",
            )
        self._open.remove(part.tool_call_id)


def _parts(message: AIMessage) -> Sequence[AIPart]:
    """Return the parts that say something."""
    content = message.content
    parts = (AITextPart(text=content),) if isinstance(content, str) else content
    return [part for part in parts if not isinstance(part, AITextPart) or part.text.strip()]


def _check_part(message: AIMessage, part: AIPart, provider: str) -> None:
    if not isinstance(part, _ALLOWED[message.role]):
        raise _refused(provider, f"a {part.type} part cannot stand in a message of the role {message.role!r}")


def _present(messages: Sequence[AIMessage]) -> int:
    """Return where the message to be answered is: the last that a user wrote."""
    places = (at for at in range(len(messages) - 1, -1, -1) if _is_from_user(messages[at]))
    return next(places, 0)


def _is_from_user(message: AIMessage) -> bool:
    """Whether a user wrote it; some tool loops put results into messages of users."""
    if message.role != "user":
        return False
    return any(not isinstance(part, AIToolResultPart) for part in _parts(message))


@dataclass(frozen=True, slots=True)
class _Images:
    """Decides on the images of one message."""

    problem: Callable[[AIImagePart], str | None]
    provider: str
    older: bool

    def taken(self, part: AIPart) -> AIPart:
        """Return the part as the vendor takes it."""
        problem = self.problem(part) if isinstance(part, AIImagePart) else None
        if problem is None or not isinstance(part, AIImagePart):
            return part
        if self.older:
            return part.note
        raise _refused(self.provider, problem, ErrorCode.UNSUPPORTED_CONTENT)


def _no_vision(part: AIImagePart) -> str:
    return (
        "the conversation holds an image and vision is off for this model; set vision=True, or leave "
        "images out"
    )


def _refused(provider: str, what: str, error_code: ErrorCode = ErrorCode.INVALID_REQUEST) -> ProviderError:
    return ProviderError(what, error_code=error_code, provider=provider)
