"""Whether a person is verified: the record and the steps that change it. Pure; the clock is passed in."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import Field

from roomkit.models.base import Record
from roomkit.models.values import Int, Key, Label, Text

__all__ = ["Challenge", "CodeAnswer", "PersonStanding", "Verification", "VerificationStatus", "Waiting"]

MAX_CODES = 4
"""How many codes of one challenge count: each attempt to send it makes another."""
MAX_WAITING = 16
_REMEMBERED = timedelta(hours=1)
"""For how long a code that was issued is withheld from what its person says."""


class VerificationStatus(StrEnum):
    """Whether a person has proved who they are."""

    UNVERIFIED = "unverified"
    PENDING = "pending"
    VERIFIED = "verified"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Verification(Record):
    """Whether a person is verified, as it is now; the payload of `on_verification`.

    `method` is "code", or what the program gave to `verify`. It holds from `verified_at` until `expires_at`.
    `reason` says why a verification expired or was revoked.
    """

    identity_id: Key
    organization_id: Key | None = None
    status: VerificationStatus = VerificationStatus.UNVERIFIED
    method: Label | None = None
    verified_at: datetime | None = None
    expires_at: datetime | None = None
    reason: Label = ""

    @property
    def is_verified(self) -> bool:
        """Whether sensitive tools run for the person."""
        return self.status is VerificationStatus.VERIFIED


class Waiting(Record):
    """An agent that was refused a tool, and is asked again once its person is verified."""

    room_id: Key
    agent_id: Key
    tool: Text
    participant_id: Key | None = None


class Challenge(Record):
    """A code that a person was asked for. `left` is how many wrong answers it takes; one ends it.

    `posted` says that the code is on its way: until then, the next call that finds the challenge sends it.
    """

    id: Key
    asked_at: datetime
    expires_at: datetime
    left: Int = Field(ge=0)
    posted: bool = False
    digests: tuple[Text, ...] = ()
    waiting: tuple[Waiting, ...] = ()


class Unsettled(Record):
    """A challenge that is over, until its agents were asked; `message` is the key of the answer to it."""

    challenge: Challenge
    outcome: Literal["verified", "failed", "revoked"]
    message: Text = ""


class Issued(Record):
    """A code that was sent, as its digest."""

    digest: Text
    at: datetime


@dataclass(slots=True, frozen=True)
class CodeAnswer:
    """What a message is to a person's verification; only `none` leaves it as it is."""

    kind: Literal["none", "withheld", "wrong", "failed", "verified"] = "none"
    left: int = 0
    challenge: Challenge | None = None


class PersonStanding(Record):
    """The stored record of one person's verification."""

    salt: Text
    method: Label | None = None
    verified_at: datetime | None = None
    expires_at: datetime | None = None
    revoked: bool = False
    reason: Label = ""
    challenge: Challenge | None = None
    unsettled: Unsettled | None = None
    issued: tuple[Issued, ...] = ()
    asked: tuple[datetime, ...] = ()

    def status(self, now: datetime) -> VerificationStatus:
        """Return where it stands at an instant."""
        if self.is_verified(now):
            return VerificationStatus.VERIFIED
        if self.open(now) is not None:
            return VerificationStatus.PENDING
        if self.revoked:
            return VerificationStatus.REVOKED
        if self.verified_at is not None or self.challenge is not None or self.reason:
            return VerificationStatus.EXPIRED
        return VerificationStatus.UNVERIFIED

    def is_verified(self, now: datetime) -> bool:
        """Whether the person is verified at an instant."""
        return self.expires_at is not None and not self.revoked and now < self.expires_at

    def open(self, now: datetime) -> Challenge | None:
        """Return the challenge that can be answered."""
        challenge = self.challenge
        return challenge if challenge is not None and now < challenge.expires_at else None

    @property
    def unfinished(self) -> Challenge | None:
        """The challenge whose agents still wait."""
        if self.challenge is not None or self.unsettled is None:
            return self.challenge
        return self.unsettled.challenge

    def knows_codes(self, now: datetime) -> bool:
        """Whether digits of the person may be a code."""
        is_open = self.open(now) is not None or self.unsettled is not None
        return is_open or any(now < each.at + _REMEMBERED for each in self.issued)

    # -- changes ------------------------------------------------------------------------------

    def with_challenge(self, challenge: Challenge) -> PersonStanding:
        """Return it with another challenge; those who wait for the former one wait for this."""
        waiting = challenge.waiting
        if self.challenge is not None:
            waiting = tuple(dict.fromkeys((*self.challenge.waiting, *waiting)))
        hour = challenge.asked_at - timedelta(hours=1)
        return self.replace(
            challenge=challenge.replace(waiting=waiting[-MAX_WAITING:]),
            asked=(*(each for each in self.asked if each > hour), challenge.asked_at),
        )

    def with_waiting(self, waiting: Waiting) -> PersonStanding:
        """Return it with one more agent that waits for the open challenge."""
        assert self.challenge is not None
        after = tuple(dict.fromkeys((*self.challenge.waiting, waiting)))
        return self.replace(challenge=self.challenge.replace(waiting=after[-MAX_WAITING:]))

    def with_posted(self, challenge_id: str) -> PersonStanding:
        """Return it with the code of that challenge on its way."""
        challenge = self.challenge
        if challenge is None or challenge.id != challenge_id:
            return self
        return self.replace(challenge=challenge.replace(posted=True))

    def with_code(self, challenge_id: str, digest: str, now: datetime) -> PersonStanding | None:
        """Return it with one more code of a challenge; None if that is over."""
        challenge = self.open(now)
        if challenge is None or challenge.id != challenge_id:
            return None
        codes = (*challenge.digests, digest)[-MAX_CODES:]
        known = [each for each in self.issued if now < each.at + _REMEMBERED]
        return self.replace(
            challenge=challenge.replace(digests=codes),
            issued=(*known, Issued(digest=digest, at=now))[-32:],
        )

    def answered(
        self, given: Sequence[str], quoted: Sequence[str], now: datetime, ttl: timedelta, *, message: str
    ) -> tuple[PersonStanding, CodeAnswer]:
        """Return it after a message with codes, of which these are the digests, and what the message was.

        Those `given` count as answers, one by one; those that are only `quoted` do not. A message that was
        judged and not committed comes again, with the key `message`: it is what it was.
        """
        challenge = self.open(now)
        if challenge is None:
            known = [each.digest for each in self.issued if now < each.at + _REMEMBERED]
            found = _has_match((*given, *quoted), known)
            return self, self._repeated(given, message) or CodeAnswer("withheld" if found else "none")
        if _has_match(given[: challenge.left], challenge.digests):
            return self.verified("code", now, ttl, message), CodeAnswer("verified", challenge=challenge)
        left = max(challenge.left - len(given), 0)
        if not left:
            over = Unsettled(challenge=challenge, outcome="failed", message=message)
            ended = self.replace(challenge=None, reason="attempts_exhausted", unsettled=over)
            return ended, CodeAnswer("failed", challenge=challenge)
        after = self.replace(challenge=challenge.replace(left=left))
        return after, CodeAnswer("wrong" if given else "withheld", left, challenge)

    def _repeated(self, given: Sequence[str], message: str) -> CodeAnswer | None:
        """Return the answer that ended a challenge, if this is the same one."""
        over = self.unsettled
        if over is None or over.outcome == "revoked":
            return None
        is_right = over.outcome == "verified" and _has_match(given, over.challenge.digests)
        is_same = is_right or over.message == message
        return CodeAnswer(over.outcome, challenge=over.challenge) if is_same else None

    def verified(self, method: str, now: datetime, ttl: timedelta, message: str = "") -> PersonStanding:
        """Return it as verified from now on."""
        return self.replace(
            method=method,
            verified_at=now,
            expires_at=now + ttl,
            revoked=False,
            reason="",
            challenge=None,
            unsettled=self._over("verified", message),
        )

    def ended(self, reason: str) -> PersonStanding:
        """Return it without the challenge, which nothing has answered."""
        return self.replace(challenge=None, reason=reason)

    def as_revoked(self, reason: str) -> PersonStanding:
        """Return it as revoked; a challenge is over, too."""
        return self.replace(revoked=True, reason=reason, challenge=None, unsettled=self._over("revoked"))

    def settled(self, challenge_id: str) -> PersonStanding:
        """Return it with nothing unsettled of that challenge."""
        over = self.unsettled
        return self if over is None or over.challenge.id != challenge_id else self.replace(unsettled=None)

    def _over(self, outcome: Literal["verified", "revoked"], message: str = "") -> Unsettled | None:
        challenge = self.unfinished
        if challenge is None:
            return None
        return Unsettled(challenge=challenge, outcome=outcome, message=message)


def _has_match(given: Sequence[str], known: Sequence[str]) -> bool:
    """Return whether any is among those; every pair is compared, each in constant time."""
    return sum(hmac.compare_digest(one, other) for one in given for other in known) > 0
