"""Media stores and a fetch with faults, and the tests of their contracts that must find each.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Collection, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

from planting import FAULTS, planted

from roomkit.abc.errors import FetchFailedError, FetchRefusedError
from roomkit.abc.services.fetch import Fetched, GuardedFetch
from roomkit.authoring.intake import Intake
from roomkit.memory.media import InMemoryMediaStore
from roomkit.models.media import MediaRef
from roomkit_plugins.testing.contracts import GuardedFetchContract, MediaStoreContract

_disk: dict[str, Any] = {}
"""What outlives a store of these."""


class Lasting(InMemoryMediaStore):
    """Keeps its files as a disk would."""

    def __init__(self) -> None:
        self._files = _disk


@planted(MediaStoreContract, "test_the_limit_holds_before_all_bytes_came")
class ReadsAllAndThenCounts(Lasting):
    async def put(self, data: AsyncIterable[bytes], *, limit: int, **fields: Any) -> MediaRef:  # type: ignore[override]  # planted
        ahead = [piece async for piece in _first(data, 20)]

        async def again() -> AsyncIterator[bytes]:
            for piece in ahead:
                yield piece

        return await super().put(again(), limit=limit, **fields)


async def _first(data: AsyncIterable[bytes], number: int) -> AsyncIterator[bytes]:
    async for piece in data:
        yield piece
        if (number := number - 1) == 0:
            return


@planted(MediaStoreContract, "test_the_type_is_what_the_bytes_show[3]")
class BelievesTheSender(Lasting):
    async def put(self, data: AsyncIterable[bytes], *, mime_type: str, **fields: Any) -> MediaRef:  # type: ignore[override]  # planted
        ref = await super().put(data, mime_type=mime_type, **fields)
        ref = ref.replace(mime_type=mime_type)
        self._files[ref.id] = (ref, self._files[ref.id][1])
        return ref


@planted(MediaStoreContract, "test_reading_begins_anywhere[1]")
class AlwaysReadsFromTheBeginning(Lasting):
    def open(self, media_id: str, *, start: int = 0) -> AsyncIterator[bytes]:
        return super().open(media_id)


@planted(
    MediaStoreContract, "test_a_cancelled_put_leaves_nothing[1]", "test_a_put_whose_data_fail_leaves_nothing"
)
class KeepsHalfAFile(Lasting):
    async def put(self, data: AsyncIterable[bytes], *, limit: int, **fields: Any) -> MediaRef:  # type: ignore[override]  # planted
        intake, content = Intake(data, limit=limit), b""
        async for piece in intake:
            content += piece
            given = {name: fields.get(name) for name in ("mime_type", "room_id", "filename", "media_id")}
            ref = intake.ref(**given)  # type: ignore[arg-type]  # as they came
            self._files[ref.id] = (ref, content)
        return await super().put(_first(_of(content), 1), limit=limit, **fields)


async def _of(content: bytes) -> AsyncIterator[bytes]:
    yield content


@planted(MediaStoreContract, "test_puts_at_once_do_not_mix")
class SharesOneBuffer(Lasting):
    buffer = bytearray()

    async def put(self, data: AsyncIterable[bytes], **fields: Any) -> MediaRef:  # type: ignore[override]  # planted
        async def buffered() -> AsyncIterator[bytes]:
            async for piece in data:
                self.buffer.extend(piece)
                await asyncio.sleep(0)
            yield bytes(self.buffer)
            self.buffer.clear()

        return await super().put(buffered(), **fields)


@planted(MediaStoreContract, "test_files_are_deleted_by_id_within_their_room")
class DeletesWhatItIsTold(Lasting):
    async def delete(self, room_id: str, media_ids: Collection[str] | None = None) -> int:
        if media_ids is None:
            return await super().delete(room_id)
        return len([self._files.pop(each) for each in {*media_ids} if each in self._files])


@planted(MediaStoreContract, "test_all_files_of_a_room_are_deleted")
class DeletesRoomsByPrefix(Lasting):
    async def delete(self, room_id: str, media_ids: Collection[str] | None = None) -> int:
        rooms = {ref.room_id for ref, _ in self._files.values() if ref.room_id.startswith(room_id)}
        return sum([await super().delete(each, media_ids) for each in rooms])


@planted(MediaStoreContract, "test_no_name_or_id_is_a_path[0]")
class TrimsTheName(Lasting):
    async def put(
        self, data: AsyncIterable[bytes], *, filename: str | None = None, **fields: Any
    ) -> MediaRef:  # type: ignore[override]  # planted
        name = None if filename is None else filename.rpartition("/")[2]
        return await super().put(data, filename=name, **fields)


@planted(MediaStoreContract, "test_files_outlive_the_store")
class ForgetsEverything(InMemoryMediaStore):
    pass


class NaiveFetch(GuardedFetch):
    """Fetches any URL, and follows it anywhere, as a first attempt does."""

    def __init__(self, resolver: Any) -> None:
        self._resolve = resolver

    async def __call__(
        self,
        url: str,
        *,
        limit: int,
        timeout: float = 30.0,
        types: Collection[str] = ("*/*",),
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        parts = urlsplit(url)
        if parts.hostname is None:
            raise FetchRefusedError("no host; nothing was requested")
        await self._resolve(parts.hostname, 0)  # to check it; connecting resolves it once more
        (address, *_) = await self._resolve(parts.hostname, 0)
        if not ip_address(address).is_loopback:  # tests leave no machine, and nothing answers for 20 s
            raise FetchFailedError("nothing answers there")
        reader, writer = await asyncio.open_connection(address, parts.port or 80)
        try:
            lines = [
                f"GET {parts.path}?{parts.query} HTTP/1.1",
                *(f"{k}: {v}" for k, v in (headers or {}).items()),
            ]
            writer.write("\r\n".join((*lines, "", "")).encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            data = await reader.read(10 * limit)
        except asyncio.IncompleteReadError:
            raise FetchFailedError("it broke") from None
        finally:
            writer.close()
        if "\nLocation: " in head:
            target = urljoin(url, head.partition("\nLocation: ")[2].partition("\r")[0])
            return await self(target, limit=limit, headers=headers)
        return Fetched(url=url, mime_type="image/png", data=data)


class TestNaiveFetch(GuardedFetchContract):
    def make_fetch(self, *, resolver: Any, **_: Any) -> GuardedFetch:
        return NaiveFetch(resolver)


FAULTS.setdefault(__name__, {})["TestNaiveFetch"] = {
    "test_no_spelling_reaches_an_address_inside[one-of-two.example]",
    "test_no_spelling_reaches_an_address_inside[127.0.0.1.nip.example]",
    "test_a_name_is_resolved_once_and_the_connection_is_pinned",
    "test_the_name_stays_in_the_request",
    "test_redirects_are_checked_like_urls",
    "test_three_redirects_are_followed",
    "test_headers_stay_with_the_first_origin",
    "test_reading_stops_at_the_limit",
    "test_the_limit_counts_what_is_unpacked",
    "test_the_type_is_that_of_header_and_bytes",
    "test_the_time_limit_holds_for_an_answer_that_drips",
    "test_a_file_of_the_limit_passes_and_one_byte_more_does_not",
}
