"""The gate that takes codes out of what people say, and verifies those who say the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.models.content import text_of
from roomkit.models.enums import EventType
from roomkit.models.hook import HookResult, InjectedEvent
from roomkit_plugins.agents.notes import notice_on
from roomkit_plugins.agents.verification.asking import identity_of
from roomkit_plugins.agents.verification.book import Book, Whom
from roomkit_plugins.agents.verification.codes import codes_in, digest_of, has_words, said_in, withhold
from roomkit_plugins.agents.verification.standing import CodeAnswer, PersonStanding

if TYPE_CHECKING:
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent
    from roomkit_plugins.agents.verification.outcomes import Outcomes
    from roomkit_plugins.agents.verification.rules import VerificationRules

__all__ = ["CodeAnswers"]

_MAX_COMPARED = 10
"""How many codes of one message are looked at; of an open challenge, no more than attempts are left."""


class CodeAnswers:
    """Judges messages of people who were sent a code."""

    def __init__(self, book: Book, rules: VerificationRules, outcomes: Outcomes) -> None:
        self._book = book
        self._rules = rules
        self._outcomes = outcomes

    async def judge(self, event: RoomEvent, context: RoomContext) -> HookResult:
        """Withhold what may be a code, and take it as an answer; a BEFORE_BROADCAST gate.

        Only the participant that the kit knows the sender as counts, and only in a message of their own:
        neither what they quote nor what they edit is an answer.
        """
        codes = codes_in(text_of(event.content), self._rules.code_length)
        if not codes:
            return HookResult.allow()
        person = context.get_participant(event.source.participant_id)
        identity_id = None if person is None else identity_of(person)
        if identity_id is None:
            return HookResult.allow()
        if context.speculative:
            return HookResult.block("not_speculative")
        whom = Whom(identity_id, context.room.organization_id)
        standing = await self._book.read(whom)
        if standing is None or not standing.knows_codes(self._book.now()):
            return HookResult.allow()
        answer, standing = await self._take(whom, standing, event, codes)
        return HookResult.allow() if answer.kind == "none" else self._withheld(event, whom, answer, standing)

    async def _take(
        self, whom: Whom, standing: PersonStanding, event: RoomEvent, codes: list[str]
    ) -> tuple[CodeAnswer, PersonStanding]:
        said = ""
        if event.type is EventType.MESSAGE:
            said = said_in(text_of(event.content))
        own = codes_in(said, self._rules.code_length)
        given = await self._digests(own, standing.salt)
        quoted = await self._digests([each for each in codes if each not in own], standing.salt)
        found: list[CodeAnswer] = []
        key = event.idempotency_key or event.id

        def answered(before: PersonStanding) -> PersonStanding:
            now, ttl = self._book.now(), self._rules.ttl
            after, answer = before.answered(given, quoted, now, ttl, message=key)
            found[:] = [answer]
            return after

        after = await self._book.change(whom, answered, kept=self._rules.ttl)
        return found[0], after

    @staticmethod
    async def _digests(codes: list[str], salt: str) -> list[str]:
        """Return the digests of codes; those beyond the first ten are not compared, and count as wrong."""
        compared = [await digest_of(each, salt) for each in codes[:_MAX_COMPARED]]
        return [*compared, *("" for _ in codes[_MAX_COMPARED:])]

    def _withheld(
        self, event: RoomEvent, whom: Whom, answer: CodeAnswer, standing: PersonStanding
    ) -> HookResult:
        """Return the event as everyone else sees it: without codes, or not at all if it says nothing else."""
        after = withhold(event, self._rules.code_length)
        if not has_words(text_of(after.content)):
            after = after.replace(visibility="none", addressed_to=())
        elif answer.kind == "verified":
            after = after.replace(addressed_to=())  # the agents that wait are asked, and read it
        channel_id, words = event.source.channel_id, self._words(event, answer)
        said = (
            []
            if words is None
            else [InjectedEvent(notice_on(channel_id, event.room_id, words), [channel_id])]
        )
        timers = (
            [] if answer.kind not in ("verified", "failed") else self._outcomes.timers(whom, answer, standing)
        )
        return HookResult.modify(after, said, timers=timers)

    def _words(self, event: RoomEvent, answer: CodeAnswer) -> str | None:
        texts, waiting = self._rules.texts, () if answer.challenge is None else answer.challenge.waiting
        if answer.kind == "verified":
            goes_on = any(each.room_id == event.room_id for each in waiting)
            return None if goes_on else texts.verified
        if answer.kind == "wrong" and texts.wrong is not None:
            return texts.wrong.format(left=answer.left)
        return texts.failed if answer.kind == "failed" else None
