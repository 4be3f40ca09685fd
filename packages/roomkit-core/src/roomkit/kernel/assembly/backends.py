"""What a kit is given to work with, or has in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.abc.clock import SystemClock
from roomkit.abc.errors import InvalidInputError
from roomkit.kernel.flow.contract import check_flags, check_media, check_store, made_locks, made_realtime
from roomkit.kernel.runtime.store_clock import StoreClock
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.abc.clock import Clock
    from roomkit.abc.identity import IdentityResolver
    from roomkit.abc.locks import RoomLockManager
    from roomkit.abc.media import MediaStore
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.router import InboundRoomRouter
    from roomkit.abc.services.fetch import GuardedFetch
    from roomkit.abc.store import ConversationStore
    from roomkit.abc.telemetry import TelemetryConfig, TelemetryProvider
    from roomkit.abc.transcoder import ContentTranscoder
    from roomkit.kernel.meeting.joining import MergeOf

__all__ = ["Backends", "SharedBackends", "shared_backends"]


@dataclass(slots=True, frozen=True, kw_only=True)
class Backends:
    """What a kit is given to work with."""

    shared: SharedBackends
    telemetry: TelemetryProvider | TelemetryConfig | None
    transcoder: ContentTranscoder
    resolver: IdentityResolver | None
    router: InboundRoomRouter | None
    fetch: GuardedFetch | None
    find_fetch: Callable[[], Awaitable[GuardedFetch]]
    merge_of: MergeOf


@dataclass(slots=True, frozen=True, kw_only=True)
class SharedBackends:
    """What the workers of one store share."""

    store: ConversationStore
    locks: RoomLockManager
    realtime: RealtimeBackend
    clock: Clock
    media: MediaStore | None


def shared_backends(
    store: ConversationStore | None,
    locks: RoomLockManager | None,
    realtime: RealtimeBackend | None,
    clock: Clock | None,
    media: MediaStore | None,
    *,
    single_process: bool,
) -> SharedBackends:
    """Return the given backends and their defaults. Raises InvalidInputError for ones that clash."""
    store = store or InMemoryStore()
    locks = locks or (None if single_process else made_locks(store))
    locks = locks or InMemoryLockManager()
    check_flags(store, locks)
    if locks.is_process_local and not store.is_process_local and not single_process:
        raise InvalidInputError(
            f"{type(store).__name__} is shared between processes but {type(locks).__name__} locks only "
            "this one: pass a shared lock_manager, or single_process=True if there is only one process"
        )
    if media is not None:
        check_media(media, store, single_process=single_process)
    clock = clock or SystemClock()
    check_store(store, clock)
    if clock.follows_store and not store.is_process_local:
        clock = StoreClock(clock)
    realtime = realtime or made_realtime(store) or InMemoryRealtime()
    check_flags(realtime)
    return SharedBackends(store=store, locks=locks, realtime=realtime, clock=clock, media=media)
