"""One delivery on its way to one binding."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from roomkit.kernel.flow.draft import Run
    from roomkit.kernel.flow.live_answer import LiveRecipient
    from roomkit.kernel.flow.recipients import Target
    from roomkit.kernel.flow.speculation import Prepared
    from roomkit.models.channel import ChannelOutput
    from roomkit.models.delivery import Delivery, DeliveryError

__all__ = ["Breakable", "Job", "Undone"]


class Job:
    """One delivery: an event on its way to one binding."""

    # Defaults of the class: each recipient of each message has a job, and most never differ from them.
    refused = False
    """Whether its lane was full."""
    worker_id: str | None = None
    """The lease that it is held under."""
    overdue = False
    """Whether its task was abandoned: another one settles it."""
    parked = False
    """Whether the turn parked a round, and is to be continued later."""
    stream: Breakable | None = None
    """The streamed answer under way, when it is an agent's turn."""
    held: Prepared | None = None
    """The turn as it was begun before the event was committed, when it is an agent's."""
    begun: Callable[[], Awaitable[ChannelOutput]] | None = None
    """Gives the outcome of its first attempt, where that was made before it came into its lane."""
    settled: asyncio.Event | None = None
    """Set when the job has its outcome, where a caller waits for that."""

    def __init__(
        self,
        run: Run,
        target: Target,
        recipient: LiveRecipient | None = None,
        claimed: Delivery | None = None,
    ) -> None:
        self.run = run
        self.target = target
        self.claimed = claimed
        """The ledger row, when the delivery was reclaimed or retried."""
        self.recipient = recipient
        """The recipient that the event was already streamed to, if any."""

    @property
    def delivery_id(self) -> str:
        """The id of its row in the ledger."""
        return f"{self.run.event.id}:{self.target.binding.channel_id}"


class Undone(Exception):
    """A job that could not be carried out now, for no fault of its own: its ledger row stays pending."""


class Breakable(Protocol):
    """Work that another task can end."""

    event_id: str
    """The id of the event that it becomes."""
    unrecorded: DeliveryError | None
    """The part that readers saw and that has no entry in the timeline."""

    async def break_off(self, reason: str) -> None:
        """End it, keeping its result so far."""

    def narrow(self, visibility: str) -> None:
        """Show the rest only to those whom `visibility` admits too."""
