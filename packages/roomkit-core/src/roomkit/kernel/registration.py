"""What a program registers with the kit: channels, hooks of rooms, and handlers of framework events."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from roomkit._names import nearest
from roomkit.abc.attributes import read, read_attribute
from roomkit.abc.errors import ChannelAlreadyRegisteredError, InvalidInputError
from roomkit.abc.records import problems_of
from roomkit.kernel.commit.registrations import HookFn, HookRegistration
from roomkit.kernel.flow.contract import owner_of
from roomkit.kernel.inbound.identity import IdentityHookFn, IdentityHookRegistration
from roomkit.kernel.operations import RoomOperations
from roomkit.kernel.rooms.checks import check_channel_id, check_registered
from roomkit.kernel.runtime.arguments import checks_arguments
from roomkit.kernel.runtime.framework_events import FrameworkHandler
from roomkit.models.channel import BINDING_DEFAULTS, binding_defaults
from roomkit.models.delivery import DeliveryStatus
from roomkit.models.enums import ChannelDirection, ChannelType, HookExecution, HookTrigger
from roomkit.models.room import Room
from roomkit.models.vocabulary import is_declared

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.kernel.life import KitLife
    from roomkit.kernel.services.desk import ServicesDesk

__all__ = ["Registration"]


@checks_arguments()
class Registration(RoomOperations):
    """Registers channels, hooks and handlers.

    Hooks are for every room or for one.
    """

    _services: ServicesDesk
    _life: KitLife

    @abstractmethod
    def _scan_plugins(self) -> None:
        """Find the plugins: one of them may declare a word that the core does not know."""

    def register_channel(self, channel: Channel, *, binding: Mapping[str, Any] | None = None) -> None:
        """Make a channel known, once per process; rooms attach it by its id.

        `binding` are fields of its bindings where `attach_channel` gives no other, such as a `retry_policy`.
        Raises ChannelAlreadyRegisteredError when another channel has that id, InvalidInputError for
        an id that means something else in `visibility` and for a provider's name that no store can hold, and
        ForeignCodeError for a channel whose properties or plain methods fail or return other types.
        """
        self._life.check_open()
        owner = f"channel of {type(channel).__name__}"
        channel_id = check_channel_id(read_attribute(owner, channel, "channel_id", object))
        check_registered(channel, channel_id)
        known = self._kernel.ground.channels.get(channel_id)
        defaults = self._binding_defaults(channel_id, binding or {})
        if known is channel:
            return
        if known is not None:
            raise ChannelAlreadyRegisteredError(
                f"a {type(known).__name__} is registered as {channel_id!r} already: "
                "unregister_channel first, or use another id"
            )
        services = self._services.of_channel(channel_id, channel)
        read(owner_of(channel_id), "bind()", partial(channel.bind, services), object)
        self._kernel.ground.channels.add(channel_id, channel, defaults)
        self._kernel.cluster.starts.registered(channel_id, channel)
        self._kernel.cluster.reclaim.channels_changed()
        self._kernel.ground.events.emit("channel_registered", channel_id=channel_id)

    @staticmethod
    def _binding_defaults(channel_id: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in given:
            if name not in BINDING_DEFAULTS:
                close = nearest(name, BINDING_DEFAULTS)
                hint = f"did you mean {close!r}?" if close else f"give one of {', '.join(BINDING_DEFAULTS)}"
                raise InvalidInputError(
                    f"bindings of channel {channel_id!r} have no default {name!r}; {hint}"
                )
        try:
            return binding_defaults(channel_id, given)
        except ValidationError as error:
            raise InvalidInputError(
                f"binding defaults of channel {channel_id!r} cannot be used: {problems_of(error)}"
            ) from None

    async def unregister_channel(self, channel_id: str) -> None:
        """Close a channel and forget it, and detach its source; its bindings stay.

        An intelligence's turns end at once; what people saw of its answers is committed before it is closed.
        Turns that wait are left to other workers that have the channel registered, if there can be any.
        What its source or sockets still bring is refused, also once another channel has its id. Raises
        ChannelNotRegisteredError.
        """
        kernel = self._kernel
        channel = kernel.ground.channels.known(channel_id)
        del kernel.ground.channels[channel_id]
        tasks = self._services.tasks_of(channel_id)
        worker_id = kernel.ground.lease.worker_id
        if worker_id is not None:
            kernel.ground.channels.left.update(kernel.work.lanes.take_waiting(channel_id))
        await kernel.work.speculations.unregistered(channel_id)
        await kernel.work.lanes.end_answers(None, "unregistered", of=channel_id)
        kernel.cluster.reclaim.channels_changed()
        kernel.sending.breakers.forget(channel_id)
        kernel.ground.events.emit("channel_unregistered", channel_id=channel_id)
        try:
            await kernel.cluster.hand_over.work()
            await kernel.entry.sources.unregistered(channel_id)
            kernel.ground.timers.unregister(f"@{channel_id}")
            await tasks.end_served()
            await kernel.cluster.starts.unregistered(channel_id)
        finally:
            try:
                await channel.close()
            finally:
                await tasks.end()

    def get_channel(self, channel_id: str) -> Channel | None:
        """Return a registered channel."""
        return self._kernel.ground.channels.get(channel_id)

    @property
    def broken_channels(self) -> Mapping[str, str]:
        """Why channels did not start, by their ids; their deliveries stay pending."""
        starts = self._kernel.ground.channels.starts
        return {channel_id: start.broken for channel_id, start in starts.items() if start.broken is not None}

    def list_channels(self) -> list[Channel]:
        """Return all registered channels."""
        return list(self._kernel.ground.channels.values())

    def _learn_words(self, trigger: str, channel_types: Collection[str] | None) -> None:
        """Find the plugins if a word is not the core's: one of them may declare it."""
        kinds = channel_types or ()
        known = is_declared(HookTrigger, trigger) and all(is_declared(ChannelType, each) for each in kinds)
        if not known:
            self._scan_plugins()

    def hook[F: HookFn](
        self,
        trigger: HookTrigger,
        execution: HookExecution = HookExecution.SYNC,
        priority: int = 0,
        name: str = "",
        timeout: float = 30.0,
        channel_types: Collection[ChannelType] | None = None,
        channel_ids: Collection[str] | None = None,
        directions: Collection[ChannelDirection] | None = None,
        *,
        on_error: Literal["block", "allow"] = "block",
        streams: Literal["segments", "whole"] = "segments",
        when: Callable[[Room], bool] | None = None,
        speculative: bool = True,
    ) -> Callable[[F], F]:
        """Register the decorated `async def (payload, context)` for every room, or for those of `when`.

        `when=lambda room: "agents" in room.state` is a pure function of the room; a gate whose `when` raises
        blocks as one that fails. What a plugin registers when it is configured or started is named after it,
        `<plugin>.<name>`, in `blocked_by`, events and `remove_hook`.

        Gates (see `roomkit.models.hook.GATES`) return a HookResult; a gate that fails blocks unless
        `on_error="allow"`. Raises HookRegistrationError for a hook that could never work.

        Of an answer that is shown while it is generated, a BEFORE_BROADCAST gate sees each segment (a
        sentence or line, at most 600 characters) before it leaves, then the whole before it is committed.
        The content of a segment begins with the last 200 characters that were released before it, also in
        `generation.preceding`. So what a gate finds in the content, and is no longer than 201 characters, is
        never seen, wherever segments end; a longer one may be seen before the whole is refused. If a gate
        rewrites a segment, the text after the unchanged beginning is released; if it changes the beginning,
        readers get no more until the whole, as rewritten, is committed. Tasks, observations and injected
        events are those of the verdict on the whole, and of one that refuses a segment. With
        `streams="whole"` a gate sees only the whole, and no reader sees the answer before.

        A gate also judges messages to which an answer is prepared before they are committed, with
        `context.speculative`, and again at the commit (see `Turns.speculate`). One that counts or writes
        takes `speculative=False`: nothing is prepared where it applies.
        """

        self._learn_words(trigger, channel_types)

        def register(fn: F) -> F:
            self._kernel.ground.hooks.register(
                HookRegistration(
                    trigger=HookTrigger(trigger),
                    fn=fn,
                    execution=execution,
                    priority=priority,
                    name=name,
                    timeout=timeout,
                    channel_types=channel_types,
                    channel_ids=channel_ids,
                    directions=directions,
                    on_error=on_error,
                    streams=streams,
                    when=when,
                    speculative=speculative,
                )
            )
            return fn

        return register

    def add_room_hook(
        self,
        room_id: str,
        trigger: HookTrigger,
        execution: HookExecution,
        fn: HookFn,
        priority: int = 0,
        name: str = "",
        timeout: float = 30.0,
    ) -> None:
        """Register a hook for one room; it is dropped when the room closes."""
        self._learn_words(trigger, None)
        self._kernel.ground.hooks.add_room_hook(
            room_id,
            HookRegistration(
                trigger=trigger,
                fn=fn,
                execution=execution,
                priority=priority,
                name=name,
                timeout=timeout,
            ),
        )

    def remove_room_hook(self, room_id: str, name: str) -> bool:
        """Remove the first hook of that name from a room; False when there is none."""
        return self._kernel.ground.hooks.remove_room_hook(room_id, name)

    def remove_hook(self, name: str) -> bool:
        """Remove the first hook of that name from every room; False when there is none."""
        return self._kernel.ground.hooks.unregister(name)

    def identity_hook[F: IdentityHookFn](
        self,
        trigger: HookTrigger,
        channel_types: Collection[ChannelType] | None = None,
        channel_ids: Collection[str] | None = None,
        directions: Collection[ChannelDirection] | None = None,
        *,
        timeout: float = 10.0,
    ) -> Callable[[F], F]:
        """Register the decorated `async def (event, context, id_result)` to decide on senders.

        The first answer that is not None counts; a hook that fails rejects the message.
        """

        self._learn_words(trigger, channel_types)

        def register(fn: F) -> F:
            self._kernel.entry.desk.hooks.append(
                IdentityHookRegistration(
                    trigger=HookTrigger(trigger),
                    fn=fn,
                    timeout=timeout,
                    channel_types=channel_types,
                    channel_ids=channel_ids,
                    directions=directions,
                )
            )
            return fn

        return register

    def on_delivery_status(self, fn: Callable[[DeliveryStatus], Any]) -> Callable[[DeliveryStatus], Any]:
        """Register `fn(status)`, a function or a coroutine function, for receipts.

        `status.event_id` names the event; it is None for a receipt that matches no delivery.
        """

        async def observer(status: DeliveryStatus, _context: object) -> None:
            answer = fn(status)
            if isinstance(answer, Awaitable):
                await answer

        observer.__name__ = getattr(fn, "__name__", "on_delivery_status")
        self.hook(HookTrigger.ON_DELIVERY_STATUS, HookExecution.ASYNC)(observer)
        return fn

    def on(self, event_type: str) -> Callable[[FrameworkHandler], FrameworkHandler]:
        """Register the decorated `async def (event)` for framework events of a type, or for `"*"`.

        A handler sees its events in order; it delays no one else, and at most 1,000 wait for it.
        """

        def register(fn: FrameworkHandler) -> FrameworkHandler:
            self._kernel.ground.events.subscribe(event_type, fn)
            return fn

        return register

    def subscribe_events(self, event_type: str, fn: FrameworkHandler) -> Callable[[], None]:
        """Register `fn` as `on` does; return a function that ends it."""
        return self._kernel.ground.events.subscribe(event_type, fn)
