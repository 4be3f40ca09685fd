"""Verification of people: a gate before sensitive tools, and codes that they answer on any channel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from roomkit.abc.duration import seconds_of
from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.options import checked_options
from roomkit.models.enums import ChannelDirection, HookTrigger
from roomkit_plugins.agents.state import NAMESPACE
from roomkit_plugins.agents.verification.answering import CodeAnswers
from roomkit_plugins.agents.verification.asking import Asking
from roomkit_plugins.agents.verification.book import Book, Whom
from roomkit_plugins.agents.verification.code_desk import CODE_DESK, CodeDesk
from roomkit_plugins.agents.verification.outcomes import Outcomes
from roomkit_plugins.agents.verification.rules import VerificationRules, VerificationTexts

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit_plugins.agents.verification.asking import AddressOf
    from roomkit_plugins.agents.verification.standing import Challenge, PersonStanding, Verification

__all__ = ["PersonVerification"]

FIRST, LAST = -10_000, 10_000
"""Priorities of gates: before all that would keep a code, and after all that would change a call."""


class PersonVerification:
    """Lets sensitive tools run only for people who have proved who they are.

    `tools` are globs of tool names. A call of one of them for a person who is not verified is refused before
    it runs; the model reads that, and a code of `code_length` digits is sent by the channel `send_by` to the
    address that the person's identity has there. The person answers on any channel that knows them as that
    identity; then the agents that were refused are asked again. A verification holds for `ttl`, on every
    channel and in every room of the person. A code holds for `code_ttl` and takes `max_attempts` wrong
    answers; `max_codes` are sent in an hour, and one is sent again after `resend_after` if it is asked for.
    Lengths of time are seconds, a timedelta or text such as "30min". Without `send_by` only the program
    verifies people. `address_of(identity_id, organization_id)` returns where codes go; by default the address
    of the stored identity.

    Codes are made when they are sent: a digest of them is stored, and what people answer is withheld before
    anything else sees it: other gates, the timeline, agents and their memory. Make one per kit, the same on
    every worker. Changes are shown to observers of `on_verification`. All methods may be called concurrently,
    on any worker, and raise StoreError. Raises InvalidInputError for settings that cannot be.
    """

    def __init__(
        self,
        kit: RoomKit,
        *,
        tools: Sequence[str],
        send_by: str | None = None,
        ttl: float | timedelta | str = "30min",
        code_length: int = 6,
        code_ttl: float | timedelta | str = "10min",
        max_attempts: int = 3,
        max_codes: int = 5,
        resend_after: float | timedelta | str = 60.0,
        texts: VerificationTexts | None = None,
        address_of: AddressOf | None = None,
    ) -> None:
        if isinstance(tools, str):
            raise InvalidInputError(f"tools is {tools!r}: give a list of globs")
        given = {
            "tools": tuple(tools),
            "address_of": address_of,
            "send_by": send_by,
            "ttl": _length(ttl),
            "code_length": code_length,
            "code_ttl": _length(code_ttl),
            "max_attempts": max_attempts,
            "max_codes": max_codes,
            "resend_after": _length(resend_after),
            "texts": VerificationTexts() if texts is None else texts,
        }
        rules = self.rules = checked_options(VerificationRules, given)
        if kit.get_channel(CODE_DESK) is not None:
            raise InvalidInputError("this kit has a PersonVerification already: make one, with all its tools")
        self._book = Book(kit)
        self._outcomes = Outcomes(kit, self._book)
        self._asking = Asking(kit, self._book, rules, self._outcomes, address_of)
        answers = CodeAnswers(self._book, rules, self._outcomes)
        desk = CodeDesk(kit, self._book, rules)
        kit.register_channel(desk)
        self._outcomes.begin()
        kit.hook(HookTrigger.BEFORE_TOOL_USE, priority=LAST, name=f"{NAMESPACE}.verification")(
            self._asking.guard
        )
        kit.hook(
            HookTrigger.BEFORE_BROADCAST,
            priority=FIRST,
            name=f"{NAMESPACE}.codes",
            directions={ChannelDirection.INBOUND},
        )(answers.judge)

    async def status(self, identity_id: str, *, organization_id: str | None = None) -> Verification:
        """Return whether a person is verified now. `organization_id` is that of the person's rooms."""
        return await self._book.seen(_whom(identity_id, organization_id))

    async def verify(
        self,
        identity_id: str,
        *,
        method: str,
        ttl: float | timedelta | str | None = None,
        organization_id: str | None = None,
    ) -> Verification:
        """Count a person as verified from now on, because the program knows it: `method` says how.

        Agents that wait for it are asked again. A code that is under way is void.
        """
        whom, lasts = _whom(identity_id, organization_id), self.rules.ttl if ttl is None else _length(ttl)
        said: object = method
        if not isinstance(said, str) or not said.strip():
            raise InvalidInputError(f"a person cannot be verified by {said!r}: say how, such as 'id-check'")
        now = self._book.now()
        waited: list[Challenge] = []  # bound: one

        def verified(before: PersonStanding) -> PersonStanding:
            waited[:] = [before.unfinished] if before.unfinished is not None else []
            return before.verified(method, now, lasts)

        standing = await self._book.change(whom, verified, kept=lasts)
        await self._outcomes.settle_now(whom, "verified", waited[0] if waited else None, standing)
        return self._book.shown(whom, standing)

    async def revoke(
        self, identity_id: str, *, reason: str = "revoked", organization_id: str | None = None
    ) -> Verification:
        """Count a person as not verified from now on; a code that is under way is void, too."""
        whom = _whom(identity_id, organization_id)
        waited: list[Challenge] = []  # bound: one

        def revoked(before: PersonStanding) -> PersonStanding:
            waited[:] = [before.unfinished] if before.unfinished is not None else []
            return before.as_revoked(reason)

        standing = await self._book.change(whom, revoked)
        await self._outcomes.settle_now(whom, "revoked", waited[0] if waited else None, standing)
        return self._book.shown(whom, standing)

    async def send_code(self, identity_id: str, *, organization_id: str | None = None) -> Verification:
        """Send a person a code, unless one was sent just now; return the verification as it is then.

        Raises InvalidInputError without an address or a channel to send it by, or after too many codes.
        """
        whom = _whom(identity_id, organization_id)
        await self._asking.send(whom)
        return await self._book.seen(whom)


def _length(value: float | timedelta | str) -> timedelta:
    return timedelta(seconds=seconds_of(value))


def _whom(identity_id: str, organization_id: str | None) -> Whom:
    given: object = identity_id
    if not isinstance(given, str) or not given:
        raise InvalidInputError(f"no identity is named {given!r}: give the id of one")
    return Whom(identity_id, organization_id)
