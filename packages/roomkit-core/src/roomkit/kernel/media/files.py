"""The files of a kit: stored before the commit that refers to them, shown to channels as they ask."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import InvalidInputError, MediaNotConfiguredError, MediaNotFoundError
from roomkit.abc.store.media import MediaUse
from roomkit.abc.store.records import Amend
from roomkit.authoring.data_url import inline_file
from roomkit.kernel.flow.merged import successor
from roomkit.kernel.media.contents import id_of, referred, urls_of, with_urls
from roomkit.models.base import new_id
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    EditContent,
    EventContent,
    MediaContent,
    RichContent,
    TextContent,
    VideoContent,
)
from roomkit.models.enums import MediaForm
from roomkit.models.media import MEDIA_TYPES

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.media import MediaStore
    from roomkit.abc.store import Commit, ConversationStore
    from roomkit.kernel.media.signing import MediaSigner
    from roomkit.models.event import RoomEvent
    from roomkit.models.media import MediaRef
    from roomkit.models.options import KitOptions

__all__ = ["Files"]

INLINE_LIMIT = 64 * 1024
"""A `data:` URL that is longer becomes a file."""
UNUSED_AFTER = timedelta(hours=24)
_URL_FOR = timedelta(hours=1)
_GONE = "[file: no longer available]"


class Files:
    """Puts, checks and shows files; the register of the store knows which events refer to them."""

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        clock: Clock,
        media: MediaStore | None,
        signer: MediaSigner,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._media = media
        self.signer = signer

    @property
    def media(self) -> MediaStore:
        """The media store. Raises MediaNotConfiguredError."""
        if self._media is None:
            raise MediaNotConfiguredError(
                "files cannot be kept: the kit has no media store; give RoomKit(media=...), or [media] in "
                "roomkit.toml"
            )
        return self._media

    @property
    def are_kept(self) -> bool:
        """Whether there is a media store."""
        return self._media is not None

    @property
    def limit(self) -> int:
        """How many bytes a file may have."""
        return self._settings.media_limit

    # -- before the commit --------------------------------------------------------------------

    async def put(
        self,
        room_id: str,
        data: AsyncIterable[bytes],
        *,
        mime_type: str,
        filename: str | None = None,
        limit: int | None = None,
    ) -> MediaRef:
        """Store a file of a room; it is registered first, so that it is swept if no event refers to it."""
        media, media_id = self.media, new_id()
        unused_at = self._clock.now() + UNUSED_AFTER
        await self._store.register_media(room_id, (media_id,), unused_at=unused_at)
        return await media.put(
            data,
            mime_type=mime_type,
            room_id=room_id,
            limit=self._settings.media_limit if limit is None else limit,
            filename=filename,
            media_id=media_id,
        )

    async def taken_in(self, event: RoomEvent) -> RoomEvent:
        """Return the event with its long `data:` URLs stored as files.

        Raises InvalidInputError for a reference to a file that is not of the event's room, and
        MediaTooLargeError.
        """
        content = event.content
        await self._check(event.room_id, content)
        if self._media is None:
            return event
        moved: dict[str, str | MediaRef] = {}
        for url, filename in _inline_urls(content):
            inline = inline_file(url)
            if inline is not None and url not in moved:
                data = _whole(inline.data)
                moved[url] = await self.put(
                    event.room_id, data, mime_type=inline.mime_type, filename=filename
                )
        return event.replace(content=with_urls(content, moved)) if moved else event

    async def _check(self, room_id: str, content: EventContent) -> None:
        named = referred(content)
        if not named:
            return
        _ = self.media
        rooms = await self._store.find_media_rooms(named)
        for media_id in named:
            if not await self._is_of(room_id, rooms.get(media_id, frozenset())):
                raise InvalidInputError(
                    f"an event of room {room_id!r} refers to 'media:{media_id}', which is not a file of that "
                    "room: put it there first (services.media.put); nothing was stored"
                )

    async def _is_of(self, room_id: str, rooms: frozenset[str]) -> bool:
        """Whether a file of these rooms is one of a room, or of one that was merged into it."""
        if room_id in rooms:
            return True
        merged = [await successor(self._store, each) for each in sorted(rooms)]
        return any(room is not None and room.id == room_id for room in merged)

    async def prepare(self, commit: Commit) -> None:
        """Have what a commit is about to write hold no file in itself, and register what it refers to."""
        uses: list[MediaUse] = []
        entries = list(commit.entries)
        for at, entry in enumerate(entries):
            event = entry.event
            if event.content.type not in MEDIA_TYPES:
                continue
            taken = await self.taken_in(event)
            if taken is not event:
                entries[at].event = taken
            named = referred(taken.content)
            uses += [MediaUse(media_id, event.id) for media_id in named]
            amend = commit.amend
            if amend is not None and isinstance(taken.content, EditContent) and amend.content is not None:
                commit.amend = Amend(amend.event_id, taken.content.new_content, amend.amended_by)
                uses += [MediaUse(media_id, amend.event_id) for media_id in named]
        commit.media = uses

    # -- afterwards ---------------------------------------------------------------------------

    async def find(self, media: str) -> MediaRef:
        """Return the description of a file, by its id or its `media:` URL. Raises MediaNotFoundError."""
        media_id = id_of(media) or media
        found = await self.media.find(media_id)
        if found is None:
            raise MediaNotFoundError(f"no file {media_id!r} is kept: it was deleted, or never stored")
        return found

    def open(self, media: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """Yield a file's bytes."""
        return self.media.open(id_of(media) or media, start=start)

    async def url(self, ref: MediaRef, expires_in: timedelta) -> str | None:
        """Return a signed URL of a file; None if neither its store nor this kit serves it."""
        own = self.media.signed_url(ref, expires_in=expires_in)
        return own or await self.signer.url(ref.id, self._clock.now() + expires_in)

    async def shown(self, content: EventContent, form: MediaForm) -> EventContent:
        """Return a content as a channel takes it: with signed URLs, `data:` URLs, or text in place of files.

        A file that no URL leads to is shown as bytes, one that is gone as text.
        """
        named = referred(content)
        if not named or form is MediaForm.REFERENCE:
            return content
        urls: dict[str, str | MediaRef] = {}
        for media_id in named:
            found = None if self._media is None else await self._media.find(media_id)
            if found is not None and form is not MediaForm.TEXT:
                with suppress(MediaNotFoundError):  # it was deleted in between
                    urls[found.url] = await self._shown_url(found, form)
        return _without_files(with_urls(content, urls))

    async def _shown_url(self, ref: MediaRef, form: MediaForm) -> str:
        url = await self.url(ref, _URL_FOR) if form is MediaForm.URL else None
        return url or await self.data_url(ref)

    async def data_url(self, ref: MediaRef) -> str:
        """Return a file in a URL of its own."""
        content = b"".join([piece async for piece in self.media.open(ref.id)])
        return f"data:{ref.mime_type};base64,{base64.b64encode(content).decode()}"

    async def uses(self, event_ids: Sequence[str]) -> Mapping[str, list[str]]:
        """Return the files that events refer to, by event."""
        found: dict[str, list[str]] = {}
        for media_id, event_id in await self._store.list_event_media(event_ids):
            found.setdefault(event_id, []).append(media_id)
        return found


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _inline_urls(content: EventContent) -> list[tuple[str, str | None]]:
    """Return the long `data:` URLs of a content, and their file names."""
    if isinstance(content, CompositeContent):
        return [each for part in content.parts for each in _inline_urls(part)]
    if isinstance(content, EditContent):
        return _inline_urls(content.new_content)
    filename = content.filename if isinstance(content, MediaContent) else None
    return [
        (url, filename) for url in urls_of(content) if len(url) > INLINE_LIMIT and url[:5].lower() == "data:"
    ]


def _without_files(content: EventContent) -> EventContent:
    """Return a content in which text stands for each file that is still referred to by its id."""
    match content:
        case CompositeContent():
            return content.replace(parts=tuple(map(_without_files, content.parts)))
        case EditContent():
            return content.replace(new_content=_without_files(content.new_content))
        case RichContent() if content.cards:
            return content.replace(cards=tuple(map(_without_file, content.cards)))
        case VideoContent() if content.thumbnail_url is not None and id_of(content.thumbnail_url):
            return _without_files(content.replace(thumbnail_url=None))
        case MediaContent() if id_of(content.url) is not None:
            named = content.filename or content.mime_type
            return TextContent(body="\n".join(filter(None, (content.caption, f"[file: {named}]"))))
        case AudioContent() if id_of(content.url) is not None:
            return TextContent(body=content.transcript or "[voice message]")
        case VideoContent() if id_of(content.url) is not None:
            return TextContent(body="[video]")
        case _:
            return content


def _without_file(card: Mapping[str, Any]) -> Mapping[str, Any]:
    url = card.get("media_url")
    if not isinstance(url, str) or id_of(url) is None:
        return card
    return {name: value for name, value in card.items() if name != "media_url"}
