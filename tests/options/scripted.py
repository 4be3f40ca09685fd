"""Components scripted in a table of settings: a model, tools and an executor, of a plugin of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, override

from pydantic import BaseModel, ConfigDict

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.executor import TurnExecutor
from roomkit.abc.tools import ProvidedTool, ToolOffer, ToolProvider
from roomkit.models.ai import AITool, AIToolCall, StreamEvent
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.room import Room
from roomkit.plugins import PluginManager, hookimpl
from roomkit_plugins.testing import MockAIProvider

__all__ = ["Found", "ScriptedExecutor", "ScriptedModel", "ScriptedTools", "scripted_manager"]


class ScriptConfig(BaseModel):
    """What a scripted model answers in turn, round and round.

    A text; or `call NAME`, a call that differs from all others; `repeat NAME`, one that does not;
    `hand NAME`, to hand the conversation over; `fail CODE`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answers: tuple[str, ...] = ("well",)
    name: str = "scripted"
    chunk_delay: float = 0.0
    counted: int = 0


class ScriptedModel(MockAIProvider):
    """A model whose answers are in its settings, and which streams if there is a delay between pieces."""

    def __init__(self, config: ScriptConfig) -> None:
        self._counted = config.counted
        super().__init__(
            [_answer(number, text) for number, text in enumerate(config.answers)],
            streaming=config.chunk_delay > 0,
            chunk_size=4,
            chunk_delay=config.chunk_delay,
            model_name=config.name,
        )

    @override
    async def count_tokens(self, context: AIContext) -> int | None:
        """Count as many tokens for each message as the settings say."""
        return self._counted * len(context.messages) or None


def _answer(number: int, text: str) -> Any:  # Any: what the mock takes for an answer
    word, _, name = text.partition(" ")
    if word == "fail":
        return ProviderError("away", error_code=ErrorCode(name))
    usage = {"input_tokens": 10, "output_tokens": 5}
    arguments: dict[str, Any] = {"n": number} if word == "call" else {}
    if word == "hand":
        arguments = {"target": name, "reason": "it is theirs", "summary": "A bill is wrong."}
        name = "handoff_conversation"
    if word in ("call", "repeat", "hand"):
        call = AIToolCall(id=f"c{number}", name=name, arguments=arguments)
        return AIResponse(content="", finish_reason="tool_calls", usage=usage, tool_calls=[call])
    return AIResponse(content=text, finish_reason="stop", usage=usage)


class ScriptedTools(ToolProvider):
    """Brings one tool."""

    name = "scripted"

    @override
    async def offer(self, room: Room) -> ToolOffer:
        async def handle(name: str, arguments: Mapping[str, Any]) -> str:
            return "brought"

        return ToolOffer(tools=[ProvidedTool(AITool(name="brought"), handle)])


class ScriptedExecutor(TurnExecutor):
    """Answers by itself."""

    @override
    async def generate(self, agent: str, context: AIContext) -> AIResponse:
        return AIResponse(content=f"executed for {agent}", finish_reason="stop")

    @override
    async def stream(self, agent: str, context: AIContext) -> AsyncGenerator[StreamEvent]:
        raise NotImplementedError
        yield

    @override
    async def serve(self, agents: Mapping[str, AIProvider], *, limit: int = 8) -> None:
        await asyncio.Event().wait()


class _Plugin:
    @hookimpl
    def roomkit_register(self, registry: Any) -> None:
        for kind, made in (("ai", "Model"), ("tools", "Tools"), ("executor", "Executor")):
            config = f"{__name__}:ScriptConfig" if kind == "ai" else None
            registry.add(kind, "scripted", f"{__name__}:Scripted{made}", config=config, summary="A test's.")


class Found:
    """An entry point, as an installed package has it."""

    group, name, value, dist = "roomkit", "acme", "acme", None

    def __init__(self, plugin: object) -> None:
        self._plugin = plugin

    def load(self) -> object:
        return self._plugin


@cache
def scripted_manager() -> PluginManager:
    """Return a manager of the installed plugins, and of those scripted here."""
    return PluginManager(entry_points=[*entry_points(group="roomkit"), Found(_Plugin())])
