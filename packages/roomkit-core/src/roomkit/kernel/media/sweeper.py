"""Deleting files that no event refers to, and importing those that one refers to elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from roomkit.abc.attributes import mistyped, read
from roomkit.abc.channel import Channel
from roomkit.abc.errors import (
    FetchFailedError,
    FetchRefusedError,
    InvalidInputError,
    MediaTooLargeError,
    MediaTypeRefusedError,
    ProviderError,
)
from roomkit.abc.store import Amend
from roomkit.abc.store.media import MediaUse
from roomkit.kernel.flow.contract import owner_of
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.flow.timers import TimerOutcome
from roomkit.kernel.media.contents import urls_of, with_urls
from roomkit.kernel.runtime.supervisor import Overdue
from roomkit.models.event import SYSTEM_CHANNEL_ID
from roomkit.models.timer import Timer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from roomkit.abc.clock import Clock
    from roomkit.abc.services.fetch import GuardedFetch
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.media.files import Files
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.event import RoomEvent
    from roomkit.models.media import MediaRef

type Exclusively = Callable[[str, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Runs work under a room's lock."""

__all__ = ["MEDIA_IMPORT", "MEDIA_SWEEP", "MediaImports", "MediaSweeper"]

MEDIA_SWEEP = "media_sweep"
MEDIA_IMPORT = "media_import"
_SWEEP_EVERY = timedelta(hours=1)
_IMPORT_FOR = timedelta(hours=24)
_LOCATE_FOR = 30.0
"""Seconds for a channel to say where a file is: as long as the fetch has."""
_PAGE = 100
_REFUSED = (FetchRefusedError, MediaTooLargeError, MediaTypeRefusedError, InvalidInputError)


class MediaSweeper:
    """Deletes unused files, once an hour on one worker of all."""

    def __init__(
        self, *, store: ConversationStore, clock: Clock, files: Files, events: FrameworkEvents
    ) -> None:
        self._store = store
        self._clock = clock
        self._files = files
        self._events = events

    async def begin(self) -> None:
        """Start the media store, and set the timer if no worker has."""
        await self._files.media.start()
        if not await self._store.find_timers(MEDIA_SWEEP, limit=1):
            due_at = self._clock.now() + _SWEEP_EVERY
            await self._store.set_timer(Timer(id=MEDIA_SWEEP, kind=MEDIA_SWEEP, due_at=due_at))

    async def fire(self, timer: Timer) -> TimerOutcome:
        """Delete unused files, then their rows, so that none is forgotten if this ends in between."""
        if not self._files.are_kept:
            return TimerOutcome(self._clock.now() + _SWEEP_EVERY)
        media, deleted = self._files.media, 0
        while found := await self._store.list_unused_media(self._clock.now(), limit=_PAGE):
            rooms: dict[str, list[str]] = {}
            for room_id, media_id in found:
                rooms.setdefault(room_id, []).append(media_id)
            for room_id, media_ids in rooms.items():
                deleted += await media.delete(room_id, media_ids)
            forgotten = await self._store.forget_media([media_id for _, media_id in found])
            if len(found) < _PAGE or not forgotten:
                break
        if deleted:
            self._events.emit("media_swept", count=deleted)
        return TimerOutcome(self._clock.now() + _SWEEP_EVERY, changed=deleted > 0)


class MediaImports:
    """Fetches a file that an event names by its URL, after its commit, and keeps it with the event."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        files: Files,
        fetch: GuardedFetch,
        exclusively: Exclusively,
        events: FrameworkEvents,
        channels: Channels,
        supervisor: Supervisor,
    ) -> None:
        self._supervisor = supervisor
        self._channels = channels
        self._store = store
        self._clock = clock
        self._files = files
        self._fetch = fetch
        self._exclusively = exclusively
        self._events = events

    async def later(self, event_id: str, part: int, types: Collection[str]) -> Timer:
        """Set the timer of an import. Raises InvalidInputError for what cannot be imported."""
        _ = self._files.media
        event = await self._store.get_event(event_id)
        urls = [] if event is None else [*urls_of(event.content)]
        if event is None or not 0 <= part < len(urls) or not urls[part].lower().startswith("http"):
            raise InvalidInputError(
                f"part {part} of event {event_id!r} is not a file at an http(s) URL: name an event that is "
                "committed, and the number of one of its files, from 0 on"
            )
        timer = Timer(
            id=f"{MEDIA_IMPORT}:{event_id}:{part}",
            kind=MEDIA_IMPORT,
            room_id=event.room_id,
            due_at=self._clock.now(),
            data={"event_id": event_id, "url": urls[part], "types": sorted(types)},
        )
        await self._store.set_timer(timer)
        return timer

    async def fire(self, timer: Timer) -> TimerOutcome:
        """Import a file. What may succeed later is raised, and retried for a day."""
        url, event_id = str(timer.data["url"]), str(timer.data["event_id"])
        event = await self._pending(event_id, url)
        if event is None:
            return TimerOutcome(None)
        types = [str(each) for each in timer.data["types"]]
        try:
            location = await self._located(event.source.channel_id, url)
            headers = self._headers_for(event.source.channel_id, location)
            fetched = await self._fetch(location, limit=self._files.limit, types=types, headers=headers)
        except (FetchFailedError, ProviderError) as error:
            if error.retryable and self._clock.now() < event.created_at + _IMPORT_FOR:
                raise
            return self._failed(event, error)
        except _REFUSED as error:
            return self._failed(event, error)
        ref = await self._files.put(
            event.room_id, _pieces(fetched.data), mime_type=fetched.mime_type, filename=fetched.filename
        )
        await self._exclusively(event.room_id, lambda: self._keep(event_id, url, ref))
        return TimerOutcome(None, changed=True)

    async def _located(self, channel_id: str, url: str) -> str:
        """Return where the channel of an event has a file now. Raises ProviderError, ForeignCodeError."""
        channel = self._channels.get(channel_id)
        if channel is None or type(channel).locate_file is Channel.locate_file:
            return url
        name = f"locate_file() of {owner_of(channel_id)}"
        try:
            found: object = await self._supervisor.call(channel.locate_file(url), name, _LOCATE_FOR)
        except Overdue as error:
            raise FetchFailedError(
                f"{name} did not return within {_LOCATE_FOR:g} s", retryable=True
            ) from error
        if not isinstance(found, str):
            raise mistyped(owner_of(channel_id), "locate_file()", found, str)
        return found

    def _headers_for(self, channel_id: str, url: str) -> Mapping[str, str] | None:
        """Return the headers that the channel of an event has for a URL. Raises ForeignCodeError."""
        channel = self._channels.get(channel_id)
        if channel is None or type(channel).file_headers is Channel.file_headers:
            return None
        owner = owner_of(channel_id)
        found: Mapping[str, str] = read(owner, "file_headers()", lambda: channel.file_headers(url), Mapping)
        return found

    async def _pending(self, event_id: str, url: str) -> RoomEvent | None:
        """Return the event if it still refers to the URL."""
        event = await self._store.get_event(event_id)
        if event is None or event.deleted or url not in urls_of(event.content):
            return None
        return event

    async def _keep(self, event_id: str, url: str, ref: MediaRef) -> None:
        """Put the file in place of the URL, quietly: the words are the same."""
        event = await self._pending(event_id, url)
        if event is None:
            return  # it was erased in between; the file is swept
        content = with_urls(event.content, {url: ref})
        commit = QuietCommit(
            room_id=event.room_id,
            at=self._clock.now(),
            amend=Amend(event_id, content, SYSTEM_CHANNEL_ID),
            media=(MediaUse(ref.id, event_id),),
        )
        await self._store.commit(commit)
        self._events.emit("media_imported", room_id=event.room_id, event_id=event_id, media_id=ref.id)

    def _failed(self, event: RoomEvent, error: Exception) -> TimerOutcome:
        code = str(getattr(error, "error_code", getattr(error, "code", "unknown")))
        self._events.emit(
            "media_import_failed", room_id=event.room_id, event_id=event.id, code=code, error=str(error)
        )
        return TimerOutcome(None, changed=True)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data
