"""The gate before sensitive tools: who is not verified is asked for a code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from roomkit.abc.errors import (
    InvalidInputError,
    RoomAlreadyExistsError,
    RoomClosedError,
    RoomNotFoundError,
)
from roomkit.models.base import new_id
from roomkit.models.enums import IdentificationStatus
from roomkit.models.event import SYSTEM_CHANNEL_ID
from roomkit.models.hook import HookResult
from roomkit_plugins.agents.state import NAMESPACE
from roomkit_plugins.agents.verification.book import Book, Whom
from roomkit_plugins.agents.verification.code_desk import CODE_DESK, carrier_of, code_event
from roomkit_plugins.agents.verification.standing import Challenge, PersonStanding, Waiting

if TYPE_CHECKING:
    from roomkit.abc.channel import Channel
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.context import RoomContext
    from roomkit.models.identity import Identity
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.tool import ToolUse
    from roomkit_plugins.agents.verification.outcomes import Outcomes
    from roomkit_plugins.agents.verification.rules import VerificationRules

__all__ = ["AddressOf", "Asking", "identity_of"]

type AddressOf = Callable[[str, str | None], Awaitable[str | None]]
"""Returns where codes for an identity of an organization go, by the channel that sends them."""
_MAX_DEPTH = 3
"""How deep tasks are delegated from tasks."""


class _Refused(Exception):
    """The call is refused; the text says why, to the model."""


class Asking:
    """Judges calls of sensitive tools, and has codes sent."""

    def __init__(
        self,
        kit: RoomKit,
        book: Book,
        rules: VerificationRules,
        outcomes: Outcomes,
        address_of: AddressOf | None,
    ) -> None:
        self._kit = kit
        self._book = book
        self._rules = rules
        self._outcomes = outcomes
        self._address_of = address_of

    # -- the gate -----------------------------------------------------------------------------

    async def guard(self, use: ToolUse, context: RoomContext) -> HookResult:
        """Refuse a sensitive tool unless the person whom it is for is verified; a BEFORE_TOOL_USE gate."""
        if not any(fnmatchcase(use.name, each) for each in self._rules.tools):
            return HookResult.allow()
        try:
            whom, is_task = await self._whom(use, context)
            standing = await self._book.read(whom)
            if standing is not None and standing.is_verified(self._book.now()):
                return HookResult.allow()
            if is_task:
                raise _Refused(
                    "the person is not verified, and a task cannot ask them; end the task with that"
                )
            waiting = Waiting(
                room_id=use.room_id, agent_id=use.channel_id, tool=use.name, participant_id=use.participant_id
            )
            return HookResult.block(f"{use.name!r} was not run: {await self._pending(whom, waiting)}")
        except _Refused as refusal:
            return HookResult.block(f"{use.name!r} was not run: {refusal}")

    async def _whom(self, use: ToolUse, context: RoomContext) -> tuple[Whom, bool]:
        """Return the person whom a call is for, and whether it is made in the room of a task."""
        room, person = context.room, context.get_participant(use.participant_id)
        is_task = False
        for _ in range(_MAX_DEPTH):
            if person is not None or use.participant_id is None or not _is_of_task(room):
                break
            is_task = True
            room, person = await self._in_parent(room, use.participant_id)
        if person is None:
            raise _Refused("it runs only for a person who is verified, and it is not known whom this is for")
        identity_id = identity_of(person)
        if identity_id is None:
            raise _Refused(
                "the person has to be verified first, and it is not known who they are; hand the "
                "conversation to a person"
            )
        return Whom(identity_id, room.organization_id), is_task

    async def _in_parent(self, room: Room, participant_id: str) -> tuple[Room, Participant | None]:
        try:
            parent = await self._kit.get_room(str(room.metadata.get("parent_room_id")))
        except RoomNotFoundError:
            return room, None
        people = await self._kit.list_participants(parent.id)
        return parent, next((each for each in people if each.id == participant_id), None)

    async def _pending(self, whom: Whom, waiting: Waiting) -> str:
        """Have a code sent if none is under way; return what the model is to know of it."""
        try:
            is_new = await self.send(whom, waiting)
        except InvalidInputError as error:
            raise _Refused(
                f"the person has to be verified first, and {error}; hand the conversation to a person"
            ) from None
        sent = "A code was sent" if is_new else "A code was sent before"
        return (
            f"the person has to be verified first. {sent} to them by {self._rules.send_by!r}. Say that to "
            f"them, and ask them to write the {self._rules.code_length} digits here or to answer there. You "
            "are asked again once they are verified; until then do without the tool."
        )

    # -- codes --------------------------------------------------------------------------------

    async def _address(self, whom: Whom, carrier: Channel) -> str | None:
        if self._address_of is not None:
            return await self._address_of(*whom)
        identity = await _identity(self._kit, whom)
        if identity is None:
            return None
        own = identity.channel_addresses.get(carrier.channel_type, ())
        usual = {"phone": identity.phone, "email": identity.email}.get(carrier.address_type)
        return own[0] if own else usual

    async def _reached(self, whom: Whom) -> str:
        """Return the address that a code goes to. Raises InvalidInputError."""
        if self._rules.send_by is None:
            raise InvalidInputError("no channel sends codes: give PersonVerification(send_by=...)")
        carrier = carrier_of(self._kit, self._rules.send_by)
        address = await self._address(whom, carrier)
        if address is None:
            raise InvalidInputError(
                f"no address of the person is known for {carrier.channel_id!r}: link_address, or give "
                "address_of="
            )
        return carrier.normalize(address)

    async def send(self, whom: Whom, waiting: Waiting | None = None) -> bool:
        """Send a code, unless one is on its way; return whether it is sent now.

        Raises InvalidInputError if it cannot be sent, or too many were.
        """
        address = await self._reached(whom)
        now = self._book.now()
        challenge = Challenge(
            id=new_id(),
            asked_at=now,
            expires_at=now + self._rules.code_ttl,
            left=self._rules.max_attempts,
            waiting=() if waiting is None else (waiting,),
        )
        standing = await self._book.change(whom, lambda before: self._asked(before, challenge, now))
        if standing.challenge is None or standing.challenge.posted:
            return False
        await self._begin(whom, standing.challenge, address)
        return True

    async def _begin(self, whom: Whom, challenge: Challenge, address: str) -> None:
        """Have the code of a challenge delivered, and the challenge end in time.

        A call that broke off in here, such as with its worker, is completed by the next one.
        """
        await self._book.keep_challenge(whom, challenge.id, self._rules.code_ttl)
        await self._outcomes.watch(whom, challenge)
        await self._post(whom, challenge.id, address)
        await self._book.change(whom, lambda before: before.with_posted(challenge.id))
        await self._outcomes.observe(whom)

    def _asked(self, before: PersonStanding, challenge: Challenge, now: datetime) -> PersonStanding:
        """Return a standing with a challenge: the one that is open, unless it is old enough for another."""
        current = before.open(now)
        if current is not None and now < current.asked_at + self._rules.resend_after:
            return before.with_waiting(challenge.waiting[0]) if challenge.waiting else before
        recent = [each for each in before.asked if each > now - timedelta(hours=1)]
        if len(recent) >= self._rules.max_codes:
            if current is not None and challenge.waiting:
                return before.with_waiting(challenge.waiting[0])
            minutes = int((recent[0] + timedelta(hours=1) - now).total_seconds() // 60) + 1
            raise InvalidInputError(
                f"{len(recent)} codes were sent within the hour: the next one can be sent in {minutes} "
                "minutes"
            )
        return before.with_challenge(challenge)

    async def _post(self, whom: Whom, challenge_id: str, address: str) -> None:
        """Have the code delivered from a room of its own, so that no one in the conversation sees it."""
        room_id = self._outcomes.room_of(challenge_id)
        with suppress(RoomAlreadyExistsError):
            await self._kit.create_room(room_id, organization_id=whom.organization_id, retention="1d")
        with suppress(RoomClosedError):  # the challenge is over
            if not await self._kit.list_bindings(room_id):
                await self._kit.attach_channel(room_id, CODE_DESK, address=address)
            await self._kit.send_event(
                room_id, SYSTEM_CHANNEL_ID, code_event(room_id, challenge_id), wait="committed"
            )


def identity_of(person: Participant) -> str | None:
    """Return the identity that a participant is known to have."""
    is_known = person.identification is IdentificationStatus.IDENTIFIED
    return person.identity_id if is_known else None


async def _identity(kit: RoomKit, whom: Whom) -> Identity | None:
    """Return the stored identity of a person; None if the program keeps it elsewhere."""
    if whom.organization_id is None:
        return await kit.get_identity(whom.identity_id)
    return await kit.for_organization(whom.organization_id).get_identity(whom.identity_id)


def _is_of_task(room: Room) -> bool:
    return "task" in (room.state.get(NAMESPACE) or {})
