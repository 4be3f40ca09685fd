"""Protocol traces on their way from channels to their observers."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.attributes import read
from roomkit.abc.errors import ForeignCodeError
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.flow.contract import OPTIONAL_TEXT, owner_of, type_of
from roomkit.models.enums import ChannelDirection, HookTrigger
from roomkit.models.event import EventSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.trace import ProtocolTrace

__all__ = ["ProtocolTraces"]

_ROOMS = 100
_TRACES = 100


class ProtocolTraces:
    """Shows traces to the observers of their room; without observers it does nothing.

    The traces of a call often come before its room: the newest hundred of each of a hundred rooms are kept,
    and shown when a channel is attached.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        supervisor: Supervisor,
        hooks: HookEngine,
        channels: Channels,
        observers: Observers,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._hooks = hooks
        self._channels = channels
        self._observers = observers
        self._early: OrderedDict[str, deque[ProtocolTrace]] = OrderedDict()  # bound: _ROOMS

    @property
    def are_observed(self) -> bool:
        """Whether any observer is registered, for all rooms or for one."""
        return self._hooks.has_hooks_anywhere(HookTrigger.ON_PROTOCOL_TRACE)

    def take(self, trace: ProtocolTrace) -> None:
        """Show a trace, in the background; one that belongs to no room is dropped."""
        if not self.are_observed:
            return
        channel = self._channels.get(trace.channel_id)
        room_id = trace.room_id
        if room_id is None and channel is not None and trace.session_id is not None:
            resolve = partial(channel.resolve_trace_room, trace.session_id)
            try:
                room_id = read(owner_of(trace.channel_id), "resolve_trace_room()", resolve, OPTIONAL_TEXT)
            except ForeignCodeError as error:
                self._supervisor.report("a protocol trace", error)
                return
        if room_id is not None:
            trace = replace(trace, room_id=room_id)
            self._supervisor.start(self._show(trace, room_id), "observers of a protocol trace")

    def replay(self, room_id: str) -> None:
        """Show the traces from before the room existed, in the background."""
        early = self._early.pop(room_id, None)
        if early is not None:
            self._supervisor.start(self._show_all(early, room_id), "observers of early protocol traces")

    async def _show_all(self, traces: Iterable[ProtocolTrace], room_id: str) -> None:
        for trace in traces:
            await self._show(trace, room_id)

    async def _show(self, trace: ProtocolTrace, room_id: str) -> None:
        record = await self._store.load(room_id, recent=RECENT_EVENTS)
        if record is None:
            self._keep(trace, room_id)
            return
        channel = self._channels.get(trace.channel_id)
        source = None
        if channel is not None:
            source = EventSource(
                channel_id=trace.channel_id,
                channel_type=type_of(channel, trace.channel_id),
                direction=ChannelDirection.OUTBOUND,
            )
        await self._observers.observe(HookTrigger.ON_PROTOCOL_TRACE, trace, record, Cascade(), source)

    def _keep(self, trace: ProtocolTrace, room_id: str) -> None:
        if room_id not in self._early and len(self._early) >= _ROOMS:
            self._early.popitem(last=False)
        self._early.setdefault(room_id, deque(maxlen=_TRACES)).append(trace)

    @property
    def has_early(self) -> bool:
        """Whether anything waits for its room."""
        return bool(self._early)
