"""Which events refer to which files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

__all__ = ["MediaRegister", "MediaUse"]


class MediaUse(NamedTuple):
    """An event that refers to a file, from the commit on that names it (`Commit.media`)."""

    media_id: str
    event_id: str


class MediaRegister(ABC):
    """The files of rooms, and the events that refer to them; the files themselves are a media store's.

    A reference is removed with its event, by retention, deletion of the room, or redaction, in the same
    transaction. A file that has lost its last reference is unused at once; a registered one that never had
    any, from its `unused_at` on.
    """

    @abstractmethod
    async def register_media(self, room_id: str, media_ids: Collection[str], *, unused_at: datetime) -> None:
        """Register files before they are stored, so that none is forgotten. Idempotent for a room."""

    @abstractmethod
    async def find_media_rooms(self, media_ids: Collection[str]) -> dict[str, frozenset[str]]:
        """Return the rooms of those files that are registered, by their ids.

        They are the rooms of the events that refer to a file, wherever those were moved; while none refers
        to it, the room that it was registered for.
        """

    @abstractmethod
    async def list_unused_media(self, before: datetime, *, limit: int = 100) -> list[tuple[str, str]]:
        """Return (room id, media id) of files that no event refers to, unused by `before`, oldest first.

        The room is the one that the file was registered, and stored, for.
        """

    @abstractmethod
    async def forget_media(self, media_ids: Collection[str]) -> int:
        """Remove files from the register that no event refers to; return how many were removed."""

    @abstractmethod
    async def list_event_media(self, event_ids: Sequence[str]) -> list[MediaUse]:
        """Return what events refer to, in order of event and file."""
