"""Files of rooms, beside their events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Collection
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.content import EventContent
    from roomkit.models.enums import MediaForm
    from roomkit.models.media import MediaRef

__all__ = ["MediaService"]


class MediaService(ABC):
    """The kit's media store: what contents refer to by `media:<id>` in place of a URL.

    A file belongs to one room. It is deleted within about an hour once no event refers to it any more, by
    retention, erasure or deletion of the room; one that no event ever referred to, after 24 hours. `media` is
    a file's id or its `media:` URL. Every method raises MediaNotConfiguredError for a kit without a store.
    """

    @property
    @abstractmethod
    def limit(self) -> int:
        """How many bytes a file may have, `media_limit` of the kit: an event with a larger one is refused."""

    @abstractmethod
    async def put(
        self,
        room_id: str,
        data: AsyncIterable[bytes] | bytes,
        *,
        mime_type: str,
        filename: str | None = None,
        limit: int | None = None,
    ) -> MediaRef:
        """Store a file of a room, to be referred to by an event: `MediaContent(url=ref.url, ...)`.

        `limit` is in bytes, `media_limit` of the kit without. Raises MediaTooLargeError and
        RoomNotFoundError.
        """

    @abstractmethod
    async def find(self, media: str) -> MediaRef:
        """Return the description of a file. Raises MediaNotFoundError."""

    @abstractmethod
    def open(self, media: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Yield a file's bytes, from the byte `start` on. Raises MediaNotFoundError at the first one."""

    @abstractmethod
    async def url(self, media: str, *, expires_in: timedelta = timedelta(hours=1)) -> str:
        """Return a URL under which anyone may read the file for that long.

        Raises MediaNotFoundError, and MediaNotConfiguredError if neither the store serves files nor the kit
        knows where it is reached (`media_url`).
        """

    @abstractmethod
    async def shown(self, content: EventContent, form: MediaForm) -> EventContent:
        """Return a content with its files in another form, as a delivery gets it; gone ones are text."""

    @abstractmethod
    async def import_later(self, event_id: str, part: int = 0, *, types: Collection[str] = ("*/*",)) -> None:
        """Fetch a file that a committed event has at an http(s) URL, and keep it in the URL's place.

        `part` counts the files of the event's content from 0. It is fetched by the guarded fetch on any
        worker, retried for a day, and reported as `media_imported` or `media_import_failed`; a refusal leaves
        the URL. Raises InvalidInputError for a part that names no such file.
        """
