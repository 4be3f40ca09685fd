"""Intelligences with one fault each, and the test of the contract that must find it.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from planting import planted

from roomkit.models.channel import ChannelOutput
from roomkit.models.content import text_of
from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.testing import ScriptedIntelligence
from roomkit_plugins.testing.contracts import IntelligenceContract

pytestmark = pytest.mark.virtual_time


class TurnContract(IntelligenceContract):
    async def acts(self, channel: Any) -> Sequence[object]:
        used: list[str] = channel.used
        return used


class Sound(ScriptedIntelligence):
    """An intelligence without a fault, which the others are made of."""

    speculates = True

    def __init__(self) -> None:
        super().__init__("bot")
        self.used: list[str] = []

    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        return ChannelOutput(responded=True, response_stream=self.said(event, context))

    async def said(self, event: Any, context: Any) -> AsyncIterator[str]:
        await asyncio.sleep(1)
        yield f"You said {text_of(event.content)}."
        await context.confirmed()
        await self.use(event)
        await asyncio.sleep(1)
        yield " Done."

    async def use(self, event: Any) -> None:
        self.used.append(event.id)


@planted(TurnContract, "test_a_speculative_turn_has_no_effect", "test_a_withdrawn_turn_is_forgotten")
class UsesItsToolAtOnce(Sound):
    async def said(self, event: Any, context: Any) -> AsyncIterator[str]:
        await self.use(event)
        await asyncio.sleep(1)
        yield f"You said {text_of(event.content)}."


@planted(TurnContract, "test_a_speculative_turn_has_no_effect")
class SaysThatItThinks(Sound):
    async def said(self, event: Any, context: Any) -> AsyncIterator[str]:
        assert self.services is not None
        signal = EphemeralEvent(
            room_id=event.room_id,
            type=EphemeralEventType.THINKING_START,
            user_id="bot",
            timestamp=datetime.now(UTC),
        )
        await self.services.realtime.publish_to_room(event.room_id, signal)
        async for piece in super().said(event, context):
            yield piece


@planted(TurnContract, "test_a_withdrawn_turn_is_forgotten")
class RemembersWhatWasWithdrawn(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    async def said(self, event: Any, context: Any) -> AsyncIterator[str]:
        self.heard.append(text_of(event.content))
        yield f"You said {' and '.join(self.heard)}."


@planted(TurnContract, "test_a_confirmed_turn_is_the_turn_it_would_have_been")
class SaysLessWhenItIsAskedEarly(Sound):
    async def said(self, event: Any, context: Any) -> AsyncIterator[str]:
        yield "Yes" if context.speculative else "Yes, of course."


@planted(TurnContract, "test_a_confirmed_turn_is_the_turn_it_would_have_been")
class ForgetsItsToolWhenItIsAskedEarly(Sound):
    async def said(self, event: Any, context: Any) -> AsyncIterator[str]:
        if not context.speculative:
            await self.use(event)
        yield "Yes."


@planted(TurnContract, "test_what_is_interrupted_does_nothing_more")
class GoesOnInTheBackground(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.tasks: set[asyncio.Task[None]] = set()

    async def said(self, event: Any, context: Any) -> AsyncIterator[str]:
        async def later() -> None:
            await asyncio.sleep(5)
            await self.use(event)

        task = asyncio.create_task(later())
        self.tasks.add(task)
        await asyncio.sleep(1)
        yield "Yes."
        await task


@planted(TurnContract, "test_it_answers_a_message_once")
class SaysEverythingTwice(Sound):
    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        return ChannelOutput(
            responded=True,
            response_events=[self._said("Yes.", event)],
            response_stream=self.said(event, context),
        )


@planted(TurnContract, "test_it_answers_alike")
class CountsItsObjects(Sound):
    made = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).made += 1

    async def said(self, event: Any, context: Any) -> AsyncIterator[str]:
        yield f"I am number {self.made}."
