"""What follows when a verification begins or ends: observers see it, and agents that wait are asked."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import RoomClosedError, RoomNotFoundError
from roomkit.models.enums import HookTrigger
from roomkit.models.event import SYSTEM_CHANNEL_ID
from roomkit_plugins.agents.notes import note_to
from roomkit_plugins.agents.state import HUMAN, get_conversation_state
from roomkit_plugins.agents.verification.book import Book, Whom
from roomkit_plugins.agents.verification.standing import Challenge, CodeAnswer, PersonStanding, Waiting

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.timer import Timer

__all__ = ["ON_VERIFICATION", "Outcomes"]

ON_VERIFICATION = "on_verification"
"""The trigger whose observers see each change of a verification."""
_SETTLE, _EXPIRE = "verification-settle", "verification-expire"
_WORDS = {
    "verified": "The person is verified now. If they still want it, call {tools} now.",
    "failed": "The person was not verified: too many wrong codes. {tools} cannot be called.",
    "expired": "The person was not verified: no code came in time. {tools} cannot be called.",
    "revoked": "The verification of the person was revoked. {tools} cannot be called.",
}


class Outcomes:
    """Handles the timers of verifications. What a worker has begun when it is killed, another one ends."""

    def __init__(self, kit: RoomKit, book: Book) -> None:
        self._kit = kit
        self._book = book

    def begin(self) -> None:
        """Register the handlers of the timers."""
        self._book.services.timers.on(_SETTLE, self._settle)
        self._book.services.timers.on(_EXPIRE, self._expire)

    @staticmethod
    def room_of(challenge_id: str) -> str:
        """Return the room from which a code is sent."""
        return f"code-{challenge_id}"

    # -- timers -------------------------------------------------------------------------------

    def timers(self, whom: Whom, answer: CodeAnswer, standing: PersonStanding) -> list[Timer]:
        """Return the timers of an answer, to be set in the commit of its message."""
        timers = self._book.services.timers
        assert answer.challenge is not None
        settles = timers.make(
            _SETTLE,
            self._book.now(),
            id=_settling(answer.challenge),
            data=_data(whom, answer.kind, answer.challenge),
            subject=whom.identity_id,
        )
        if answer.kind != "verified" or standing.expires_at is None:
            return [settles]
        expires = timers.make(
            _EXPIRE,
            standing.expires_at,
            id=f"verified-{whom.name}",
            data=_data(whom, "expired", None),
            subject=whom.identity_id,
        )
        return [settles, expires]

    async def settle_now(
        self, whom: Whom, outcome: str, challenge: Challenge | None, standing: PersonStanding
    ) -> None:
        """Have a change settled that no message made; durable on return."""
        timers = self._book.services.timers
        if outcome == "verified" and standing.expires_at is not None:
            await timers.set(
                _EXPIRE,
                standing.expires_at,
                id=f"verified-{whom.name}",
                data=_data(whom, "expired", None),
                subject=whom.identity_id,
            )
        await timers.set(
            _SETTLE,
            self._book.now(),
            id=None if challenge is None else _settling(challenge),
            data=_data(whom, outcome, challenge),
            subject=whom.identity_id,
        )

    async def watch(self, whom: Whom, challenge: Challenge) -> None:
        """Have a challenge end in time."""
        await self._book.services.timers.set(
            _EXPIRE,
            challenge.expires_at,
            id=f"challenge-{challenge.id}",
            data=_data(whom, "expired", challenge),
            subject=whom.identity_id,
        )

    async def _settle(self, timer: Timer) -> datetime | None:
        whom, outcome, challenge_id, waiting = _read(timer)
        await self.observe(whom)
        await self._ask(outcome, challenge_id, waiting)
        if challenge_id is not None:
            await self._close(challenge_id)
            if await self._book.read(whom) is not None:
                await self._book.change(whom, lambda before: before.settled(challenge_id))
        return None

    async def _expire(self, timer: Timer) -> datetime | None:
        """End a challenge that nothing has answered, or notice that a verification is over."""
        whom, outcome, challenge_id, _ = _read(timer)
        standing, now = await self._book.read(whom), self._book.now()
        if challenge_id is not None:
            await self._close(challenge_id)
        if standing is None:
            return None
        if challenge_id is None:
            if standing.is_verified(now):
                return standing.expires_at
            if not standing.revoked:
                await self.observe(whom)
            return None
        over = standing.unsettled
        if over is not None and over.challenge.id == challenge_id:  # its answer was judged, and not committed
            await self.settle_now(whom, over.outcome, over.challenge, standing)
            return None
        if standing.challenge is None or standing.challenge.id != challenge_id:
            return None
        waiting = standing.challenge.waiting
        await self._ask(outcome, challenge_id, waiting)
        await self._book.change(whom, lambda before: _ended(before, challenge_id))
        await self.observe(whom)
        return None

    # -- what follows -------------------------------------------------------------------------

    async def observe(self, whom: Whom) -> None:
        """Show observers the verification as it is now."""
        seen = await self._book.seen(whom)
        await self._book.services.turns.observe(HookTrigger(ON_VERIFICATION), seen, room_id=None)

    async def _ask(self, outcome: str, challenge_id: str | None, waiting: Iterable[Waiting]) -> None:
        """Let the agents know that were refused: once each, by a note that no person sees."""
        for each, tools in _by_agent(waiting).items():
            room_id, agent_id, participant_id = each
            words = _WORDS[outcome].format(tools=", ".join(tools))
            with suppress(RoomClosedError, RoomNotFoundError):
                owner = get_conversation_state(await self._kit.get_room(room_id)).active_agent_id
                note = note_to(
                    agent_id if owner in (None, HUMAN) else owner,
                    room_id,
                    f"[{words}]",
                    asks=owner != HUMAN,
                    on_behalf_of=participant_id,
                    key=f"verification:{challenge_id}:{outcome}:{agent_id}:{participant_id}",
                )
                await self._kit.send_event(room_id, SYSTEM_CHANNEL_ID, note, wait="committed")

    async def _close(self, challenge_id: str) -> None:
        with suppress(RoomClosedError, RoomNotFoundError):
            await self._kit.close_room(self.room_of(challenge_id))


def _settling(challenge: Challenge) -> str:
    return f"settle-{challenge.id}"


def _ended(before: PersonStanding, challenge_id: str) -> PersonStanding:
    is_same = before.challenge is not None and before.challenge.id == challenge_id
    return before.ended("code_expired") if is_same else before


def _by_agent(waiting: Iterable[Waiting]) -> dict[tuple[str, str, str | None], list[str]]:
    found: dict[tuple[str, str, str | None], list[str]] = {}
    for each in waiting:
        tools = found.setdefault((each.room_id, each.agent_id, each.participant_id), [])
        if each.tool not in tools:
            tools.append(each.tool)
    return found


def _data(whom: Whom, outcome: str, challenge: Challenge | None) -> dict[str, Any]:
    return {
        "identity": whom.identity_id,
        "organization": whom.organization_id,
        "outcome": outcome,
        "challenge": None if challenge is None else challenge.id,
        "waiting": [] if challenge is None else [each.model_dump(mode="json") for each in challenge.waiting],
    }


def _read(timer: Timer) -> tuple[Whom, str, str | None, list[Waiting]]:
    data = timer.data
    waiting = [Waiting.model_validate(each) for each in data["waiting"]]
    return Whom(data["identity"], data["organization"]), data["outcome"], data["challenge"], waiting
