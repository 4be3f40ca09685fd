"""The description of a stored file."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from roomkit.models.base import Record, utcnow
from roomkit.models.values import Id, Int, Key, Text

__all__ = ["MEDIA_TYPES", "MediaRef"]

MEDIA_SCHEME = "media:"
MEDIA_TYPES = frozenset({"media", "audio", "video", "composite", "edit", "rich"})
"""The types of contents that may refer to a file; the data of a CustomContent is its plugin's."""


class MediaRef(Record):
    """A stored file: its content, and the room that it was stored for.

    Events that refer to it may be moved to another room: their rooms are the file's.
    `mime_type` is what the first bytes show, `application/octet-stream` where they contradict the type that
    was declared. `filename` is for people: no file is ever stored under it.
    """

    id: Id
    room_id: Key
    mime_type: Text
    size_bytes: Int = Field(ge=0)
    sha256: Text
    filename: Text | None = None
    created_at: datetime = Field(default_factory=utcnow)

    @property
    def url(self) -> str:
        """The reference that contents hold in place of a URL: `media:<id>`."""
        return MEDIA_SCHEME + self.id
