"""From a commit into the lanes of its recipients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, override

from roomkit.kernel.commit.dispatcher import Dispatcher
from roomkit.kernel.flow.voices import may_answer

if TYPE_CHECKING:
    from roomkit.abc.store import Commit
    from roomkit.kernel.delivery.lanes import Lanes
    from roomkit.kernel.delivery.settling import Settling
    from roomkit.kernel.delivery.wakeups import Wakeups
    from roomkit.kernel.flow.draft import Run
    from roomkit.kernel.flow.job import Job
    from roomkit.kernel.following.follows import Follows

__all__ = ["LaneDispatcher"]


class LaneDispatcher(Dispatcher):
    """Puts jobs into lanes, and has each event settle once all of its jobs were started."""

    def __init__(self, *, lanes: Lanes, settling: Settling, wakeups: Wakeups, follows: Follows) -> None:
        self._lanes = lanes
        self._settling = settling
        self._wakeups = wakeups
        self._follows = follows
        self._feeds = follows.feeds

    @override
    def enqueue(self, run: Run, jobs: Sequence[Job], *, always: bool = False) -> Callable[[], None]:
        """Put jobs into lanes; `always` also into full ones: claimed rows are in the ledger already."""
        if self._feeds:
            self._follows.committed(run)
        run.cascade.hold()
        return partial(self._lanes.start, self._lanes.plan(run, jobs, always=always))

    @override
    def rights_changed(self, commit: Commit) -> None:
        room_id, status = commit.room_id, (commit.room_changes or {}).get("status")
        if status is not None and not status.is_open:
            self._lanes.end_turns(room_id, f"room_{status}")
        for channel_id in commit.unbind:
            self._lanes.end_turns(room_id, "detached", of=channel_id)
        for binding in commit.bindings:
            if may_answer(binding) is not None:
                self._lanes.end_turns(room_id, binding.mute_reason or "muted", of=binding.channel_id)
            else:
                self._lanes.narrow(binding)

    @override
    def launched(self, run: Run) -> None:
        self._settling.launched(run)

    @override
    def wake(self, room_id: str, workers: Iterable[str | None]) -> None:
        self._wakeups.wake(room_id, workers)
