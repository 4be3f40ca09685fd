"""The half of a store that no database changes: its life, its cache, and writes that are commits."""

from __future__ import annotations

from abc import abstractmethod
from types import TracebackType
from typing import Any, Self, override

from roomkit.abc.store import Commit, ConversationStore, RoomRecord
from roomkit.models.base import Record, utcnow
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import TaskStatus
from roomkit.models.participant import Participant
from roomkit.models.task import Observation, Task
from roomkit_plugins.sql.cached import CachedRoom, CachedRooms, Known, Reading
from roomkit_plugins.sql.pages import EVERYTHING, RecordPage

__all__ = ["SQLStore"]


class SQLStore(ConversationStore):
    """A store with a cache of the rooms in use; a database's own class says how it reads and writes."""

    _rooms: CachedRooms

    @abstractmethod
    async def open(self) -> Self:
        """Connect now instead of at the first call. Raises StoreError."""

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @abstractmethod
    async def _read_room(self, room_id: str, known: Known, recent: int, key: str | None) -> Reading | None:
        """Read the uncached parts of a room, and the event of the key; None when the room does not exist."""

    @abstractmethod
    async def _commit_given(self, commit: Commit, binding: str | None, participant: str | None) -> object:
        """Commit what this process made; a `binding` or `participant` must exist already."""

    @abstractmethod
    async def _records[R: Record](
        self, kind: type[R], room_id: str, page: RecordPage = EVERYTHING
    ) -> list[R]:
        """Return the records of a kind that belong to a room, in order of insertion: a page of them.

        Raises what `no_cursor` makes for a record to continue from that the room does not have.
        """

    @abstractmethod
    async def _record[R: Record](self, kind: type[R], room_id: str, own_id: str) -> R | None:
        """Return the record of a room with that id, or of that channel."""

    @abstractmethod
    async def _mark(self, room_id: str, channel_id: str, event_id: str | None) -> int:
        """Move a read mark forward to an event, the newest when None; return its index."""

    @override
    async def load(self, room_id: str, *, recent: int = 0, key: str | None = None) -> RoomRecord | None:
        recent = max(recent, 0)
        known = self._rooms.known(room_id)
        reading = await self._read_room(room_id, known, recent, key)
        if reading is not None:
            if reading.is_growth:
                self._rooms.complete(room_id, known, reading)
            record = self._rooms.absorb(room_id, reading, recent)
            if record is not None:
                return record
            # Another write came between: read the whole room, as of one instant.
            reading = await self._read_room(room_id, Known(), recent, key)
            if reading is not None and reading.room is not None:
                return self._rooms.absorb(room_id, reading, recent) or CachedRoom(reading.room, reading)
        self._rooms.forget(room_id)
        return None

    @override
    def recall(self, room_id: str, *, recent: int = 0) -> RoomRecord | None:
        return self._rooms.recall(room_id, recent)

    async def _put(
        self, room_id: str, *, binding: str | None = None, participant: str | None = None, **given: Any
    ) -> None:
        """Commit something that is neither an event nor activity."""
        commit = Commit(room_id=room_id, entries=(), at=utcnow(), activity=False, **given)
        await self._commit_given(commit, binding, participant)

    @override
    async def add_binding(self, binding: ChannelBinding) -> ChannelBinding:
        await self._put(binding.room_id, bindings=[binding])
        return binding

    @override
    async def get_binding(self, room_id: str, channel_id: str) -> ChannelBinding | None:
        return await self._record(ChannelBinding, room_id, channel_id)

    @override
    async def update_binding(self, binding: ChannelBinding) -> ChannelBinding:
        await self._put(binding.room_id, binding=binding.channel_id, bindings=[binding])
        return binding

    @override
    async def list_bindings(self, room_id: str) -> list[ChannelBinding]:
        return await self._records(ChannelBinding, room_id)

    @override
    async def add_participant(self, participant: Participant) -> Participant:
        await self._put(participant.room_id, participants=[participant])
        return participant

    @override
    async def get_participant(self, room_id: str, participant_id: str) -> Participant | None:
        return await self._record(Participant, room_id, participant_id)

    @override
    async def update_participant(self, participant: Participant) -> Participant:
        await self._put(participant.room_id, participant=participant.id, participants=[participant])
        return participant

    @override
    async def list_participants(
        self, room_id: str, *, limit: int | None = None, after: str | None = None
    ) -> list[Participant]:
        return await self._records(Participant, room_id, RecordPage(limit, after))

    @override
    async def add_task(self, task: Task) -> Task:
        await self._put(task.room_id, tasks=[task])
        return task

    @override
    async def list_tasks(
        self,
        room_id: str,
        status: TaskStatus | None = None,
        *,
        limit: int | None = None,
        after: str | None = None,
    ) -> list[Task]:
        return await self._records(Task, room_id, RecordPage(limit, after, status))

    @override
    async def add_observation(self, observation: Observation) -> Observation:
        await self._put(observation.room_id, observations=[observation])
        return observation

    @override
    async def list_observations(
        self, room_id: str, *, limit: int | None = None, after: str | None = None
    ) -> list[Observation]:
        return await self._records(Observation, room_id, RecordPage(limit, after))

    @override
    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> int:
        return await self._mark(room_id, channel_id, event_id)

    @override
    async def mark_all_read(self, room_id: str, channel_id: str) -> int:
        return await self._mark(room_id, channel_id, None)
