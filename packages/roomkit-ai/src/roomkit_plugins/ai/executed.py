"""A provider that an executor asks, possibly on another machine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, override

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import InvalidInputError
from roomkit.abc.executor import TurnExecutor

if TYPE_CHECKING:
    from roomkit.abc.services import Services
    from roomkit.models.ai import StreamEvent
    from roomkit.models.generation import AIContext, AIResponse

__all__ = ["ExecutedProvider", "RemoteModel"]


class ExecutedProvider(AIProvider):
    """Asks the agent's provider through its executor; here `described` only says what it is.

    That one is neither started nor asked in this process, unless the process serves the agent.
    """

    def __init__(self, agent: str, described: AIProvider, executor: TurnExecutor) -> None:
        if not isinstance(executor, TurnExecutor):
            raise InvalidInputError(
                f"the executor of AI channel {agent!r} is a {type(executor).__name__}: give it a TurnExecutor"
            )
        self.agent = agent
        self.described = described
        self.executor = executor

    @property
    @override
    def name(self) -> str:
        return self.described.name

    @property
    @override
    def model_name(self) -> str:
        return self.described.model_name

    @property
    @override
    def supports_vision(self) -> bool:
        return self.described.supports_vision

    @property
    @override
    def supports_streaming(self) -> bool:
        return self.described.supports_streaming

    @property
    @override
    def supports_structured_streaming(self) -> bool:
        return self.described.supports_structured_streaming

    @property
    @override
    def supports_response_schema(self) -> bool:
        return self.described.supports_response_schema

    @property
    @override
    def runs_tools(self) -> bool:
        return self.described.runs_tools

    @override
    def bind(self, services: Services) -> None:
        super().bind(services)
        self.described.bind(services.for_part(self.described))
        self.executor.bind(services.for_part(self.executor))

    @override
    async def start(self) -> None:
        """Connect the executor; the provider is started where it is served."""
        self.executor.attach(self)
        await self.executor.open()

    @override
    async def close(self) -> None:
        await self.executor.detach(self)
        await self.described.close()

    @override
    async def generate(self, context: AIContext) -> AIResponse:
        return await self.executor.generate(self.agent, context)

    @override
    async def generate_structured_stream(self, context: AIContext) -> AsyncGenerator[StreamEvent]:
        async with aclosing(self.executor.stream(self.agent, context)) as pieces:
            async for piece in pieces:
                yield piece


class RemoteModel(AIProvider):
    """Describes a model that only executor processes have, for an agent with an `executor`.

    So the room's worker needs neither its package nor its key. Give it the name, vision, streaming and
    `response_schema` (whether it answers in a shape) of the provider that is served.
    """

    def __init__(
        self, model: str, *, vision: bool = False, streaming: bool = True, response_schema: bool = False
    ) -> None:
        self._model = model
        self._response_schema = response_schema
        self._vision = vision
        self._streaming = streaming

    @property
    @override
    def model_name(self) -> str:
        return self._model

    @property
    @override
    def supports_vision(self) -> bool:
        return self._vision

    @property
    @override
    def supports_streaming(self) -> bool:
        return self._streaming

    @property
    @override
    def supports_structured_streaming(self) -> bool:
        return self._streaming

    @property
    @override
    def supports_response_schema(self) -> bool:
        return self._response_schema

    @override
    async def generate(self, context: AIContext) -> AIResponse:
        """Raise InvalidInputError: the model is not here."""
        raise InvalidInputError(
            f"model {self._model!r} cannot be asked in this process: give its agent an executor, and serve "
            "the agent with the provider itself"
        )
