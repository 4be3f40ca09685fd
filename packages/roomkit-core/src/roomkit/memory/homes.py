"""The homes of live things, in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from roomkit.abc.errors import HomeLostError
from roomkit.abc.store import HomeRecord
from roomkit.memory.leases import Leases

__all__ = ["HomeTable"]


class HomeTable:
    """Which worker has each live thing: by room (None for elected ones) and name."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self.rooms: dict[str | None, dict[str, HomeRecord]] = {}  # bound: rooms and elections with homes

    def get(self, room_id: str | None, name: str) -> HomeRecord | None:
        """Return a home as it is now."""
        home = self.rooms.get(room_id, {}).get(name)
        return None if home is None else replace(home, is_alive=self._leases.in_force(home.worker_id))

    def check(self, fence: HomeRecord | None) -> None:
        """Raise HomeLostError if a home has a newer token than its fence."""
        if fence is None:
            return
        home = self.get(fence.room_id, fence.name)
        if home is None or home.token != fence.token:
            raise HomeLostError.at(fence.name, fence.token)

    def take(self, wanted: HomeRecord, token: int | None) -> HomeRecord:
        """Give a home to the worker of `wanted`, unless another one in force has it; return it as it is."""
        home = self.get(wanted.room_id, wanted.name) or HomeRecord(wanted.room_id, wanted.name)
        if home.is_alive and home.worker_id != wanted.worker_id:
            return home
        if not self._leases.in_force(wanted.worker_id) or token not in (None, home.token):
            return home
        is_new = home.worker_id != wanted.worker_id
        home = replace(wanted, token=home.token + is_new, is_alive=True)
        self.rooms.setdefault(wanted.room_id, {})[wanted.name] = home
        return home

    def leave(self, room_id: str | None, name: str, worker_id: str) -> bool:
        """Free a home that the worker has."""
        home = self.get(room_id, name)
        if home is None or home.worker_id != worker_id:
            return False
        self.rooms[room_id][name] = HomeRecord(room_id, name, token=home.token)
        return True

    def holder(self, room_id: str, channel_id: str, *, is_agent: bool = False) -> str | None:
        """Return the worker to which a free lane goes: with the channel's home, or for an agent any."""
        homes = self.rooms.get(room_id)
        if homes is None:
            return None
        in_force, announces = self._leases.in_force, self._leases.announces
        home = homes.get(channel_id)
        if home is not None and in_force(home.worker_id):
            return home.worker_id
        if not is_agent:
            return None
        for name in sorted(homes):
            worker_id = homes[name].worker_id
            if worker_id is not None and in_force(worker_id) and announces(worker_id, channel_id):
                return worker_id
        return None

    def noticed(self, room_id: str, name: str, at: datetime) -> HomeRecord | None:
        """Return a home; if it is lost, with the time when that was first noticed."""
        home = self.get(room_id, name)
        if home is not None and home.is_lost and home.lost_at is None:
            home = self.rooms[room_id][name] = replace(home, lost_at=at)
        return home

    def delete_room(self, room_id: str) -> None:
        """Forget the homes of a room."""
        self.rooms.pop(room_id, None)
