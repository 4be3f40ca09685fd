"""Finding out who a sender is, before anything is stored."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.abc.attributes import read_attribute
from roomkit.abc.errors import ForeignCodeError, HookRegistrationError, InvalidInputError
from roomkit.abc.log import get_logger
from roomkit.abc.records import checked
from roomkit.kernel.flow.contract import OPTIONAL_TEXT, owner_of, type_of
from roomkit.kernel.flow.notes import note
from roomkit.kernel.flow.permissions import participant_of
from roomkit.kernel.runtime.supervisor import Overdue
from roomkit.models.enums import (
    ChannelDirection,
    ChannelType,
    EventType,
    HookTrigger,
    IdentificationStatus,
    is_one_of,
)
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity, IdentityHookResult, IdentityResult
from roomkit.models.participant import Participant
from roomkit.models.values import error_text
from roomkit.models.vocabulary import declared

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.abc.clock import Clock
    from roomkit.abc.identity import IdentityResolver
    from roomkit.abc.store import RoomRecord
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.flow.draft import Draft
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import EventSource
    from roomkit.models.hook import InjectedEvent
    from roomkit.models.options import KitOptions

__all__ = ["IdentityDesk", "IdentityHookRegistration", "SenderCheck", "known_sender", "seated"]

_log = get_logger("roomkit.identity")

type IdentityHookFn = Callable[
    ["RoomEvent", "RoomContext", IdentityResult], Awaitable[IdentityHookResult | None]
]

type Seat = Callable[["RoomRecord"], tuple[str, Participant | None]]
"""Returns the sender's participant id in the room as it is, and their record where it is to be written.

It is asked under the room's lock, each time a commit is prepared: another sender may have come by then.
"""

_TRIGGERS = {
    IdentificationStatus.AMBIGUOUS: HookTrigger.ON_IDENTITY_AMBIGUOUS,
    IdentificationStatus.PENDING: HookTrigger.ON_IDENTITY_AMBIGUOUS,
    IdentificationStatus.UNKNOWN: HookTrigger.ON_IDENTITY_UNKNOWN,
    IdentificationStatus.REJECTED: HookTrigger.ON_IDENTITY_UNKNOWN,
}


@dataclass(slots=True, kw_only=True)
class IdentityHookRegistration:
    """A hook that decides on a sender; the first answer that is not None counts."""

    trigger: HookTrigger
    fn: IdentityHookFn
    name: str = ""
    timeout: float = 10.0
    channel_types: Collection[ChannelType] | None = None
    channel_ids: Collection[str] | None = None
    directions: Collection[ChannelDirection] | None = None

    def __post_init__(self) -> None:
        self.name = self.name or getattr(self.fn, "__name__", type(self.fn).__name__)
        if self.trigger not in (HookTrigger.ON_IDENTITY_AMBIGUOUS, HookTrigger.ON_IDENTITY_UNKNOWN):
            raise HookRegistrationError(
                f"identity hook {self.name!r} is on {self.trigger}; "
                "identity hooks decide on ON_IDENTITY_AMBIGUOUS and ON_IDENTITY_UNKNOWN"
            )
        try:
            for each in self.channel_types or ():
                declared(ChannelType, each)
            for direction in self.directions or ():
                declared(ChannelDirection, direction)
        except ValueError as error:
            raise HookRegistrationError(f"identity hook {self.name!r} would never run: {error}") from None
        if not inspect.iscoroutinefunction(self.fn):
            raise HookRegistrationError(
                f"identity hook {self.name!r} is not a coroutine function: write `async def`"
            )

    def matches(self, source: EventSource) -> bool:
        """Return whether the filters let an event of that source through."""
        return (
            (self.channel_types is None or is_one_of(source.channel_type, self.channel_types))
            and (self.channel_ids is None or source.channel_id in self.channel_ids)
            and (self.directions is None or source.direction in self.directions)
        )


@dataclass(slots=True)
class SenderCheck:
    """The state of a sender's identification.

    `reason` refuses the message; `inject` is then the reply to the sender. Otherwise `event` goes on.
    `seat` says which participant the sender is, and what to write of them.
    """

    event: RoomEvent
    reason: str | None = None
    inject: InjectedEvent | None = None
    seat: Seat | None = None


class IdentityDesk:
    """Asks the resolver, then the identity hooks, then lets the observers know."""

    def __init__(
        self,
        *,
        settings: KitOptions,
        clock: Clock,
        supervisor: Supervisor,
        hooks: HookEngine,
        events: FrameworkEvents,
        channels: Channels,
        resolver: IdentityResolver | None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._supervisor = supervisor
        self._hooks = hooks
        self._events = events
        self._channels = channels
        self.resolver = resolver
        self.hooks: list[IdentityHookRegistration] = []  # bound: the program's own registrations

    def applies(self, channel: Channel, channel_id: str) -> bool:
        """Return whether senders of that channel are resolved at all."""
        types = self._settings.identity_channel_types
        if self.resolver is None:
            return False
        return types is None or is_one_of(type_of(channel, channel_id), types)

    async def identify(self, message: InboundMessage, event: RoomEvent, context: RoomContext) -> SenderCheck:
        """Return who the sender is, or why the message is refused. Nothing is stored."""
        known = known_sender(context, message)
        if known is not None:
            return SenderCheck(_said_by(event, known.id))
        result = await self._resolve(message, event, context)
        decision = await self._decide(result, event, context)
        status = decision.status
        if status is IdentificationStatus.IDENTIFIED and decision.identity is not None:
            return SenderCheck(event, seat=partial(self._identified, message, decision.identity))
        if status is IdentificationStatus.REJECTED:
            return SenderCheck(event, reason=decision.reason or "identity_rejected")
        if status is IdentificationStatus.CHALLENGE_SENT:
            # Remembered, so that the room of the question is the sender's own from here on.
            seat = partial(self._pending, message, event, decision)
            return SenderCheck(event, reason="identity_challenge_sent", inject=decision.inject, seat=seat)
        if status is IdentificationStatus.UNKNOWN:
            return SenderCheck(event)
        return SenderCheck(event, seat=partial(self._pending, message, event, decision))

    async def _resolve(
        self, message: InboundMessage, event: RoomEvent, context: RoomContext
    ) -> IdentityResult:
        assert self.resolver is not None
        seconds = self._settings.identity_timeout
        about = {"room_id": event.room_id, "channel_id": message.channel_id}
        late = False
        try:
            result = await self._supervisor.call(
                self.resolver.resolve(message, context),
                f"identity resolver for channel {message.channel_id}",
                seconds,
            )
            result = checked(result, IdentityResult, "of the identity resolver", ForeignCodeError)
            _check_organization(result, context, "resolver")
            return result.replace(
                address=result.address or message.sender_id,
                channel_type=result.channel_type or event.source.channel_type,
            )
        except Overdue:
            late, error = True, f"no answer within {seconds} s"
            _log.warning(
                "identity resolution on channel %s: no answer within %s s", message.channel_id, seconds
            )
        except Exception as raised:  # noqa: BLE001  # foreign code may raise anything: it is reported
            error = error_text(raised)
            _log.warning("identity resolution on channel %s: %s", message.channel_id, raised)
        if late:
            self._events.emit("identity_timeout", **about, timeout=seconds)
        else:
            self._events.emit("identity_error", **about, error=error)
        return IdentityResult(
            status=IdentificationStatus.UNKNOWN,
            address=message.sender_id,
            channel_type=event.source.channel_type,
        )

    async def _decide(
        self, result: IdentityResult, event: RoomEvent, context: RoomContext
    ) -> IdentityHookResult:
        """Return the decision: the resolver's own where it made one, else the hooks'."""
        status = result.status
        if status is IdentificationStatus.IDENTIFIED and result.identity is not None:
            return IdentityHookResult(status, identity=result.identity)
        if status is IdentificationStatus.CHALLENGE_SENT:
            return IdentityHookResult(status, message=result.message)
        trigger = _TRIGGERS.get(status, HookTrigger.ON_IDENTITY_UNKNOWN)
        decision = await self._ask_hooks(trigger, result, event, context)
        await self._hooks.observe(trigger, event, context, event.source)
        if decision is not None:
            return decision
        if status is IdentificationStatus.REJECTED:
            return IdentityHookResult(status, reason=result.message or "unknown_sender")
        return IdentityHookResult(
            IdentificationStatus.UNKNOWN if status is IdentificationStatus.IDENTIFIED else status,
            candidates=result.candidates,
        )

    async def _ask_hooks(
        self, trigger: HookTrigger, result: IdentityResult, event: RoomEvent, context: RoomContext
    ) -> IdentityHookResult | None:
        for hook in self.hooks:
            if hook.trigger is not trigger or not hook.matches(event.source):
                continue
            try:
                decision = await self._supervisor.call(
                    hook.fn(event, context, result), f"identity hook {hook.name}", hook.timeout
                )
                if decision is not None:
                    _check_decision(decision, hook.name)
                    _check_organization(decision, context, f"identity hook {hook.name!r}")
            except Exception as error:  # noqa: BLE001  # foreign code may raise anything: it is reported
                # A sender cannot be let in by a hook that broke: what it would have said is unknown.
                _log.warning("identity hook %s failed: %s", hook.name, error)
                self._events.emit(
                    "hook_error",
                    room_id=event.room_id,
                    channel_id=event.source.channel_id,
                    hook=hook.name,
                    trigger=trigger,
                    error=error_text(error),
                )
                return IdentityHookResult.reject("identity_hook_failed")
            if decision is not None:
                return decision
        return None

    def _identified(
        self, message: InboundMessage, identity: Identity, record: RoomRecord
    ) -> tuple[str, Participant]:
        now = self._clock.now()
        known = record.participants.get(identity.id)
        channel_id = message.channel_id
        via = known.connected_via if known is not None else ()
        newcomer = Participant(id=identity.id, room_id=record.room_id, channel_id=channel_id, joined_at=now)
        person = (known or newcomer).replace(
            identification=IdentificationStatus.IDENTIFIED,
            identity_id=identity.id,
            display_name=identity.display_name or (known.display_name if known is not None else None),
            candidates=None,
            external_id=message.sender_id,
            connected_via=via if channel_id in via else (*via, channel_id),
            resolved_at=now,
            resolved_by="resolver",
        )
        return identity.id, person

    def _pending(
        self, message: InboundMessage, event: RoomEvent, decision: IdentityHookResult, record: RoomRecord
    ) -> tuple[str, Participant | None]:
        address = event.source.participant_id
        participant_id = _own_id(address, message.channel_id, record) or f"pending-{event.id[:8]}"
        known = record.participants.get(participant_id)
        candidates = tuple(identity.id for identity in decision.candidates or ())
        if known is not None and known.candidates == (candidates or None):
            return participant_id, None
        person = known or Participant(
            id=participant_id,
            room_id=event.room_id,
            channel_id=message.channel_id,
            connected_via=(message.channel_id,),
            external_id=None if participant_id == address else address,
            address_type=read_attribute(
                owner_of(message.channel_id), self._channels[message.channel_id], "address_type", str
            ),
            joined_at=self._clock.now(),
        )
        person = person.replace(
            candidates=candidates or None,
            display_name=decision.display_name or person.display_name,
            identification=IdentificationStatus.PENDING,
        )
        return participant_id, person


def _check_decision(decision: object, hook: str) -> None:
    """Raise ForeignCodeError if an identity hook's answer cannot be stored."""
    if not isinstance(decision, IdentityHookResult):
        raise ForeignCodeError(
            f"identity hook {hook!r} answered with {type(decision).__name__}, not IdentityHookResult: use "
            "IdentityHookResult.resolved(), .pending(), .challenge() or .reject()"
        )
    read_attribute(f"the answer of identity hook {hook!r}", decision, "status", IdentificationStatus)
    origin = f"of identity hook {hook!r}"
    for name in ("display_name", "reason"):
        read_attribute(f"the answer {origin}", decision, name, OPTIONAL_TEXT)
    for identity in (decision.identity, *(decision.candidates or ())):
        if identity is not None:
            checked(identity, Identity, origin, ForeignCodeError)
    if decision.inject is not None:
        checked(decision.inject.event, RoomEvent, origin, ForeignCodeError)


def _check_organization(answer: IdentityResult | IdentityHookResult, context: RoomContext, by: str) -> None:
    """Raise InvalidInputError if an answer names a person of another organization than the room's."""
    organization_id = context.room.organization_id
    for identity in (answer.identity, *(answer.candidates or ())):
        if identity is not None and identity.organization_id not in (None, organization_id):
            raise InvalidInputError(
                f"the {by} gave identity {identity.id!r} of another organization than the room's: "
                "look people up with context.room.organization_id"
            )


def _joined_code(person: Participant) -> str:
    """Return the code of the note on a new participant."""
    identified = person.identification is IdentificationStatus.IDENTIFIED
    return "participant_joined_identified" if identified else "participant_joined_pending"


def seated(seat: Seat, draft: Draft, record: RoomRecord) -> Draft:
    """Return the draft as said by the participant who the sender is in the room as it is."""
    participant_id, person = seat(record)
    before: tuple[RoomEvent, ...] = ()
    if person is not None and person.id not in record.participants:
        before = (
            note(
                record.room_id,
                EventType.PARTICIPANT_JOINED,
                _joined_code(person),
                f"{person.display_name or person.id} joined",
                participant_id=person.id,
                status=person.identification,
            ),
        )
    return replace(draft, event=_said_by(draft.event, participant_id), participant=person, before=before)


def _said_by(event: RoomEvent, participant_id: str) -> RoomEvent:
    return event.replace(source=event.source.replace(participant_id=participant_id))


def _own_id(address: str | None, channel_id: str, record: RoomRecord) -> str | None:
    """Return the id of the sender as a participant of the room.

    An unidentified address must not speak with the rights of a verified identity of that
    name, nor for the same address of another kind.
    """
    if address is None:
        return None
    return participant_of(record.participants, record.bindings, channel_id, address, is_address=True)


def known_sender(context: RoomContext, message: InboundMessage) -> Participant | None:
    """Return the participant known by that address, so that no resolver is asked twice."""
    for person in context.participants:
        if (
            person.identification is IdentificationStatus.IDENTIFIED
            and (person.external_id or person.id) == message.sender_id
            and message.channel_id in (person.connected_via or (person.channel_id,))
        ):
            return person
    return None
