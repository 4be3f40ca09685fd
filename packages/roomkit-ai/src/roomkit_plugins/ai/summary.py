"""A memory that summarises what no longer fits, by asking a model."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError, ProviderError
from roomkit.abc.log import get_logger
from roomkit.abc.memory import MemoryRequest
from roomkit.authoring.conversation import attributed
from roomkit.models.ai import AIMessage
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import ChannelCategory, ChannelType
from roomkit.models.generation import AIContext
from roomkit_plugins.ai.counting import TokenCounter
from roomkit_plugins.ai.history import history_of
from roomkit_plugins.ai.memory import WrappingMemory, newest_that_fit, usable_budget
from roomkit_plugins.ai.providers import check_response
from roomkit_plugins.ai.signals import Signals
from roomkit_plugins.ai.tokens import of_event, of_messages
from roomkit_plugins.ai.transcript import Transcript

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.abc.memory import MemoryProvider, MemoryResult
    from roomkit.abc.services import Services
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit.models.generation import AIResponse

__all__ = ["CompactingMemory"]

logger = get_logger("roomkit.ai")

MAX_ROOMS = 1024
REFILL = 0.5
"""After a summary, events fill this share of the budget; the rest is room to grow before the next."""

INSTRUCTIONS = (
    "Summarise the conversation below for an assistant who will carry it on: who takes part, what "
    "they want, facts, names, numbers and decisions, and what is still open. Do not answer it."
)

type Mark = tuple[str, datetime | None]
"""An event as it was summarised: its id, and when it was last edited."""


@dataclass(slots=True, frozen=True)
class Summary:
    """A summary up to and including the last event of `covers`."""

    text: str
    covers: tuple[Mark, ...]
    expires: float


class CompactingMemory(WrappingMemory):
    """What `inner` remembers, its oldest part replaced by a summary once it no longer fits.

    The summary is made by `provider` in at most `summary_ratio` of `max_context_tokens`, extended
    when more events leave the window, made afresh when an event it covers is seen to have changed,
    and in any case `summary_cache_ttl_seconds` after it was begun. When the provider fails, a note says that
    messages are missing. The newest `min_events` are always shown. `counter` is as in `BudgetAwareMemory`.
    What a summary took is part of the usage and the cost of the turn that needed it, and a span of its
    trace. `provider` and `counter` are not closed here. Raises InvalidInputError for a provider that calls
    tools of its own, and for numbers that leave no room.
    """

    def __init__(
        self,
        inner: MemoryProvider,
        provider: AIProvider,
        max_context_tokens: int,
        summary_ratio: float = 0.10,
        safety_margin_ratio: float = 0.15,
        min_events: int = 5,
        summary_cache_ttl_seconds: float = 300,
        *,
        reserve_tokens: int = 0,
        counter: AIProvider | None = None,
    ) -> None:
        super().__init__(inner)
        if provider.runs_tools:
            raise InvalidInputError(
                f"{provider.name!r} cannot make summaries: it calls tools of its own, and no gate of a room "
                "would see them; pass a model, or one without tools"
            )
        self._counter = TokenCounter(counter)
        self.provider = provider
        self.min_events = min_events
        self.summary_tokens = max(1, int(max_context_tokens * summary_ratio))
        self.budget = usable_budget(max_context_tokens, safety_margin_ratio) - reserve_tokens
        self.ttl = summary_cache_ttl_seconds
        self._summaries: OrderedDict[tuple[str, str | None], Summary] = OrderedDict()  # bound: MAX_ROOMS
        self._services: Services | None = None

    @property
    def providers(self) -> Sequence[AIProvider]:
        """The one that summarises, and those that the inner memory asks."""
        return (self.provider, *self.inner.providers)

    def bind(self, services: Services) -> None:
        """Take the kit's services, for the spans of summaries, and hand them to the inner memory."""
        self._services = services
        super().bind(services)

    async def retrieve(
        self,
        room_id: str,
        current_event: RoomEvent,
        context: RoomContext,
        *,
        channel_id: str | None = None,
    ) -> MemoryResult:
        """Return a summary, when one is needed, and the events it does not cover."""
        found = await self.inner.retrieve(room_id, current_event, context, channel_id=channel_id)
        reader = context.reader or _reader(room_id, channel_id)
        events = history_of(found.events, current_event, reader)
        budget = self.budget - of_messages(found.messages) - of_event(current_event)
        key = (room_id, channel_id)
        summary = self._valid(key, events)
        start = _overlap(summary, events) if summary else 0
        costs = await self._counter.costs(events, budget)
        cost = sum(costs[start:]) + (self.summary_tokens if summary else 0)
        made: list[MemoryRequest] = []  # bound: one
        if cost > budget:
            cut = self._cut(events, costs, start, budget)
            if cut > start:
                lines = _lines(events[start:cut], context, reader)
                summary = await self._summarise(key, summary, lines, events[:cut], made)
                self._remember(key, summary)
            start = cut
        said = [AIMessage(role="user", content=summary.text)] if summary else []
        return replace(
            found,
            messages=[*found.messages, *said],
            events=events[start:],
            requests=(*found.requests, *made),
        )

    @property
    def counter_failures(self) -> int:
        """How often the counter failed, and the tokens were estimated."""
        return self._counter.failures

    async def clear(self, room_id: str) -> None:
        """Forget the room's summaries, and clear it in the inner memory."""
        for key in [key for key in self._summaries if key[0] == room_id]:
            del self._summaries[key]
        await super().clear(room_id)

    def _valid(self, key: tuple[str, str | None], events: Sequence[RoomEvent]) -> Summary | None:
        summary = self._summaries.get(key)
        if summary is None:
            return None
        if summary.expires > asyncio.get_running_loop().time() and _still_true(summary, events):
            return summary
        del self._summaries[key]
        return None

    def _remember(self, key: tuple[str, str | None], summary: Summary) -> None:
        if summary.expires <= 0:
            return
        self._summaries[key] = summary
        self._summaries.move_to_end(key)
        while len(self._summaries) > MAX_ROOMS:
            self._summaries.popitem(last=False)

    def _cut(self, events: Sequence[RoomEvent], costs: Sequence[int], start: int, budget: int) -> int:
        """Return where the events that are shown begin, with room for some more."""
        left = int((budget - self.summary_tokens) * REFILL)
        tail, costs = events[start:], costs[start:]
        return len(events) - len(newest_that_fit(tail, left, at_least=self.min_events, costs=costs))

    async def _summarise(
        self,
        key: tuple[str, str | None],
        before: Summary | None,
        lines: Sequence[str],
        covered: Sequence[RoomEvent],
        made: list[MemoryRequest],
    ) -> Summary:
        """Return a summary of what `before` says and of `lines`, which covers the events `covered`.

        The request is added to those that were `made`, if it was answered.
        """
        known = [before.text] if before else []
        request = AIContext(
            messages=[AIMessage(role="user", content="\n".join([*known, *lines]))],
            system_prompt=INSTRUCTIONS,
            max_tokens=self.summary_tokens,
        )
        covers = tuple(map(_mark, covered))
        try:
            response = await self._ask(key, request)
        except Exception as error:  # noqa: BLE001 - a note that messages are missing is better than no answer
            reason = str(error.error_code) if isinstance(error, ProviderError) else type(error).__name__
            return self._missing(covers, reason)
        made.append(MemoryRequest(self.provider, request, response))
        if not (response.content or "").strip():
            return self._missing(covers, "it said nothing")
        expires = before.expires if before else asyncio.get_running_loop().time() + self.ttl
        return Summary(f"[Summary of the conversation so far]\n{response.content}", covers, expires)

    async def _ask(self, key: tuple[str, str | None], request: AIContext) -> AIResponse:
        """Make one request, in a span of the trace. Raises what the provider raises, and ForeignCodeError."""
        room_id, channel_id = key
        signals = Signals(self._services, room_id=room_id, channel_id=channel_id or "", loop_id="")
        span = signals.generation_started(self.provider, tools=0, streaming=False)
        if span is not None:
            request.trace_parent = signals.trace_parent(span)
        usage: Mapping[str, int] = {}
        failed: str | None = "Cancelled"
        try:
            response = await self.provider.generate(request)
            check_response(response, self.provider, channel_id or "")
            usage, failed = response.usage, None
            return response
        except Exception as error:
            failed = type(error).__name__
            raise
        finally:
            signals.generation_ended(span, usage, failed)

    def _missing(self, covers: tuple[Mark, ...], reason: str) -> Summary:
        """Return what is shown in place of a summary that could not be made; it is not kept."""
        logger.warning("no summary from %s: %s", self.provider.name, reason)
        return Summary(f"[{len(covers)} earlier messages are not shown.]", covers, 0)


def _mark(event: RoomEvent) -> Mark:
    return event.id, event.amendment.edited_at if event.amendment else None


def _overlap(summary: Summary, events: Sequence[RoomEvent]) -> int:
    """Return how many of `events`, from the first, the summary covers."""
    covered = set(summary.covers)
    return next((at for at, event in enumerate(events) if _mark(event) not in covered), len(events))


def _still_true(summary: Summary, events: Sequence[RoomEvent]) -> bool:
    """Return whether every covered event that should still be among `events` is, unchanged."""
    if not events:
        return False
    first = _mark(events[0])
    if first not in summary.covers:
        return events[0].id not in {key for key, _ in summary.covers}
    expected = summary.covers[summary.covers.index(first) :]
    return expected == tuple(map(_mark, events[: len(expected)]))


def _reader(room_id: str, channel_id: str | None) -> ChannelBinding:
    """Return who a memory is asked for when the context does not say so."""
    return ChannelBinding(
        channel_id=channel_id or "",
        room_id=room_id,
        channel_type=ChannelType.AI,
        category=ChannelCategory.INTELLIGENCE,
    )


def _lines(events: Sequence[RoomEvent], context: RoomContext, reader: ChannelBinding) -> list[str]:
    messages = filter(None, Transcript(reader, context, vision=False).messages((*events,), context))
    return [attributed(one.name or one.role, one.content) for one in messages if isinstance(one.content, str)]
