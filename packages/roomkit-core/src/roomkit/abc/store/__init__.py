"""The contract of the one durable thing, by facet: `ConversationStore` is their sum."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING

from roomkit.abc.store.homes import HomeStore as HomeStore
from roomkit.abc.store.leases import LeaseStore as LeaseStore
from roomkit.abc.store.ledger import LedgerStore as LedgerStore
from roomkit.abc.store.media import MediaRegister as MediaRegister
from roomkit.abc.store.media import MediaUse as MediaUse
from roomkit.abc.store.moves import MoveStore as MoveStore
from roomkit.abc.store.people import PeopleStore as PeopleStore
from roomkit.abc.store.queries import DeliveryQuery as DeliveryQuery
from roomkit.abc.store.queries import EventQuery as EventQuery
from roomkit.abc.store.queries import RoomQuery as RoomQuery
from roomkit.abc.store.records import NOTHING_COMPLETED as NOTHING_COMPLETED
from roomkit.abc.store.records import RECENT_SCAN as RECENT_SCAN
from roomkit.abc.store.records import Amend as Amend
from roomkit.abc.store.records import Claimed as Claimed
from roomkit.abc.store.records import Commit as Commit
from roomkit.abc.store.records import Committed as Committed
from roomkit.abc.store.records import Completed as Completed
from roomkit.abc.store.records import Entry as Entry
from roomkit.abc.store.records import Hearing as Hearing
from roomkit.abc.store.records import HomeRecord as HomeRecord
from roomkit.abc.store.records import Move as Move
from roomkit.abc.store.records import RoomRecord as RoomRecord
from roomkit.abc.store.rooms import RoomStore as RoomStore
from roomkit.abc.store.searching import MAX_SEARCH_WORDS as MAX_SEARCH_WORDS
from roomkit.abc.store.searching import SEARCH_SCAN as SEARCH_SCAN
from roomkit.abc.store.searching import EventSearch as EventSearch
from roomkit.abc.store.timeline import TimelineStore as TimelineStore
from roomkit.abc.store.timers import TimerStore as TimerStore
from roomkit.abc.store.values import ValueStore as ValueStore
from roomkit.abc.store.work import WorkStore as WorkStore

if TYPE_CHECKING:
    from roomkit.abc.locks import RoomLockManager
    from roomkit.abc.realtime import RealtimeBackend

__all__ = ["ConversationStore"]


class ConversationStore(
    RoomStore,
    TimelineStore,
    PeopleStore,
    WorkStore,
    ValueStore,
    LedgerStore,
    LeaseStore,
    HomeStore,
    TimerStore,
    MediaRegister,
    MoveStore,
):
    """Rooms, timelines, bindings, participants, identities, tasks, observations and the ledger.

    Each base is one facet; what spans them is here, and this holds for all of them.

    Records are frozen and may be shared: neither stores nor callers change one.
    An id that is not there gives None or False from `get_*` and `delete_*`, and the matching
    not-found error from everything that changes it. Methods may be called concurrently. Lists are
    ordered: rooms by creation, events by index, the rest by insertion. A failing call has changed
    nothing; failures of the storage itself raise StoreError, or one of its kinds that says more.

    What looks beyond one room takes an `organization_id`: given, only that organization's rooms and
    their contents exist; everything else is treated as missing.

    The ledger has a *lane* for each (room, channel). A worker, that is a kit, has a *lease* on the store
    and holds lanes under it; a lane is one worker's for as long as it has pending deliveries.
    When a lease runs out, by the store's clock, any worker may claim its lanes: the worker that
    overslept finds its writes to the ledger refused. With its lease a worker announces the channels that
    are registered with it: deliveries of other channels are left to the workers that announce them.
    """

    write_delay: float = 0.0
    """For how many seconds the end of a delivery may wait to be written with the next commit.

    0 where a write costs nothing. Outcomes not yet written when the process is killed are delivered
    again, under the same idempotency key.
    """

    @property
    def is_process_local(self) -> bool:
        """Whether the data ends with this process and no other process sees it."""
        return False

    async def now(self) -> datetime | None:
        """Return the present time by the clock that all workers of the store share, aware; None without one.

        A kit whose own clock differs by more than a second goes by this one, so that timers are due at the
        same instant for every worker. Raises StoreError.
        """
        return None

    def make_lock_manager(self) -> RoomLockManager | None:
        """Return new room locks that go with this store, for a kit that was given none.

        None: the store has none to offer. Nothing is connected yet; the kit closes them.
        """
        return None

    def make_realtime(self) -> RealtimeBackend | None:
        """Return a new realtime backend that goes with this store, for a kit that was given none.

        None: the store has none to offer. Nothing is connected yet; the kit closes it.
        """
        return None

    @abstractmethod
    async def load(self, room_id: str, *, recent: int = 0, key: str | None = None) -> RoomRecord | None:
        """Return the room as it is now, able to answer `recent(n)` for n up to `recent`, and `keyed(key)`.

        The record follows what this store object commits to the room later; what others commit it
        need not.
        """

    def recall(self, room_id: str, *, recent: int = 0) -> RoomRecord | None:
        """Return the room from memory, without asking the storage, able to answer `recent(n)` as `load` says.

        None when it is not in memory. It may be out of date: a commit that expects its version finds out.
        A commit that succeeds leaves the record up to date, with the messages that others added before.
        """
        return None

    @abstractmethod
    async def commit(self, commit: Commit) -> Committed:
        """Write everything in `commit` or nothing.

        Each event gets the room's next index and `commit.at` as `created_at`, and DELIVERED in
        place of PENDING. The indexes of a room strictly rise for ever: a deleted event's is not
        used again. The room's counters and activity move with it, and its version when anything but
        events was written. Cancellation does not undo it.

        For each target a ledger row `<event id>:<channel id>` is created, PENDING. Its holder is
        `commit.worker_id`, if that lease is in force and the lane is free, or held by it with nothing
        handed over and not yet claimed. Else the row joins its lane: it is handed over to the worker
        that holds the lane, or by no worker when none does, and is in `Committed.elsewhere`. A
        commit without a worker leaves its rows in the same way, and reports nothing. A row of a channel
        in `commit.absent` whose lane is free is handed over to a worker in force that announces the
        channel, and by no worker when none does. A free lane of a channel that has a home in the room goes to
        the holder in force; so does, in a room with any home, that of a channel in `commit.agents`, if the
        holder announces the channel. A timer that is due at `commit.at` is held by the
        committing worker.

        Raises RoomNotFoundError; StaleRoomError when the room's version is not the expected one;
        LockLostError when the room has seen a higher fence; DuplicateEventError, with the first
        event, when the room has an event of that idempotency key or an event of that id exists, or when
        both that event and the new one have a key that spans rooms (see `Entry`);
        EventNotFoundError when an event to amend or redact is not there.
        """

    async def close(self) -> None:
        """Release what the store holds. Idempotent."""
