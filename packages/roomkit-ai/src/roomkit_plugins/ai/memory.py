"""What an agent remembers: the newest events, as many as fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.memory import MemoryProvider, MemoryResult
from roomkit_plugins.ai.counting import TokenCounter
from roomkit_plugins.ai.history import history_of, window_of
from roomkit_plugins.ai.tokens import of_event, of_messages

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.abc.services import Services
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

__all__ = ["BudgetAwareMemory", "SlidingWindowMemory", "WrappingMemory", "newest_that_fit", "usable_budget"]


class SlidingWindowMemory(MemoryProvider):
    """The newest `max_events` events before the current one that the agent may see.

    More than the 50 that a context shows costs one read of the store per turn.
    """

    def __init__(self, max_events: int = 50) -> None:
        if max_events < 0:
            raise InvalidInputError(f"max_events is {max_events}; it cannot be negative")
        self.max_events = max_events

    async def retrieve(
        self,
        room_id: str,
        current_event: RoomEvent,
        context: RoomContext,
        *,
        channel_id: str | None = None,
    ) -> MemoryResult:
        """Return the window."""
        if not self.max_events:
            return MemoryResult()
        shown = window_of(await context.history(self.max_events + 1), current_event, context)
        return MemoryResult(events=shown if len(shown) <= self.max_events else shown[-self.max_events :])


class WrappingMemory(MemoryProvider):
    """A memory that changes the answers of another one, `inner`, which does everything else.

    A subclass says how: by `retrieve`. The inner memory is bound, cleared and closed with this one.
    """

    def __init__(self, inner: MemoryProvider) -> None:
        self.inner = inner

    @property
    def providers(self) -> Sequence[AIProvider]:
        """The providers that the inner memory asks."""
        return self.inner.providers

    def bind(self, services: Services) -> None:
        """Hand the kit's services to the inner memory."""
        self.inner.bind(services)

    async def ingest(self, room_id: str, event: RoomEvent, *, channel_id: str | None = None) -> None:
        """Have the inner memory take note of an event."""
        await self.inner.ingest(room_id, event, channel_id=channel_id)

    async def clear(self, room_id: str) -> None:
        """Clear a room in the inner memory."""
        await self.inner.clear(room_id)

    async def close(self) -> None:
        """Close the inner memory."""
        await self.inner.close()


class BudgetAwareMemory(WrappingMemory):
    """What `inner` remembers, without the oldest events that would not fit the model's context.

    The budget is `max_context_tokens` less `reserve_tokens` (for the prompt, the tools and the
    answer) and a share of `safety_margin_ratio`; messages and the current event count against it.
    The newest `min_events` are kept whatever they cost. `counter`, the agent's own provider, counts events
    as its vendor does, with at most one request a turn, none before the budget is half full; without it, or
    when it fails (`counter_failures`), they are estimated. It is not closed here.
    """

    def __init__(
        self,
        inner: MemoryProvider,
        max_context_tokens: int,
        safety_margin_ratio: float = 0.15,
        min_events: int = 3,
        *,
        reserve_tokens: int = 0,
        counter: AIProvider | None = None,
    ) -> None:
        super().__init__(inner)
        self.min_events = min_events
        self._counter = TokenCounter(counter)
        self.budget = usable_budget(max_context_tokens, safety_margin_ratio) - reserve_tokens

    async def retrieve(
        self,
        room_id: str,
        current_event: RoomEvent,
        context: RoomContext,
        *,
        channel_id: str | None = None,
    ) -> MemoryResult:
        """Return what fits of the inner memory."""
        found = await self.inner.retrieve(room_id, current_event, context, channel_id=channel_id)
        history = history_of(found.events, current_event, context.reader)
        left = self.budget - of_messages(found.messages) - of_event(current_event)
        costs = await self._counter.costs(history, left)
        kept = newest_that_fit(history, left, at_least=self.min_events, costs=costs)
        return replace(found, events=kept)

    @property
    def counter_failures(self) -> int:
        """How often the counter failed, and the tokens were estimated."""
        return self._counter.failures


def usable_budget(max_context_tokens: int, safety_margin_ratio: float) -> int:
    """Return the tokens to plan with. Raises InvalidInputError for numbers that leave none."""
    if max_context_tokens <= 0 or not 0 <= safety_margin_ratio < 1:
        raise InvalidInputError(
            f"max_context_tokens={max_context_tokens} with safety_margin_ratio={safety_margin_ratio} "
            "leaves no room: the first is positive, the second from 0 to below 1"
        )
    return int(max_context_tokens * (1 - safety_margin_ratio))


def newest_that_fit(
    events: Sequence[RoomEvent], budget: int, *, at_least: int, costs: Sequence[int]
) -> Sequence[RoomEvent]:
    """Return the longest tail of `events` within `budget` tokens, and no shorter than `at_least`."""
    kept = 0
    for cost in reversed(costs):
        budget -= cost
        if budget < 0 and kept >= at_least:
            break
        kept += 1
    return events[len(events) - kept :]
