"""The tools of an agent: those offered to the model, and their handlers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from roomkit.abc.errors import InvalidInputError, UnknownToolError
from roomkit.abc.log import get_logger
from roomkit.abc.tools import ProvidedTool, ToolOffer, ToolProvider
from roomkit.models.ai import AITool
from roomkit_plugins.ai.policy import ToolPolicy, matches
from roomkit_plugins.ai.schema import check_arguments, schema_problem

if TYPE_CHECKING:
    from roomkit.abc.ai import ToolHandler
    from roomkit.models.parking import Park
    from roomkit.models.tool import ToolResult

__all__ = [
    "NO_OFFER",
    "NO_TOOLS",
    "EndTurn",
    "RunnableTool",
    "SupportsTool",
    "ToolLike",
    "Toolbox",
    "checked_provider",
    "checked_tool",
    "compose_tool_handlers",
    "runnable",
    "with_handlers",
]

logger = get_logger("roomkit.ai")

NO_OFFER = ToolOffer()


class EndTurn(str):
    """A tool's result after which the model is not asked again: the turn ends with the words said so far.

    For tools that pass the conversation on, or by which a model decides to say nothing. The other calls of
    the round are run, and a call among them that parks has precedence.
    """

    __slots__ = ()


class SupportsTool(Protocol):
    """Anything that brings a tool's definition together with its handler."""

    @property
    def definition(self) -> AITool:
        """The definition that the model is given."""

    @property
    def handler(self) -> ToolHandler | None:
        """Who answers a call."""


@dataclass(slots=True, frozen=True)
class RunnableTool:
    """A tool with its handler; without one, the channel's `tool_handler` answers.

    `timeout` in seconds takes the place of the channel's `tool_timeout_seconds`; for `changes_offer` and
    `exempt` see `ProvidedTool`.
    """

    definition: AITool
    handler: ToolHandler | None = None
    timeout: float | None = None
    changes_offer: bool = False
    exempt: bool = False


type ToolLike = AITool | SupportsTool | tuple[AITool, ToolHandler] | Callable[..., object]
"""What `tools=` and `extra_tools` take: a function is described by its signature (see `tool`)."""


def runnable(tool: ToolLike) -> RunnableTool:
    """Return `tool` in the one form the loop works with.

    Raises InvalidInputError for anything that is not a tool.
    """
    match tool:
        case RunnableTool():
            return tool
        case AITool():
            return RunnableTool(tool)
        case (AITool() as definition, handler) if callable(handler):
            return RunnableTool(definition, handler)
        case ProvidedTool():
            return RunnableTool(tool.definition, tool.handler, tool.timeout, tool.changes_offer, tool.exempt)
    described: object = getattr(tool, "definition", None)
    if isinstance(described, AITool):
        return RunnableTool(described, getattr(tool, "handler", None), getattr(tool, "timeout", None))
    if callable(tool) and not isinstance(tool, type):
        from roomkit_plugins.ai.functions import FunctionTool  # pydantic's schemas, for those who use them

        return runnable(FunctionTool(tool))
    raise InvalidInputError(
        f"{tool!r} is not a tool: pass a function, an AITool, a (AITool, handler) pair, or a RunnableTool"
    )


def checked_provider(provider: object) -> ToolProvider:
    """Return `provider` if it is one. Raises InvalidInputError."""
    if not isinstance(provider, ToolProvider):
        raise InvalidInputError(f"{provider!r:.200} is not a tool provider: pass a single tool in tools=")
    return provider


def checked_tool(tool: ToolLike) -> RunnableTool:
    """Return `tool` in the one form. Raises InvalidInputError for one that no vendor would take."""
    ready = runnable(tool)
    problem = schema_problem(ready.definition)
    if problem:
        raise InvalidInputError(f"the tool {ready.definition.name!r} cannot be offered: {problem}")
    return ready


def with_handlers(definitions: Iterable[AITool], known: Iterable[RunnableTool]) -> list[RunnableTool]:
    """Return a room's tools, each with the handler the agent has for that name, if any."""
    by_name = {tool.definition.name: tool for tool in known}
    return [
        replace(by_name[one.name], definition=one) if one.name in by_name else RunnableTool(one)
        for one in definitions
    ]


class Toolbox:
    """The tools of one turn, after policy: the one place that decides which calls may run.

    Of two tools with one name the first is kept. A tool whose schema no vendor would take is left
    out, with a warning, so that it does not spoil the request. `offer` says which tools are withheld.
    """

    __slots__ = ("_fallback", "_offer", "_policy", "_tools")

    def __init__(
        self,
        tools: Iterable[RunnableTool] = (),
        *,
        handler: ToolHandler | None = None,
        policy: ToolPolicy | None = None,
        offer: ToolOffer = NO_OFFER,
    ) -> None:
        self._policy = policy
        self._offer = offer
        self._fallback = handler
        self._tools: dict[str, RunnableTool] = {}  # bound: the tools configured
        for tool in tools:
            name = tool.definition.name
            permitted = tool.exempt or self._permits(name)
            if permitted and not (offer.withheld and self._way_to(name)) and _usable(tool.definition):
                self._tools.setdefault(name, tool)

    @property
    def definitions(self) -> list[AITool]:
        """What the model is offered."""
        return [tool.definition for tool in self._tools.values()]

    def refusal(self, name: str, arguments: Mapping[str, Any]) -> str | None:
        """Return why a call may not be made, in words for the model; None when it may."""
        tool = self._tools.get(name)
        if tool is None:
            if not self._permits(name):
                return f"the tool {name!r} is not permitted here"
            if (way := self._way_to(name)) is not None:
                return way
            known = ", ".join(self._tools) or "none"
            return f"unknown tool {name!r}; the tools you may call: {known}"
        problems = check_arguments(tool.definition, arguments)
        if problems:
            return f"invalid arguments, correct them and call again: {'; '.join(problems)}"
        return None

    def refusal_of_own(self, name: str, _arguments: Mapping[str, Any]) -> str | None:
        """Return why a provider may not call a tool of its own; None if it may."""
        return self._way_to(name) if self._permits(name) else f"the tool {name!r} is not permitted here"

    def handler(self, name: str) -> ToolHandler:
        """Return the handler of an offered tool. Raises UnknownToolError when there is none."""
        handler = self._tools[name].handler or self._fallback
        if handler is None:
            logger.warning(
                "the tool %r was called but has no handler: set tool_handler, or pass the tool "
                "with its handler in tools=",
                name,
            )
            raise UnknownToolError(f"the tool {name!r} has no handler")
        return handler

    def timeout(self, name: str) -> float | None:
        """Return a tool's own deadline in seconds, if it has one."""
        return self._tools[name].timeout

    def changes_offer(self, names: Iterable[str]) -> bool:
        """Return whether calls of these tools may have changed the offer."""
        return any(name in self._tools and self._tools[name].changes_offer for name in names)

    def _way_to(self, name: str) -> str | None:
        """Return how the model gets a tool that is withheld; None for one that is not."""
        if matches(name, self._offer.granted):
            return None
        return next((way for glob, way in self._offer.withheld.items() if matches(name, (glob,))), None)

    def _permits(self, name: str) -> bool:
        return self._policy is None or self._policy.is_allowed(name)


NO_TOOLS = Toolbox()
"""The tools of a turn that has none."""


def compose_tool_handlers(*handlers: ToolHandler) -> ToolHandler:
    """Return a handler that asks `handlers` in order until one knows the tool.

    "Not mine" is said by raising `UnknownToolError`, or by returning a JSON object whose `error`
    is a text that starts with "unknown tool". The last handler's answer is final. Raises
    ValueError for fewer than two handlers.
    """
    if len(handlers) < 2:
        raise ValueError(f"there is nothing to compose in {len(handlers)} handler(s): pass two or more")
    *others, last = handlers

    async def composed(name: str, arguments: dict[str, Any]) -> str | ToolResult | Park:
        for handler in others:
            try:
                result = await handler(name, arguments)
            except UnknownToolError:
                continue
            if not _disowned(result):
                return result
        return await last(name, arguments)

    return composed


def _disowned(result: object) -> bool:
    if not isinstance(result, str) or not result.lstrip().startswith("{"):
        return False
    try:
        error = json.loads(result).get("error")
    except ValueError:
        return False
    return isinstance(error, str) and error.lower().startswith("unknown tool")


def _usable(tool: AITool) -> bool:
    problem = schema_problem(tool)
    if problem:
        logger.warning("the tool %r is not offered: %s", tool.name, problem)
    return problem is None
