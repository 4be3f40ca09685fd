"""A model or an agent of Pydantic AI as an AI provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import StreamTextDelta
from roomkit_plugins.pydantic_ai import wire
from roomkit_plugins.pydantic_ai.answer import ResponseReader, is_cut
from roomkit_plugins.pydantic_ai.config import PydanticAIConfig
from roomkit_plugins.pydantic_ai.errors import ORIGIN, failure
from roomkit_plugins.wire.answer import collect
from roomkit_plugins.wire.halves import Halves
from roomkit_plugins.wire.sdk import LazyClient, needed
from roomkit_plugins.wire.structured import Structured

if TYPE_CHECKING:
    from pydantic_ai import Agent
    from pydantic_ai.capabilities import AgentCapability
    from pydantic_ai.models import Model
    from roomkit.models.ai import StreamEvent
    from roomkit.models.generation import AIContext, AIResponse, OwnCalls

__all__ = ["PydanticAIProvider"]


@dataclass(frozen=True, slots=True)
class _Library:
    """Who answers: a model, or an agent with what it needs."""

    model: Model | None
    agent: Agent[Any, Any] | None


class PydanticAIProvider(AIProvider):
    """Any model that Pydantic AI knows, or an agent of it. One provider serves any number of rooms at once.

    Without `model` and `agent` it asks the model that the configuration names. A model or an agent
    given here stays its maker's: it is not closed. An agent runs its own tools, each call once the tool
    policy and the gates of the room have passed it, and within the deadline of tools; with `gated=False` it
    runs them as it likes, unseen. RoomKit's tools are offered to it as well, and their calls come back to be
    run here. `deps` are the agent's dependencies, the same for every run.

    The library is imported at the first call, in a worker thread.
    """

    def __init__(
        self,
        config: PydanticAIConfig | None = None,
        *,
        model: Model | None = None,
        agent: Agent[Any, Any] | None = None,
        deps: Any = None,  # the type that the agent declares
        gated: bool = True,
    ) -> None:
        self._config = config or PydanticAIConfig()
        if model is not None and agent is not None:
            raise ValueError(
                "PydanticAIProvider got a model and an agent; an agent has its own model: pass one"
            )
        if model is None and agent is None and self._config.model == "agent":
            raise ValueError(
                "PydanticAIProvider got nothing to ask: pass agent=, model= or "
                "PydanticAIConfig(model='provider:model')"
            )
        self._given = _Library(model, agent)
        self._deps = deps
        self._gated = gated
        self._library = LazyClient(self._make, self._leave, owner="PydanticAIProvider", provider=self.name)

    @property
    def name(self) -> str:
        """The provider's component name."""
        return "pydantic-ai"

    @property
    def model_name(self) -> str:
        """The model asked: as it is called itself, or as the configuration says."""
        given = self._given.model or (self._given.agent and self._given.agent.model)
        return getattr(given, "model_name", None) or (given if isinstance(given, str) else self._config.model)

    @property
    def supports_vision(self) -> bool:
        """Whether image parts are sent to the model."""
        return self._config.vision

    @property
    def supports_streaming(self) -> bool:
        """Whether `generate_stream` is implemented."""
        return True

    @property
    def supports_structured_streaming(self) -> bool:
        """Whether `generate_structured_stream` streams for real."""
        return True

    @property
    def supports_response_schema(self) -> bool:
        """Whether a context's `response_schema` is honoured; the library refuses it for some models."""
        return True

    @property
    def runs_tools(self) -> bool:
        """Whether it is an agent, whose own tools pass the gates of the room."""
        return self._given.agent is not None and self._gated

    async def generate(self, context: AIContext) -> AIResponse:
        """Return the whole answer; an agent's is streamed all the same. Raises ProviderError."""
        asked = wire.asked(self._config, context)
        library = await self._library.get()
        structured = Structured(context, ORIGIN)
        if library.model is None:
            return structured.whole(collect([event async for event in self._events(library, asked, context)]))
        from pydantic_ai.direct import model_request

        failed: ProviderError | None = None
        try:
            response = await model_request(library.model, asked.messages, **self._how(asked))
        except Exception as error:  # noqa: BLE001 - the library raises anything for an odd answer; it is classified
            failed = failure(error)
        if failed is not None:  # outside of the handler: the error and its frames may hold a key
            raise failed
        return structured.whole(collect(ResponseReader(asked).whole(response)))

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield thinking and text as they come, complete tool calls, and one `StreamDone`, last.

        Raises ProviderError, before the first item or after any. Close the generator to stop the
        model: the connection is closed with it.
        """
        asked = wire.asked(self._config, context)
        library = await self._library.get()
        halves, structured = Halves(), Structured(context, ORIGIN)
        async with aclosing(self._events(library, asked, context)) as events:
            async for item in events:
                for event in halves.feed(item):
                    yield structured.seen(event)

    async def count_tokens(self, context: AIContext) -> int | None:
        """Return how many input tokens a request has; None for an agent, and a model without a counter.

        Raises ProviderError.
        """
        asked = wire.asked(self._config, context)
        library = await self._library.get()
        if library.model is None:
            return None
        how = self._how(asked)
        failed: ProviderError | None = None
        try:
            usage = await library.model.count_tokens(
                asked.messages, how["model_settings"], how["model_request_parameters"]
            )
        except NotImplementedError:
            return None
        except Exception as error:  # noqa: BLE001 - as in generate
            failed = failure(error)
        if failed is not None:  # outside of the handler: the error and its frames may hold a key
            raise failed
        return usage.input_tokens

    async def close(self) -> None:
        """Close the connections of a model that the configuration names. Idempotent."""
        await self._library.close()

    async def _events(
        self, library: _Library, asked: wire.Asked, context: AIContext
    ) -> AsyncGenerator[StreamEvent]:
        calls = context.own_calls if self.runs_tools else None
        is_model = library.agent is None
        source = self._of_model(library, asked) if is_model else self._of_agent(library, asked, calls)
        failed: ProviderError | None = None
        try:
            async with aclosing(source) as events:
                async for event in events:
                    yield event
        except Exception as error:  # noqa: BLE001 - the library raises anything for an odd answer; it is classified
            failed = failure(error)
        if failed is not None:  # outside of the handler: the error and its frames may hold a key
            raise failed

    async def _of_model(self, library: _Library, asked: wire.Asked) -> AsyncGenerator[StreamEvent]:
        from pydantic_ai.direct import model_request_stream

        assert library.model is not None
        answer = ResponseReader(asked)
        async with model_request_stream(library.model, asked.messages, **self._how(asked)) as stream:
            async for event in stream:
                for item in answer.feed(event):
                    yield item
            response = stream.get()
        if library.model.provider is not None and is_cut(response):
            raise ORIGIN.bad_response("the stream stopped before the end of the answer")
        for item in answer.end(response, response.usage):
            yield item

    async def _of_agent(
        self, library: _Library, asked: wire.Asked, calls: OwnCalls | None
    ) -> AsyncGenerator[StreamEvent]:
        from pydantic_ai import AgentRunResultEvent, DeferredToolRequests
        from pydantic_ai.toolsets import ExternalToolset

        assert library.agent is not None
        answer = ResponseReader(asked)
        output: Any = [_shape(asked) or library.agent.output_type, DeferredToolRequests]
        settings: Any = asked.settings
        toolsets: Any = [ExternalToolset(asked.tools)] if asked.tools else None
        run = library.agent.run_stream_events(
            message_history=asked.messages,
            instructions=asked.system or None,
            output_type=output,
            toolsets=toolsets,
            model_settings=settings,
            deps=self._deps,
            capabilities=_gates(calls),
        )
        async with run as events:
            async for event in events:
                if isinstance(event, AgentRunResultEvent):
                    result = event.result
                    continue
                for item in answer.feed(event):
                    if not (asked.shape and isinstance(item, StreamTextDelta)):  # its JSON comes whole
                        yield item
        deferred = result.output.calls if isinstance(result.output, DeferredToolRequests) else []
        if not isinstance(result.output, str | DeferredToolRequests):
            yield StreamTextDelta(to_json(result.output).decode())
        for item in answer.end(result.response, result.usage, calls=deferred):
            yield item

    def _how(self, asked: wire.Asked) -> dict[str, Any]:
        """Return what a model is asked with, besides the messages."""
        from pydantic_ai.messages import InstructionPart
        from pydantic_ai.models import ModelRequestParameters
        from pydantic_ai.output import OutputObjectDefinition

        instructions = [InstructionPart(content=asked.system)] if asked.system else None
        parameters = ModelRequestParameters(function_tools=asked.tools, instruction_parts=instructions)
        if asked.shape:
            shape = OutputObjectDefinition(asked.shape, asked.shape_name)
            parameters = replace(parameters, output_mode="native", output_object=shape)
        return {"model_settings": asked.settings, "model_request_parameters": parameters}

    def _make(self) -> _Library:
        """Import the library and find the model: two seconds, so never on the loop."""
        with needed("pydantic_ai", by="PydanticAIProvider", distribution="roomkit-pydantic-ai"):
            import pydantic_ai
            import pydantic_ai.models

        if self._given.model is not None or self._given.agent is not None:
            return self._given
        try:
            return _Library(pydantic_ai.models.infer_model(self._config.model), None)
        except (pydantic_ai.UserError, ImportError) as error:
            raise ProviderError(
                f"Pydantic AI cannot ask {self._config.model!r}: {error}",
                error_code=ErrorCode.INVALID_REQUEST,
                provider=ORIGIN.provider,
            ) from None

    async def _leave(self, library: _Library) -> None:
        if library is not self._given and library.model is not None and library.model.provider is not None:
            # Entered and left at once: that is how Pydantic AI closes the connections that it made.
            async with library.model:
                pass


def _gates(calls: OwnCalls | None) -> list[AgentCapability[Any]] | None:
    if calls is None:
        return None
    from roomkit_plugins.pydantic_ai.gates import RoomGates

    return [RoomGates(calls)]


def _shape(asked: wire.Asked) -> object:
    """Return the output type that asks an agent's model for an answer of this shape; None without one."""
    if not asked.shape:
        return None
    from pydantic_ai import NativeOutput, StructuredDict

    return NativeOutput(StructuredDict(asked.shape, asked.shape_name))
