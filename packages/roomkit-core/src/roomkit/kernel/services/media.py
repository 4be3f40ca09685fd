"""The kit's files and its guarded fetch, as owners use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, override

from roomkit.abc.errors import InvalidInputError, MediaNotConfiguredError, RoomNotFoundError
from roomkit.abc.services.fetch import Fetched, GuardedFetch
from roomkit.abc.services.media import MediaService
from roomkit.kernel.runtime.arguments import checks_arguments

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.media.files import Files
    from roomkit.kernel.media.sweeper import MediaImports
    from roomkit.models.content import EventContent
    from roomkit.models.enums import MediaForm
    from roomkit.models.media import MediaRef

__all__ = ["KitFetch", "KitMedia"]


@checks_arguments(of_services=True)
class KitMedia(MediaService):
    """Starts the kit if need be."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        files: Files,
        imports: MediaImports,
        expect: Callable[[], None],
        enter: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._files = files
        self._imports = imports
        self._expect = expect
        self._enter = enter

    @property
    @override
    def limit(self) -> int:
        _ = self._files.media
        return self._files.limit

    @override
    async def put(
        self,
        room_id: str,
        data: AsyncIterable[bytes] | bytes,
        *,
        mime_type: str,
        filename: str | None = None,
        limit: int | None = None,
    ) -> MediaRef:
        _ = self._files.media
        await self._enter()
        if await self._store.get_room(room_id) is None:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")
        pieces = _whole(data) if isinstance(data, bytes) else data
        return await self._files.put(room_id, pieces, mime_type=mime_type, filename=filename, limit=limit)

    @override
    async def find(self, media: str) -> MediaRef:
        await self._enter()
        return await self._files.find(media)

    @override
    async def open(self, media: str, *, start: int = 0) -> AsyncIterator[bytes]:
        await self._enter()
        async for piece in self._files.open(media, start=start):
            yield piece

    @override
    async def url(self, media: str, *, expires_in: timedelta = timedelta(hours=1)) -> str:
        if expires_in <= timedelta(0):
            raise InvalidInputError(f"a URL cannot be valid for {expires_in}: give a time above 0")
        found = await self._files.url(await self.find(media), expires_in)
        if found is None:
            raise MediaNotConfiguredError(
                "no URL leads to the kit's files: give media_url, where its routes are reached from outside"
            )
        return found

    @override
    async def shown(self, content: EventContent, form: MediaForm) -> EventContent:
        await self._enter()
        return await self._files.shown(content, form)

    @override
    async def import_later(self, event_id: str, part: int = 0, *, types: Collection[str] = ("*/*",)) -> None:
        await self._enter()
        await self._imports.later(event_id, part, types)
        self._expect()


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


class KitFetch(GuardedFetch):
    """The fetch that the kit was given, else the installed one, found at first use."""

    def __init__(self, given: GuardedFetch | None, find: Callable[[], Awaitable[GuardedFetch]]) -> None:
        self._found = given
        self._find = find
        self._finding = asyncio.Lock()

    @override
    async def __call__(
        self,
        url: str,
        *,
        limit: int,
        timeout: float = 30.0,  # the implementation's
        types: Collection[str] = ("*/*",),
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        async with self._finding:
            if self._found is None:
                self._found = await self._find()
        return await self._found(url, limit=limit, timeout=timeout, types=types, headers=headers)

    @override
    async def close(self) -> None:
        if self._found is not None:
            await self._found.close()
