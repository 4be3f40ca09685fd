"""The contract of AI providers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from roomkit.abc.provider import Provider
from roomkit.models.ai import (
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)

if TYPE_CHECKING:
    from roomkit.models.generation import AIContext, AIResponse
    from roomkit.models.parking import Park
    from roomkit.models.tool import ToolResult

__all__ = ["AIProvider", "ToolHandler"]

type ToolHandler = Callable[[str, dict[str, Any]], Awaitable[str | ToolResult | Park]]
"""A coroutine function from a tool's name and arguments to its result, or to `Park` if that comes later.

A handler that does not know the tool raises `UnknownToolError`.
"""


class AIProvider(Provider):
    """A model behind an agent.

    Safe for concurrent use by any number of rooms. It never retries by itself and raises
    `ProviderError`, classified by the vendor's code; once a stream has yielded, a failure ends it.
    Cancelling a call closes its connection. A parameter of the context that the model does not
    take is refused with `invalid_request` or left out with one warning, never silently changed.

    An answer to a context with a `response_schema` is checked before it is returned, and before
    `StreamDone`. One that does not fit it, or was cut, raises ProviderError (`bad_response`), and so does
    one that the model refused (`refusal`) or a filter stopped (`content_filter`).
    """

    @property
    @abstractmethod
    def model_name(self) -> str:
        """The model asked."""

    @property
    def supports_vision(self) -> bool:
        """Whether image parts are sent to the model."""
        return False

    @property
    def supports_streaming(self) -> bool:
        """Whether `generate_stream` is implemented."""
        return False

    @property
    def supports_structured_streaming(self) -> bool:
        """Whether `generate_structured_stream` streams for real."""
        return False

    @property
    def supports_response_schema(self) -> bool:
        """Whether a context's `response_schema` is honoured; an agent with one refuses other providers."""
        return False

    @property
    def runs_tools(self) -> bool:
        """Whether it calls tools of its own: each call then goes through the context's `own_calls`."""
        return False

    @abstractmethod
    async def generate(self, context: AIContext) -> AIResponse:
        """Return the whole answer."""

    async def generate_stream(self, context: AIContext) -> AsyncIterator[str]:
        """Yield the text of the answer as it comes."""
        async for item in self.generate_structured_stream(context):
            if isinstance(item, StreamTextDelta):
                yield item.text

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield thinking, text and complete tool calls as they come, and one `StreamDone`, last."""
        response = await self.generate(context)
        if response.thinking_parts:
            for part in response.thinking_parts:
                yield StreamThinkingDelta(part.thinking, part.signature, part.redacted_data)
        elif response.thinking:
            yield StreamThinkingDelta(response.thinking, response.thinking_signature)
        if response.content:
            yield StreamTextDelta(response.content)
        for call in response.tool_calls:
            yield StreamToolCall(call.id, call.name, dict(call.arguments), dict(call.metadata), call.invalid)
        yield StreamDone(response.finish_reason, response.usage, response.metadata, response.parsed)

    async def count_tokens(self, context: AIContext) -> int | None:
        """Return how many input tokens a request has by the vendor's own count; None if it has no counter.

        Costs a request to the vendor, no tokens. Raises ProviderError as `generate` does.
        """
        return None
