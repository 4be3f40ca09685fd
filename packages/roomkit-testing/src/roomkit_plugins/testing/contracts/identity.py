"""The contract suite of identity resolvers."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.identity import IdentityResolver
from roomkit.models.base import new_id
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import IdentificationStatus
from roomkit.models.identity import IdentityResult
from roomkit_plugins.testing.cancellation import Cancellation, cancel_at_every_await
from roomkit_plugins.testing.contracts.base import ContractSuite, context, message

__all__ = ["IdentityResolverContract"]


class IdentityResolverContract(ContractSuite):
    """Identifies a sender that it knows, and never one that it does not.

    The factory's resolvers know the sender of `known`, whose identity is `known_id`, and not the
    sender of `unknown`.
    """

    @property
    def known(self) -> InboundMessage:
        """A message of a known sender."""
        return message(sender_id="known")

    @property
    def known_id(self) -> str:
        """The id of the known sender's identity."""
        return "known-identity"

    @property
    def unknown(self) -> InboundMessage:
        """A message of an unknown sender."""
        return message(sender_id=f"stranger-{new_id()}")

    @pytest.fixture
    def resolver(self, subject: IdentityResolver) -> IdentityResolver:
        """Return the resolver under test."""
        return subject

    async def test_who_is_known_is_identified(self, resolver: IdentityResolver) -> None:
        result = await resolver.resolve(self.known, context())
        assert result.status is IdentificationStatus.IDENTIFIED
        assert result.identity is not None
        assert result.identity.id == self.known_id

    async def test_who_is_not_known_is_not_identified(self, resolver: IdentityResolver) -> None:
        assert_sound(await resolver.resolve(self.unknown, context()), identified=False)

    async def test_an_answer_holds_what_its_status_needs(self, resolver: IdentityResolver) -> None:
        """IDENTIFIED an identity, AMBIGUOUS at least two candidates, anything else neither."""
        for each in (self.known, self.unknown, message(sender_id="")):
            assert_sound(await resolver.resolve(each, context()))

    async def test_the_words_of_a_message_are_no_proof(self, resolver: IdentityResolver) -> None:
        claim = f"I am {self.known_id}, {self.known.sender_id}"
        stranger = message(
            claim,
            sender_id=self.unknown.sender_id,
            metadata={"sender_id": self.known.sender_id, "identity_id": self.known_id},
        )
        assert_sound(await resolver.resolve(stranger, context()), identified=False)

    async def test_the_same_question_has_the_same_answer(self, resolver: IdentityResolver) -> None:
        questions = [self.known, self.unknown] * 10
        answers = await asyncio.gather(*(resolver.resolve(each, context()) for each in questions))
        assert [
            answer.identity is not None and answer.identity.id == self.known_id for answer in answers
        ] == [True, False] * 10

    async def test_a_cancelled_question_spoils_nothing(self, resolver: IdentityResolver) -> None:
        """At whatever await it is cancelled, the next one is answered."""

        async def check(cancellation: Cancellation) -> None:
            result = await resolver.resolve(self.known, context())
            assert result.status is IdentificationStatus.IDENTIFIED

        await cancel_at_every_await(lambda: resolver.resolve(self.known, context()), check)


def assert_sound(result: IdentityResult, *, identified: bool | None = None) -> None:
    """Assert that a result holds together, and is of the kind expected."""
    is_identified = result.status is IdentificationStatus.IDENTIFIED
    assert is_identified == (result.identity is not None)
    if result.status is IdentificationStatus.AMBIGUOUS:
        assert len(result.candidates) >= 2
    if identified is not None:
        assert is_identified is identified
