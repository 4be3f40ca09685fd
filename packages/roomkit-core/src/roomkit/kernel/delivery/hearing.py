"""What people perceived of an answer, kept beside its event as it becomes known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.abc.errors import EventNotFoundError, RoomKitError, RoomNotFoundError
from roomkit.abc.store import Hearing
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.models.content import text_of
from roomkit.models.enums import DeliveryState
from roomkit.models.event import Heard

if TYPE_CHECKING:
    from collections.abc import Callable

    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.delivery.outcome import SendOutcome
    from roomkit.kernel.flow.job import Job
    from roomkit.kernel.runtime.supervisor import Supervisor

__all__ = ["Hearings"]


class Hearings:
    """Writes how far an event was perceived: no entry of the timeline, and no change of its text.

    Once one channel says that less than all was perceived, the channels that carried the event whole are
    written too, since a person may have read in one what they did not hear in another.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        supervisor: Supervisor,
        changed: Callable[[str], None],
    ) -> None:
        self._changed = changed
        self._store = store
        self._clock = clock
        self._supervisor = supervisor

    async def note(self, job: Job, outcome: SendOutcome) -> None:
        """Keep what the end of a delivery says; a failure is reported, because the delivery has ended."""
        run, channel_id = job.run, job.target.binding.channel_id
        whole = len(text_of(run.event.content))
        heard = self._heard(job, outcome, whole)
        if heard is None:
            return
        found = [heard]
        if heard.chars < whole and not run.partly_heard:
            run.partly_heard = True
            others = (row.channel_id for row in run.finished if row.state is DeliveryState.SENT)
            found += [Heard(channel_id=other, chars=whole) for other in others if other != channel_id]
        commit = QuietCommit(
            room_id=run.event.room_id,
            at=self._clock.now(),
            heard=[Hearing(run.event.id, each) for each in found],
        )
        self._changed(commit.room_id)  # an answer prepared before took more, or less, for heard
        try:
            await self._store.commit(commit)
        except (RoomNotFoundError, EventNotFoundError):
            return  # erased or pruned since
        except RoomKitError as error:
            self._supervisor.report(f"keeping what channel {channel_id} heard of {run.event.id}", error)

    def _heard(self, job: Job, outcome: SendOutcome, whole: int) -> Heard | None:
        """Return how much the person behind the job's channel perceived, None if nothing is to be kept."""
        chars, is_estimated, recipient = outcome.heard, False, job.recipient
        if recipient is not None and recipient.heard_chars is not None:
            chars, is_estimated = max(chars or 0, recipient.heard_chars), recipient.is_estimated
        if chars is None:
            if not job.run.partly_heard or outcome.state is not DeliveryState.SENT:
                return None
            chars = whole
        channel_id = job.target.binding.channel_id
        return Heard(channel_id=channel_id, chars=min(chars, whole), estimated=is_estimated)
