"""What the kit lends to a channel, a provider, a source or a plugin: services, in groups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from roomkit.abc.services.fetch import Fetched as Fetched
from roomkit.abc.services.fetch import GuardedFetch as GuardedFetch
from roomkit.abc.services.homes import Follow as Follow
from roomkit.abc.services.homes import Home as Home
from roomkit.abc.services.homes import Homes as Homes
from roomkit.abc.services.homes import Piece as Piece
from roomkit.abc.services.inbox import Inbox as Inbox
from roomkit.abc.services.media import MediaService as MediaService
from roomkit.abc.services.rooms import Excerpt as Excerpt
from roomkit.abc.services.rooms import RoomAccess as RoomAccess
from roomkit.abc.services.tasks import OwnerTasks as OwnerTasks
from roomkit.abc.services.timers import TimerFn as TimerFn
from roomkit.abc.services.timers import Timers as Timers
from roomkit.abc.services.turns import GateOutcome as GateOutcome
from roomkit.abc.services.turns import Speculation as Speculation
from roomkit.abc.services.turns import Turns as Turns
from roomkit.abc.services.values import Values as Values

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.telemetry import TelemetryProvider
    from roomkit.models.trace import ProtocolTrace

__all__ = ["ChannelServices", "Services"]


class Services(ABC):
    """The kit as one owner sees it: a channel, the provider behind it, a source, a plugin or the host.

    `bind` hands it over when a channel is registered or a source attached, before the kit starts and
    possibly before an event loop runs: use it from `start` on. A plugin gets its own in
    `roomkit_configure`. `namespace` is the name of the plugin that the owner's class belongs to, else the
    first part of the class's module, and `app` for the host; what the owner keeps is kept under it. Each
    group is a class of its own, which a test can replace. All methods may be called concurrently.
    """

    namespace: str
    clock: Clock
    telemetry: TelemetryProvider
    realtime: RealtimeBackend
    inbox: Inbox
    rooms: RoomAccess
    turns: Turns
    timers: Timers
    homes: Homes
    tasks: OwnerTasks
    values: Values
    media: MediaService
    fetch: GuardedFetch
    has_other_workers: bool = False
    """Whether other processes may serve the same rooms, and receive messages published on `realtime`."""

    @property
    def channel_id(self) -> str | None:
        """The channel that the owner is, or a part of; None for a plugin and the host."""
        return None

    @property
    def worker_id(self) -> str | None:
        """The id of this worker's lease, which changes when a lease is lost; None where none is needed."""
        return None

    def for_part(self, part: object) -> Services:
        """Return the services of a part of the owner, such as a channel's provider.

        They have the namespace of the part's class; channel and tasks are the owner's.
        """
        return self

    @abstractmethod
    def report(
        self,
        kind: str,
        *,
        room_id: str | None = None,
        channel_id: str | None = None,
        event_id: str | None = None,
        **data: Any,
    ) -> None:
        """Publish a framework event; its handlers run in the background."""

    @abstractmethod
    def trace(self, trace: ProtocolTrace) -> None:
        """Hand a protocol trace to its observers; free of cost when there are none."""

    @property
    def traces_are_observed(self) -> bool:
        """Whether the kit has an observer of protocol traces."""
        return False


ChannelServices = Services
"""The services as `Channel.bind` gets them."""
