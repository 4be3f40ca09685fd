"""Delivery outcomes on their way into the ledger: with the next commit, or soon by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from roomkit.abc.errors import ErrorCode, InvalidInputError, StoreError
from roomkit.abc.log import get_logger
from roomkit.abc.store import NOTHING_COMPLETED, Completed
from roomkit.authoring.coroutines import at_once, may_wait
from roomkit.kernel.runtime.supervisor import Interrupted
from roomkit.models.delivery import Delivery, DeliveryError, DeliveryOutcome
from roomkit.models.enums import DeliveryState
from roomkit.models.values import message_of

if TYPE_CHECKING:
    from roomkit.abc.store import Commit, ConversationStore
    from roomkit.kernel.commit.receipt_notices import ReceiptNotices
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor

__all__ = ["OutcomeWriter"]

_log = get_logger("roomkit.kernel")
_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_UNSTORABLE = "the outcome held a value that cannot be stored"
_SHARED_SECONDS = 10.0
"""For how long after a hand-over between workers a room's outcomes are written at once."""
_LASTING = frozenset({DeliveryState.SENT, DeliveryState.SKIPPED})
"""Outcomes after which a row is never pending again."""
_SEEN_SECONDS = 1.0
"""How long outcomes that others see wait for a commit that makes them durable."""
_MOST_SEEN = 1_000
_MOST_AT_ONCE = 200
"""How many outcomes go into one write: a reclaim may have very many, and others wait for it."""


class OutcomeWriter:
    """Outcomes that are not written yet, at most for the store's `write_delay`.

    A store that is out of reach is tried again every second; nothing is dropped. An outcome that the store
    refuses in any form is retried after 1 s, 2 s, 4 s ... up to a minute, alone, until the kit closes.

    In a room that had a hand-over between workers in the last 10 s, outcomes are shown at once: while one
    waits, its lane looks busy, and each delivery that another worker commits is handed over as well. They
    are shown without a wait for the disk, and written with the next commit, or after a second: only a crash
    of the store's server could undo them until then. A failure is written at once: it may be retried as soon
    as it shows.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        supervisor: Supervisor,
        events: FrameworkEvents,
        lease: Lease,
        notices: ReceiptNotices,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._events = events
        self._lease = lease
        self._notices = notices
        self._rows: list[DeliveryOutcome] = []  # bound: those within write_delay, or while the store is down
        self._timers: list[str] = []  # bound: likewise
        self._writing = asyncio.Lock()
        self._waiting = False
        self._apart = False
        """Whether the store refused a commit that carried outcomes: they are then written without one."""
        self._since = 0.0
        """When the first waiting outcome was added, by the loop's clock."""
        self._unwritten: dict[str, DeliveryOutcome] = {}  # bound: outcomes that the store refuses in any form
        self._shared: dict[str, float] = {}  # bound: the rooms handed over within _SHARED_SECONDS
        """When a room had its last hand-over, by the loop's clock, the oldest first."""
        self._unseen: list[DeliveryOutcome] = []  # bound: outcomes that come while others are shown
        self._showing = asyncio.Lock()
        self._seen: list[DeliveryOutcome] = []  # bound: outcomes that others see, of the last second
        self._sees = False
        """Whether a task waits to write them."""
        self._seen_ids: dict[str, None] = {}  # bound: _MOST_SEEN; those of the last ones
        self.refused = 0
        """How many outcomes came too late: another worker had reclaimed the delivery."""

    def __bool__(self) -> bool:
        if self._rows or self._timers or self._seen or self._unseen:
            return True
        return self._showing.locked() or self._writing.locked()

    def __len__(self) -> int:
        return len(self._rows) + len(self._seen)

    def ended_at_once(self, rows: Sequence[DeliveryOutcome]) -> bool:
        """Do for `rows` what `ended` does if that cannot wait; False, with nothing done, if it may.

        Raises StoreError, and InvalidInputError where each outcome is to be written by itself.
        """
        store = self._store
        if store.write_delay:
            if self._shared and any(self._is_shared(row.room_id) for row in rows):
                return False
            self._add(rows)
            self._write_later()
            return True
        complete = store.complete
        if may_wait(complete):
            return False
        self.written(at_once(complete(rows, worker_id=self._lease.worker_id)))
        return True

    async def ended(self, rows: Sequence[DeliveryOutcome], timers_done: Sequence[str] = ()) -> None:
        """Write delivery outcomes, or have them written soon, as the store asks for.

        Raises StoreError only where writing was to be at once.
        """
        store = self._store
        if not store.write_delay:
            worker_id = self._lease.worker_id
            try:
                completed = await store.complete(rows, worker_id=worker_id, timers_done=timers_done)
            except InvalidInputError as error:
                completed = await self._one_by_one(rows, timers_done, error)
            self.written(completed)
            return
        shared = bool(self._shared) and any(self._is_shared(row.room_id) for row in rows)
        if shared and not timers_done and all(row.state in _LASTING for row in rows):
            self._show_soon(rows)
            return
        self._add(rows, timers_done)
        if shared:
            await self._write_now()
        else:
            self._write_later()

    def _add(self, rows: Sequence[DeliveryOutcome], timers_done: Sequence[str] = ()) -> None:
        if not self._rows and not self._timers:
            self._since = asyncio.get_running_loop().time()
        self._rows += rows
        self._timers += timers_done

    def handed_over(self, room_id: str) -> None:
        """Note that deliveries of a room went from one worker to another."""
        now = asyncio.get_running_loop().time()
        while self._shared and next(iter(self._shared.values())) < now - _SHARED_SECONDS:
            del self._shared[next(iter(self._shared))]
        self._shared.pop(room_id, None)
        self._shared[room_id] = now

    def _is_shared(self, room_id: str) -> bool:
        at = self._shared.get(room_id)
        return at is not None and asyncio.get_running_loop().time() - at < _SHARED_SECONDS

    def _show_soon(self, rows: Sequence[DeliveryOutcome]) -> None:
        """Let other workers see outcomes that are written durably later."""
        self._unseen += rows
        if not self._showing.locked():
            self._supervisor.start(self._show(), "ledger")

    async def _show(self) -> None:
        async with self._showing:
            while self._unseen:
                rows, self._unseen = self._unseen[:_MOST_AT_ONCE], self._unseen[_MOST_AT_ONCE:]
                await self._show_some(rows)

    async def _show_some(self, rows: Sequence[DeliveryOutcome]) -> None:
        try:
            completed = await self._store.complete(rows, worker_id=self._lease.worker_id, durable=False)
        except (StoreError, InvalidInputError) as error:
            _log.debug("delivery outcomes could not be shown; they are written soon: %s", error)
            self._add(rows)
            self._write_later()
            return
        self.written(completed)
        if not self._sees:
            self._sees = True
            self._supervisor.start(self._write_seen(), "ledger", eager=False)
        self._seen += [row for row in rows if row.id not in completed.refused]

    async def _write_seen(self) -> None:
        """Write what others see, if no commit takes it along within a second."""
        try:
            await asyncio.sleep(_SEEN_SECONDS)
        finally:
            self._sees = False
        self._collect()
        if self._rows:
            self._write_later()

    def _collect(self) -> None:
        """Let the next write make durable what others see already."""
        if not self._seen:
            return
        self._seen_ids |= dict.fromkeys(row.id for row in self._seen)
        while len(self._seen_ids) > _MOST_SEEN:
            del self._seen_ids[next(iter(self._seen_ids))]
        self._add(self._seen)
        self._seen = []  # bound: as at first

    async def _write_now(self) -> None:
        try:
            await self.flush()
        except StoreError:
            _log.warning("delivery outcomes could not be written at once; it is tried again", exc_info=True)
            self._write_later()

    def _write_later(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._supervisor.start(self._write_soon(), "ledger")

    def ride(self, commit: Commit) -> None:
        """Let a commit carry the waiting outcomes."""
        if self._seen:
            self._collect()
        if (self._rows or self._timers) and not self._apart:
            commit.completed, commit.timers_done = self._take()

    def _take(self) -> tuple[list[DeliveryOutcome], list[str]]:
        """Take the outcomes of one write."""
        if len(self._rows) <= _MOST_AT_ONCE and len(self._timers) <= _MOST_AT_ONCE:
            rows, timers = self._rows, self._timers
            self._rows, self._timers = [], []  # bound: as at first
            return rows, timers
        rows, self._rows = self._rows[:_MOST_AT_ONCE], self._rows[_MOST_AT_ONCE:]
        timers, self._timers = self._timers[:_MOST_AT_ONCE], self._timers[_MOST_AT_ONCE:]
        return rows, timers

    def put_back(self, commit: Commit) -> None:
        """Keep the outcomes that a failed commit carried."""
        if commit.completed or commit.timers_done:
            self._rows[:0] = commit.completed
            self._timers[:0] = commit.timers_done
            commit.completed = commit.timers_done = ()
            self._write_later()

    def let_off(self, commit: Commit) -> bool:
        """Take back the outcomes of a refused commit; return whether it carried any.

        One of these may be why: until they are written, each by itself, nothing rides.
        """
        has_riders = bool(commit.completed or commit.timers_done)
        self._apart |= has_riders
        self.put_back(commit)
        return has_riders

    def written(self, completed: Completed) -> None:
        """Note the result of a write."""
        if completed.refused and (late := [each for each in completed.refused if not self._was_seen(each)]):
            self.refused += len(late)
            _log.warning(
                "the outcomes of %s deliveries were not written, because another worker has reclaimed "
                "them or their room is gone: %s",
                len(late),
                ", ".join(late[:5]),
            )
        if completed.receipts:
            self._notices.matched(completed.receipts)

    def _was_seen(self, delivery_id: str) -> bool:
        """Whether a row was refused because it shows its outcome already."""
        if delivery_id not in self._seen_ids:
            return False
        del self._seen_ids[delivery_id]
        return True

    async def flush(self) -> None:
        """Write all outcomes that wait now. Raises StoreError, and keeps those not written."""
        async with self._showing:
            self._collect()
        waiting = max(len(self._rows), len(self._timers))
        async with self._writing:
            for _ in range(0, waiting, _MOST_AT_ONCE):
                await self._write_some()
            self._apart = False

    async def _write_some(self) -> None:
        rows, timers = self._take()
        if not rows and not timers:
            return
        complete = self._supervisor.complete
        work = self._store.complete(rows, worker_id=self._lease.worker_id, timers_done=timers)
        try:
            try:
                completed = await complete(work, "ledger")
            except InvalidInputError as error:
                completed = await complete(self._one_by_one(rows, timers, error), "ledger")
        except StoreError:
            self._rows[:0] = rows
            self._timers[:0] = timers
            raise
        except Interrupted as interrupted:
            self.written(interrupted.result)
            raise
        self.written(completed)

    async def _one_by_one(
        self, rows: Sequence[DeliveryOutcome], timers: Sequence[str], error: InvalidInputError
    ) -> Completed:
        """Write each outcome by itself, after the store refused them together."""
        if not rows:
            raise error
        written = [await self._complete_one(row, error) for row in rows]
        if timers:
            written.append(await self._store.complete((), timers_done=timers))
        return Completed(
            [one for each in written for one in each.refused],
            [one for each in written for one in each.receipts],
        )

    async def _complete_one(self, row: DeliveryOutcome, error: InvalidInputError) -> Completed:
        """Write one outcome; if the store refuses it in any form, report it and retry it later."""
        try:
            return await self._in_some_form(row, error)
        except InvalidInputError as refusal:
            self._report("delivery_outcome_refused", row, refusal)
            self._unwritten[row.id] = row
            if len(self._unwritten) == 1:
                self._supervisor.serve(self._retry_refused(), "retries of refused outcomes")
            return NOTHING_COMPLETED

    async def _in_some_form(self, row: DeliveryOutcome, error: InvalidInputError) -> Completed:
        """Write one outcome, without the values that the store refuses: the delivery was made.

        Raises InvalidInputError when it takes none of its forms.
        """
        for attempt in (row, _repaired(row), _bare(row)):
            try:
                completed = await self._store.complete([attempt], worker_id=self._lease.worker_id)
            except InvalidInputError as again:
                error = again
                continue
            if attempt is not row:
                self._report("delivery_outcome_repaired", row, error)
            return completed
        raise error

    async def _retry_refused(self) -> None:
        """Retry the outcomes that the store refused, with growing pauses, until it takes them."""
        pause = _PAUSE
        while self._unwritten:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            for row in list(self._unwritten.values()):
                await self._retry(row)

    async def _retry(self, row: DeliveryOutcome) -> None:
        work = self._in_some_form(row, InvalidInputError(_UNSTORABLE))
        try:
            completed = await self._supervisor.complete(work, "ledger")
        except (InvalidInputError, StoreError) as error:
            _log.warning("the outcome of delivery %s was not written: %s", row.id, error)
            return
        except Interrupted:
            del self._unwritten[row.id]
            raise
        del self._unwritten[row.id]
        self.written(completed)

    def _report(self, kind: str, row: DeliveryOutcome, error: InvalidInputError) -> None:
        _log.error("%s: delivery %s, %s: %s", kind, row.id, row.state.value, error)
        self._events.emit(
            kind,
            room_id=row.room_id,
            channel_id=row.channel_id,
            event_id=row.event_id,
            state=row.state.value,
            error=message_of(error),
        )

    async def _write_soon(self) -> None:
        """Write what no commit has taken along when the store's delay has passed, until it is written."""
        loop, delay = asyncio.get_running_loop(), self._store.write_delay
        pause = delay
        try:
            while self._rows or self._timers:
                await asyncio.sleep(pause)
                left = self._since + delay - loop.time()
                if left > 0:  # what waited then has gone with a commit; this came later
                    pause = left
                    continue
                try:
                    await self.flush()
                    pause = delay if len(self) < _MOST_AT_ONCE else 0.0
                except StoreError:
                    _log.warning(
                        "the outcomes of %s deliveries could not be written; it is tried again",
                        len(self._rows),
                        exc_info=True,
                    )
                    pause = _PAUSE
        finally:
            self._waiting = False


def _repaired(row: DeliveryOutcome) -> DeliveryOutcome:
    """Return the outcome with every value put through the door of the models."""
    given = row.delivery()
    try:
        fields = {name: getattr(given, name) for name in Delivery.model_fields}
        return Delivery.model_validate(fields).outcome()
    except ValidationError:
        return _bare(row)


def _bare(row: DeliveryOutcome) -> DeliveryOutcome:
    """Return the outcome without any word of a vendor or a channel."""
    error = None if row.error is None else DeliveryError(code=ErrorCode.UNKNOWN, message=_UNSTORABLE)
    return replace(
        row,
        provider=None,
        provider_message_id=None,
        parts=(),
        reason=_UNSTORABLE if row.reason else None,
        error=error,
    )
