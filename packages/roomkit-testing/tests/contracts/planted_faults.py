"""Members of each role with one fault each, and the test of the contract that must find it.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from outsider_source import QueueContract, QueueSource
from planting import planted

from roomkit.abc.errors import ErrorCode, InvalidInputError, LockLostError, ProviderError
from roomkit.abc.realtime import EphemeralCallback
from roomkit.abc.services import Services
from roomkit.abc.source import EmitCallback
from roomkit.abc.text_stream import TextStream
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.telemetry import ConsoleTelemetryProvider
from roomkit.models.base import new_id
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage, ProviderResult
from roomkit.models.enums import ParticipantStatus
from roomkit.models.event import RoomEvent
from roomkit.models.participant import Participant, departed_senders
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.testing import MockSMSProvider, MockTelemetryProvider, RecordingChannel
from roomkit_plugins.testing.contracts import (
    ChannelContract,
    ConnectionsContract,
    RealtimeBackendContract,
    RoomLockManagerContract,
    SMSProviderContract,
    TelemetryProviderContract,
)

pytestmark = pytest.mark.virtual_time  # a fault that hangs is found in no time


@planted(RoomLockManagerContract, "test_one_at_a_time_per_room")
class LocksNothing(InMemoryLockManager):
    @asynccontextmanager
    async def locked(self, room_id: str) -> AsyncIterator[None]:  # type: ignore[override]  # planted
        await asyncio.sleep(0)
        yield


@planted(RoomLockManagerContract, "test_waiters_are_served_in_order_of_arrival")
class ServesTheLastFirst(InMemoryLockManager):
    def _release(self, room_id: str, lock: Any) -> None:
        if lock.waiters:
            lock.waiters.reverse()
        super()._release(room_id, lock)


@planted(RoomLockManagerContract, "test_a_lock_of_every_process_excludes_other_managers")
class ClaimsToExcludeEverybody(InMemoryLockManager):
    @property
    def is_process_local(self) -> bool:
        return False


@planted(RoomLockManagerContract, "test_turns_and_locks_are_served_one_at_a_time_in_order")
class HasTurnsApartFromLocks(InMemoryLockManager):
    def __init__(self) -> None:
        super().__init__()
        self._turns = InMemoryLockManager()

    def turn(self, room_id: str) -> Any:
        return self._turns.locked(room_id)


@planted(RoomLockManagerContract, "test_an_exception_inside_frees_the_lock")
class LocksForEver(InMemoryLockManager):
    @asynccontextmanager
    async def locked(self, room_id: str) -> AsyncIterator[None]:  # type: ignore[override]  # planted
        held = super().locked(room_id)
        await held.__aenter__()
        yield
        await held.__aexit__(None, None, None)


class WithTokens(InMemoryLockManager):
    """Guards the same rooms as all others of its kind; each class has a counter and a break of its own."""

    rooms: Any = None

    def __init_subclass__(cls) -> None:
        cls.rooms = InMemoryLockManager()._known

    def __init__(self) -> None:
        super().__init__()
        self._known = self.rooms
        self.tokens = 0
        self.is_broken = False

    @property
    def is_process_local(self) -> bool:
        return False

    def next_token(self) -> int | None:
        self.tokens += 1
        return self.tokens

    @asynccontextmanager
    async def locked(self, room_id: str) -> AsyncIterator[int | None]:  # type: ignore[override]  # planted
        async with super().locked(room_id):
            yield self.next_token()
            self.left()

    def left(self) -> None:
        if self.is_broken:
            logging.getLogger("roomkit").warning("a lock was lost")


class BreakableLocks(RoomLockManagerContract):
    async def break_connection(self, locks: Any) -> bool:
        locks.is_broken = True
        return True


@planted(RoomLockManagerContract, "test_the_token_rises_over_managers")
class RepeatsTokens(WithTokens):
    def next_token(self) -> int:
        return 1


@planted(RoomLockManagerContract, "test_the_token_never_falls")
class ForgetsTokens(WithTokens):
    def next_token(self) -> int | None:
        token = super().next_token()
        return None if token == 3 else token


@planted(RoomLockManagerContract, "test_the_token_rises_over_managers")
class CountsTokensByItself(WithTokens):
    pass


class KeepsRooms(WithTokens):
    """Keeps each lock until another manager asks; what becomes of a request is for each of its kind."""

    keepers: Any = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.keepers = {}
        cls.numbers = count(1)

    @asynccontextmanager
    async def locked(self, room_id: str) -> AsyncIterator[int | None]:
        keeper = self.keepers.get(room_id)
        if keeper is None or keeper[0] is not self:
            while room_id in self.keepers and not self.yields(room_id):  # noqa: ASYNC110  # as a service does
                await asyncio.sleep(1)
            self.keepers[room_id] = self, next(self.numbers)
        async with InMemoryLockManager.locked(self, room_id):
            yield self.keepers[room_id][1]

    def yields(self, room_id: str) -> bool:
        """Whether the keeper of a room releases it at once."""
        return True

    async def close(self) -> None:
        for room_id in [each for each, (keeper, _) in self.keepers.items() if keeper is self]:
            del self.keepers[room_id]


@planted(
    RoomLockManagerContract,
    "test_a_room_that_one_manager_uses_goes_to_another_that_asks",
    "test_a_thousand_rooms_go_to_another_manager_that_asks",
)
class KeepsRoomsForEver(KeepsRooms):
    def yields(self, room_id: str) -> bool:
        return False


@planted(RoomLockManagerContract, "test_a_closed_manager_keeps_no_room")
class KeepsRoomsWhenClosed(KeepsRooms):
    def yields(self, room_id: str) -> bool:
        return not getattr(self.keepers[room_id][0], "is_closed", False)

    async def close(self) -> None:
        self.is_closed = True


class KillableLocks(RoomLockManagerContract):
    async def kill(self, locks: Any) -> bool:
        locks.is_killed = True
        return True


@planted(KillableLocks, "test_a_killed_manager_keeps_no_room")
class KeepsRoomsWhenKilled(KeepsRooms):
    def yields(self, room_id: str) -> bool:
        return not getattr(self.keepers[room_id][0], "is_killed", False)


@planted(BreakableLocks, "test_a_lock_that_is_lost_is_left_without_an_error")
class RaisesWhenLockIsLost(WithTokens):
    def left(self) -> None:
        if self.is_broken:
            raise LockLostError("lost")


@planted(BreakableLocks, "test_a_lock_that_is_lost_is_left_without_an_error")
class LosesInSilence(WithTokens):
    def left(self) -> None:
        pass


@planted(BreakableLocks, "test_a_lock_that_is_lost_is_left_without_an_error")
class CountsAnewAfterABreak(WithTokens):
    def next_token(self) -> int | None:
        if self.is_broken:
            self.tokens = 0
        return super().next_token()


@planted(BreakableLocks, "test_a_break_loses_no_turn")
class ForgetsWaitersInABreak(WithTokens):
    @asynccontextmanager
    async def locked(self, room_id: str) -> AsyncIterator[int | None]:  # type: ignore[override]  # planted
        async with super().locked(room_id) as token:
            if self.is_broken:
                raise LockLostError("broken while waiting")
            yield token


class SharedRealtime(RealtimeBackendContract):
    @property
    def reaches_others(self) -> bool:
        return True


@planted(RealtimeBackendContract, "test_topics_may_have_any_name")
class CutsTopics(InMemoryRealtime):
    async def subscribe(self, channel: str, callback: EphemeralCallback) -> str:
        return await super().subscribe(channel[:63], callback)

    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        await super().publish(channel[:63], event)


@planted(RealtimeBackendContract, "test_a_topic_with_a_subscriber_says_so")
class DeniesSubscribers(InMemoryRealtime):
    def has_subscribers(self, channel: str) -> bool:
        return False


@planted(SharedRealtime, "test_a_topic_with_a_subscriber_says_so", "test_others_subscribers_see_it_too")
class KnowsItsOwnSubscribers(InMemoryRealtime):
    def has_subscribers(self, channel: str) -> bool:
        return channel in self._topics


@planted(RealtimeBackendContract, "test_large_events_arrive_in_their_place")
class DropsLargeEvents(InMemoryRealtime):
    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        if len(event.model_dump_json()) < 8000:
            await super().publish(channel, event)


@planted(RealtimeBackendContract, "test_concurrent_publications_all_arrive")
class SendsOneAtATime(InMemoryRealtime):
    is_busy = False

    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        if not self.is_busy:
            self.is_busy = True
            await asyncio.sleep(0)
            self.is_busy = False
            await super().publish(channel, event)


@planted(SharedRealtime, "test_others_subscribers_see_it_too")
class ReachesItselfAlone(InMemoryRealtime):
    pass


@planted(SharedRealtime, "test_others_subscribers_see_it_too")
class TellsItselfTwice(InMemoryRealtime):
    backends: list[InMemoryRealtime] = []  # noqa: RUF012  # planted

    def __init__(self) -> None:
        super().__init__()
        self.backends.append(self)

    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        for backend in [self, *self.backends]:
            copy = event if backend is not self else event.replace(id=new_id())
            await InMemoryRealtime.publish(backend, channel, copy)


@planted(RealtimeBackendContract, "test_a_hanging_subscriber_delays_nobody")
class WaitsForSubscribers(InMemoryRealtime):
    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        for subscription in self._topics.get(channel, {}).values():
            await subscription._callback(event)


@planted(TelemetryProviderContract, "test_what_was_said_and_what_is_secret_are_not_logged")
class LogsEverything(ConsoleTelemetryProvider):
    def set_attribute(self, span_id: str, key: str, value: Any) -> None:
        __import__("logging").getLogger("roomkit.telemetry").info("%s=%s", key, value)


@planted(TelemetryProviderContract, "test_the_id_of_a_span_can_travel")
class NumbersSpans(MockTelemetryProvider):
    def start_span(self, *args: Any, **details: Any) -> str:
        super().start_span(*args, **details)
        return f"span-{len(self.spans)}"


@planted(SMSProviderContract, "test_a_sent_message_has_the_vendors_id", "test_many_rooms_send_at_once")
class RepeatsIds(MockSMSProvider):
    def _accepted(self, send: Mapping[str, Any]) -> ProviderResult:
        return ProviderResult(success=True, provider_message_id="the same")


@planted(SMSProviderContract, "test_every_content_is_sent_or_refused[location-5]")
class CrashesOnPlaces(MockSMSProvider):
    def _accepted(self, send: Mapping[str, Any]) -> ProviderResult:
        if not isinstance(send["event"].content, TextContent):
            raise ProviderError("no idea", error_code=ErrorCode.SERVER)
        return super()._accepted(send)


@planted(SMSProviderContract, "test_nothing_leaks")
class LeavesTasksRunning(MockSMSProvider):
    tasks: set[asyncio.Task[Any]] = set()  # noqa: RUF012  # planted

    def _accepted(self, send: Mapping[str, Any]) -> ProviderResult:
        self.tasks.add(asyncio.create_task(asyncio.Event().wait()))
        return super()._accepted(send)


class Channel(RecordingChannel):
    """A channel whose factory needs no argument."""

    def __init__(self) -> None:
        super().__init__(new_id())


@planted(ChannelContract, "test_everything_a_message_says_is_in_its_event")
class DropsThreads(Channel):
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        return await super().handle_inbound(message.replace(thread_id=None), context)


@planted(ChannelContract, "test_what_a_message_says_of_the_conversation_is_pure")
class CountsWhatItHears(Channel):
    heard = 0

    def binding_state(self, message: InboundMessage) -> Mapping[str, Any]:
        self.heard += 1
        return {"heard": self.heard}


@planted(ChannelContract, "test_its_kind_of_addresses_is_one_word")
class ChangesItsKindOfAddresses(Channel):
    @property
    def address_type(self) -> str:
        return new_id()


@planted(ChannelContract, "test_a_stream_may_be_plain_strings")
class NeedsTheKitsStreams(Channel):
    async def deliver_stream(
        self, text_stream: TextStream, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        self.last_stream = text_stream.id
        return await super().deliver_stream(text_stream, event, binding, context)


@planted(ChannelContract, "test_deliveries_to_many_rooms_run_at_once")
class KeepsOneRoom(Channel):
    room_id: str | None = None

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        self.room_id = self.room_id or event.room_id
        if event.room_id != self.room_id:
            raise ValueError("another room")
        return await super().deliver(event, binding, context)


class Switchboard(Channel):
    """A channel of connections without a fault, for others to add one."""

    def __init__(self) -> None:
        super().__init__()
        self.connections: dict[str, dict[str, Any]] = {}

    def register_connection(self, connection_id: str, send_fn: Any, **options: Any) -> None:
        before = self.connections.get(connection_id)
        if before is not None and before["participant_id"] != options["participant_id"]:
            raise InvalidInputError("taken")
        self.connections[connection_id] = {"send_fn": send_fn, **options}

    def unregister_connection(self, connection_id: str) -> bool:
        return self.connections.pop(connection_id, None) is not None

    def sees(self, connection: dict[str, Any], room_id: str) -> bool:
        return bool(connection["room_id"] == room_id)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        for connection_id, connection in [*self.connections.items()]:
            if self.sees(connection, binding.room_id):
                await connection["send_fn"](connection_id, event)
        return ChannelOutput.empty()

    async def update_participant(self, room_id: str, participant: Participant) -> None:
        departed = departed_senders({participant.id: participant}, self.channel_id)
        await self.drop(room_id, lambda who: departed.get(who or ""))

    async def update_rights(self, room_id: str) -> None:
        assert self.services is not None
        excerpt = await self.services.rooms.read_timeline(room_id)
        if excerpt is None:
            await self.drop(room_id, lambda _: "room_not_found")
        else:
            departed = departed_senders(excerpt.participants, self.channel_id)
            await self.drop(room_id, lambda who: departed.get(who or ""))

    async def drop(self, room_id: str, reason_of: Callable[[str | None], str | None]) -> None:
        for connection_id, connection in [*self.connections.items()]:
            reason = reason_of(connection["participant_id"])
            if connection["room_id"] == room_id and reason is not None:
                del self.connections[connection_id]
                await connection["close_fn"](connection_id, reason)

    async def route(self, message: InboundMessage) -> str | None:
        connection = self.connections.get(message.connection_id or "")
        return None if connection is None else connection["room_id"]


@planted(ConnectionsContract, "test_a_connection_sees_its_room_until_it_is_unregistered")
class ShowsEveryRoom(Switchboard):
    def sees(self, connection: dict[str, Any], room_id: str) -> bool:
        return True


@planted(ConnectionsContract, "test_a_departed_participant_sees_nothing_more[banned]")
class KeepsTheDeparted(Switchboard):
    async def update_participant(self, room_id: str, participant: Participant) -> None:
        """Take no notice."""


@planted(ConnectionsContract, "test_a_departed_participant_sees_nothing_more[left]")
class DropsOnlyTheBanned(Switchboard):
    async def update_participant(self, room_id: str, participant: Participant) -> None:
        if participant.status is not ParticipantStatus.LEFT:
            await super().update_participant(room_id, participant)


@planted(ConnectionsContract, "test_rights_that_another_worker_changed_are_read_again[delete]")
class NoticesOnlyThisWorker(Switchboard):
    async def update_rights(self, room_id: str) -> None:
        """Take no notice."""


@planted(ConnectionsContract, "test_rights_that_another_worker_changed_are_read_again[active]")
class DropsEverybodyInTheRoom(Switchboard):
    async def update_rights(self, room_id: str) -> None:
        await self.drop(room_id, lambda _: "room_not_found")


@planted(ConnectionsContract, "test_an_id_in_use_is_not_given_to_another_participant")
class GivesIdsAway(Switchboard):
    def register_connection(self, connection_id: str, send_fn: Any, **options: Any) -> None:
        self.connections.pop(connection_id, None)
        super().register_connection(connection_id, send_fn, **options)


@planted(ConnectionsContract, "test_a_message_is_for_the_room_of_its_connection")
class KnowsNoRoom(Switchboard):
    async def route(self, message: InboundMessage) -> str | None:
        return None


@planted(QueueContract, "test_what_is_not_stored_comes_again")
class AcknowledgesWhateverBecameOfIt(QueueSource):
    async def hand_over(self, item: str, emit: EmitCallback) -> bool:
        await emit(self.message(item))
        self.queue.remove(item)
        return True


@planted(QueueContract, "test_what_is_stored_is_acknowledged", "test_what_is_not_stored_comes_again")
class AcknowledgesBeforeItEmits(QueueSource):
    async def hand_over(self, item: str, emit: EmitCallback) -> bool:
        self.queue.remove(item)
        await emit(self.message(item))
        return True


@planted(QueueContract, "test_what_is_not_stored_comes_again")
class MakesKeysOfItsOwn(QueueSource):
    def message(self, item: str) -> InboundMessage:
        return super().message(item).replace(idempotency_key=new_id())


@planted(QueueContract, "test_what_is_stored_is_acknowledged")
class NeverAcknowledges(QueueSource):
    async def hand_over(self, item: str, emit: EmitCallback) -> bool:
        await emit(self.message(item))
        return False


@planted(ChannelContract, "test_it_is_bound_before_any_loop_runs")
class BeginsItsTaskWhenItIsBound(RecordingChannel):
    def __init__(self) -> None:
        super().__init__("channel")

    def bind(self, services: Services) -> None:
        super().bind(services)
        services.tasks.serve(asyncio.sleep(1), name="too early")


_LEAKED: list[asyncio.Task[Any]] = []


@planted(ChannelContract, "test_what_starts_and_closes_leaks_nothing", "test_a_cancelled_start_can_be_closed")
class LeavesItsConnectionOpen(RecordingChannel):
    def __init__(self) -> None:
        super().__init__("channel")

    async def start(self) -> None:
        _LEAKED.append(asyncio.create_task(asyncio.Event().wait()))
        await asyncio.sleep(0)


@planted(ChannelContract, "test_a_cancelled_start_can_be_closed")
class ClosesOnlyWhatHasStarted(RecordingChannel):
    def __init__(self) -> None:
        super().__init__("channel")
        self.up: asyncio.Event | None = None

    async def start(self) -> None:
        self.up = asyncio.Event()
        await asyncio.sleep(0)
        self.up.set()

    async def close(self) -> None:
        if self.up is not None:
            await self.up.wait()


@planted(SMSProviderContract, "test_what_starts_and_closes_leaks_nothing")
class LeavesItsLoginOpen(MockSMSProvider):
    async def start(self) -> None:
        _LEAKED.append(asyncio.create_task(asyncio.Event().wait()))
