"""A memory that finds earlier messages by the words of the current one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.conversation import attributed
from roomkit.models.ai import AIMessage
from roomkit.models.content import text_of
from roomkit.models.searching import folded_words
from roomkit_plugins.ai.history import history_of
from roomkit_plugins.ai.memory import SlidingWindowMemory, WrappingMemory
from roomkit_plugins.ai.tokens import of_messages
from roomkit_plugins.ai.transcript import Transcript

if TYPE_CHECKING:
    from roomkit.abc.memory import MemoryProvider, MemoryResult
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

__all__ = ["RetrievalMemory"]

MAX_WORDS = 32
CANDIDATES = 50
HEADING = "[Earlier messages of this conversation that may matter now]"
COMMON_SHARE = 0.2
"""A word in more of the window's messages than this is common here, and not searched for."""
_FEW = 10
"""A window of fewer messages does not show which words are common."""
_by_time = attrgetter("created_at", "index")


class RetrievalMemory(WrappingMemory):
    """What `inner` remembers, after earlier messages that have words of the message to be answered.

    They are found by the store's search among what the agent may see, within its newest 2,000 entries, and
    put before the inner memory as one message under a heading of its own: each with its time (UTC) and
    speaker, in order of time, none that `inner` shows. At most `max_events` in `max_tokens`; one that does
    not fit is left out whole. Rare words count more than frequent ones. Words of fewer than `min_word_length`
    letters are not looked for unless they have a digit, nor those in more than a fifth of a longer window.

    It keeps nothing between turns, so erased, edited and moved messages are as the store has them. A turn
    costs one search, and none while `inner` shows the whole room. `inner` is a `SlidingWindowMemory` if
    none is given, and is closed with this one.
    """

    def __init__(
        self,
        inner: MemoryProvider | None = None,
        max_events: int = 5,
        *,
        max_tokens: int = 1000,
        min_word_length: int = 4,
    ) -> None:
        if max_events < 1 or max_tokens < 1 or min_word_length < 1:
            raise InvalidInputError(
                f"max_events={max_events}, max_tokens={max_tokens}, min_word_length={min_word_length} find "
                "nothing: each is at least 1"
            )
        super().__init__(inner if inner is not None else SlidingWindowMemory())
        self.max_events = max_events
        self.max_tokens = max_tokens
        self.min_word_length = min_word_length

    async def retrieve(
        self,
        room_id: str,
        current_event: RoomEvent,
        context: RoomContext,
        *,
        channel_id: str | None = None,
    ) -> MemoryResult:
        """Return the messages found, and the inner memory's answer."""
        known = await self.inner.retrieve(room_id, current_event, context, channel_id=channel_id)
        window = history_of(known.events, current_event, context.reader)
        shown = {current_event.id, *(event.id for event in window)}
        newest = await context.history(len(shown) + 1)
        if context.reader is None or shown.issuperset(event.id for event in newest):
            return replace(known, events=window)
        words = self._rarity(current_event, window)
        found = await context.search(" ".join(words), CANDIDATES + len(shown)) if words else ()
        ranked = _ranked([event for event in found if event.id not in shown], words)
        said = _Earlier(context, self.max_events, self.max_tokens).chosen(ranked, current_event)
        return replace(known, messages=[*known.messages, *said], events=window)

    def _rarity(self, event: RoomEvent, window: Sequence[RoomEvent]) -> Mapping[str, float]:
        """Return the words to look for, each with how much it says."""
        frequent = Counter(word for each in window for word in set(folded_words(text_of(each.content))))
        most = len(window) * COMMON_SHARE if len(window) >= _FEW else math.inf
        words = [
            word
            for word in dict.fromkeys(folded_words(text_of(event.content)))
            if self._says_something(word) and frequent[word] <= most
        ]
        words = sorted(words, key=len, reverse=True)[:MAX_WORDS]
        return {word: 1 + math.log((len(window) + 1) / (frequent[word] + 1)) for word in words}

    def _says_something(self, word: str) -> bool:
        return len(word) >= self.min_word_length or any(character.isdigit() for character in word)


class _Earlier:
    """Makes one message of events, within bounds."""

    def __init__(self, context: RoomContext, max_events: int, max_tokens: int) -> None:
        self._context = context
        self._max_events = max_events
        self._max_tokens = max_tokens

    def chosen(self, ranked: Sequence[RoomEvent], current: RoomEvent) -> list[AIMessage]:
        """Return a message of the best of the events that fit; none without one."""
        kept: list[RoomEvent] = []  # bound: `max_events`
        said: list[AIMessage] = []
        for event in ranked:
            if len(kept) == self._max_events:
                break
            tried = sorted([*kept, event], key=_by_time)
            message = self._message(tried, current)
            if message is not None and of_messages([message]) <= self._max_tokens:
                kept, said = tried, [message]
        return said

    def _message(self, events: Sequence[RoomEvent], current: RoomEvent) -> AIMessage | None:
        reader = self._context.reader
        assert reader is not None
        transcript = Transcript(reader, self._context, vision=False)
        messages = transcript.messages(history_of(events, current, reader), self._context)
        lines = [
            attributed(f"{event.created_at:%Y-%m-%d %H:%M} {one.name or one.role}", one.content)
            for event, one in zip(events, messages, strict=True)
            if one is not None and isinstance(one.content, str)
        ]
        return AIMessage(role="user", content="\n".join([HEADING, *lines])) if lines else None


def _ranked(events: Sequence[RoomEvent], words: Mapping[str, float]) -> list[RoomEvent]:
    """Return the events by how much the words say that they have, of equal ones the newest first."""

    def weight(event: RoomEvent) -> tuple[float, int]:
        own = set(folded_words(text_of(event.content)))
        return sum(rarity for word, rarity in words.items() if word in own), event.index

    return sorted(events, key=weight, reverse=True)
