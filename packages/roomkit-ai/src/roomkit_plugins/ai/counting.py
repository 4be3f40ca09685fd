"""How many tokens events cost, by the vendor's own counter where that is worth a request."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from roomkit.abc.errors import ProviderError
from roomkit.abc.log import get_logger
from roomkit.models.ai import AIMessage
from roomkit.models.content import TextContent
from roomkit.models.generation import AIContext
from roomkit_plugins.ai.tokens import of_event

if TYPE_CHECKING:
    from roomkit.abc.ai import AIProvider
    from roomkit.models.event import RoomEvent

__all__ = ["TokenCounter"]

logger = get_logger("roomkit.ai")

MAX_COUNTED = 16_384
SECONDS = 2.0
"""How long a count may take; a turn waits for it."""
PAUSE = 60.0
"""After a failure the vendor is not asked for so many seconds."""
NEAR = 0.5
"""Below this share of the budget the estimate will do."""

type Mark = tuple[str, datetime | None]
"""An event as it was counted: its id, and when it was last edited."""


class TokenCounter:
    """Counts events with a provider's `count_tokens`, or by estimate.

    At most one request a call: the events that were not counted before go into it together, and each
    has its share of the sum. Nothing is asked while the estimate is far below the budget. A failure is
    logged and counted in `failures`; then, and for content other than text, the estimate counts.
    """

    def __init__(self, provider: AIProvider | None) -> None:
        self.failures = 0
        self.requests = 0
        self._provider = provider
        self._counts: OrderedDict[Mark, int] = OrderedDict()  # bound: MAX_COUNTED
        self._asked_again_at = 0.0

    async def costs(self, events: Sequence[RoomEvent], budget: int) -> list[int]:
        """Return what each of the events costs."""
        estimates = [of_event(event) for event in events]
        if self._provider is None or sum(estimates) < budget * NEAR:
            return estimates
        new = [
            (event, estimate)
            for event, estimate in zip(events, estimates, strict=True)
            if _text(event) and _mark(event) not in self._counts
        ]
        if new and asyncio.get_running_loop().time() >= self._asked_again_at:
            await self._count(self._provider, new)
        return [
            self._counts.get(_mark(event), estimate)
            for event, estimate in zip(events, estimates, strict=True)
        ]

    async def _count(self, provider: AIProvider, new: Sequence[tuple[RoomEvent, int]]) -> None:
        messages = [AIMessage(role="user", content=_text(event)) for event, _ in new]
        self.requests += 1
        try:
            async with asyncio.timeout(SECONDS):
                total = await provider.count_tokens(AIContext(messages=messages))
        except Exception as error:  # noqa: BLE001 - an estimate is better than no answer
            self._failed(provider, error)
            return
        if total is None:  # it has no counter
            self._provider = None
            return
        estimated = sum(estimate for _, estimate in new)
        for event, estimate in new:
            self._counts[_mark(event)] = max(1, round(total * estimate / estimated))
        while len(self._counts) > MAX_COUNTED:
            self._counts.popitem(last=False)

    def _failed(self, provider: AIProvider, error: Exception) -> None:
        self.failures += 1
        self._asked_again_at = asyncio.get_running_loop().time() + PAUSE
        reason = error.error_code if isinstance(error, ProviderError) else type(error).__name__
        logger.warning("%s counts no tokens (%s): they are estimated", provider.name, reason)


def _text(event: RoomEvent) -> str:
    content = event.content
    return content.body if isinstance(content, TextContent) and content.body.strip() else ""


def _mark(event: RoomEvent) -> Mark:
    return event.id, event.amendment.edited_at if event.amendment else None
