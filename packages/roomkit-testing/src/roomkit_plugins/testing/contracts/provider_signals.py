"""What providers promise that show typing and read marks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.provider import MarksRead, Provider, ShowsTyping
from roomkit_plugins.testing.blocking import assert_loop_stays_free
from roomkit_plugins.testing.cancellation import Cancellation, cancel_at_every_await
from roomkit_plugins.testing.contracts.base import PATIENCE, close, make, unsaid
from roomkit_plugins.testing.contracts.life import ProviderLifeContract
from roomkit_plugins.testing.leaks import assert_nothing_leaks

__all__ = ["ProviderSignalsContract"]

type Show = Callable[[Any], Coroutine[Any, Any, None]]


class ProviderSignalsContract(ProviderLifeContract):
    """Tests of `show_typing` and `mark_read`; a provider that has neither is passed over.

    Nothing waits for these calls and none is repeated, so that their failures have to be typed, and they may
    be cancelled at any await.
    """

    @property
    def recipient(self) -> str:
        """An address the vendor accepts."""
        raise unsaid(self, "recipient", "an address that the vendor accepts")

    async def shown_signals(self, provider: Any) -> Sequence[tuple[str, str]]:
        """Return what the vendor was asked to show so far, oldest first.

        Each is ("typing", the recipient) or ("read", the id of the newest message that is read). Ask the
        vendor's side (the simulator), not the provider.
        """
        raise unsaid(self, "shown_signals", "what the vendor was asked to show")

    async def inbound_id(self, provider: Any) -> str:
        """Return the vendor's id of a message that came from the recipient; by default of one made up."""
        return "message-1"

    @pytest.fixture
    def refusing(self) -> Callable[[int], Any] | None:
        """Return a function from an HTTP status to a provider whose vendor answers every request with it.

        A vendor that does not speak HTTP leaves it at None.
        """
        return None

    async def test_typing_lasts_as_long_as_it_says(self, provider: Any) -> None:
        """For some seconds: the kit repeats the call before they pass."""
        _check_typing(provider)
        assert 0 < provider.typing_seconds < math.inf

    async def test_typing_is_shown_to_the_recipient(self, provider: Any) -> None:
        """To begin, and to end it where the vendor can; neither is a message."""
        _check_typing(provider)
        answering = await self.inbound_id(provider)
        await provider.show_typing(self.recipient, True, answering=answering)
        assert ("typing", self.recipient) in await self.shown_signals(provider)
        await provider.show_typing(self.recipient, False, answering=answering)
        assert list(await self.sent_texts(provider)) == []

    async def test_typing_to_a_person_who_has_not_written_does_no_harm(self, provider: Any) -> None:
        """A vendor that needs a message to answer is not asked without one."""
        _check_typing(provider)
        for is_typing in (True, False):
            await provider.show_typing(self.recipient, is_typing, answering=None)

    async def test_messages_are_marked_as_read(self, provider: Any) -> None:
        """One, and several of which the newest is the last."""
        _check_reading(provider)
        newest = await self.inbound_id(provider)
        await provider.mark_read(self.recipient, [newest])
        assert list(await self.shown_signals(provider))[-1] == ("read", newest)
        await provider.mark_read(self.recipient, [f"{newest}-older", newest])
        assert list(await self.shown_signals(provider))[-1] == ("read", newest)
        assert list(await self.sent_texts(provider)) == []

    @pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
    async def test_a_signal_that_the_vendor_refuses_is_a_typed_error(
        self, refusing: Callable[[int], Any] | None, status: int
    ) -> None:
        """By which the kit knows for how long to leave the vendor alone; no secret is in it."""
        provider = None if refusing is None else await make(lambda: refusing(status))
        if provider is None:
            pytest.skip("the vendor does not answer with an HTTP status")
        for show in await self._signals(provider):
            with pytest.raises(ProviderError) as caught:
                await show(provider)
            error = caught.value
            assert error.provider == provider.name
            assert error.error_code is not ErrorCode.UNKNOWN
            assert (error.error_code is ErrorCode.RATE_LIMIT) is (status == 429)
            assert not any(secret in f"{error!r} {error} {vars(error)}" for secret in self.secrets)
        await close(provider)

    async def test_a_signal_to_a_vendor_that_is_not_reached_is_a_typed_error(
        self, unreachable: Callable[[], Any] | None
    ) -> None:
        """The failure is the provider's."""
        provider = None if unreachable is None else await make(unreachable)
        if provider is None:
            pytest.skip("the vendor is not reached by a connection")
        for show in await self._signals(provider):
            with pytest.raises(ProviderError) as caught:
                await show(provider)
            assert caught.value.error_code.blames_provider
        await close(provider)

    async def test_a_cancelled_signal_leaves_the_provider_usable(
        self, factory: Callable[[], Provider | Awaitable[Provider]]
    ) -> None:
        """At whatever await it is cancelled: the next one is shown."""
        provider = await make(factory)
        for show in await self._signals(provider):

            async def check(_cancellation: Cancellation, show: Show = show) -> None:
                async with asyncio.timeout(PATIENCE):
                    await show(provider)

            await cancel_at_every_await(lambda show=show: show(provider), check)  # type: ignore[misc]  # a default
        await close(provider)

    async def test_signals_leave_nothing_behind(self, provider: Any) -> None:
        """No task, thread or descriptor for each; and they do not block the loop."""
        for show in await self._signals(provider):
            await show(provider)  # loading at first use may take long
            await assert_loop_stays_free(lambda show=show: show(provider))  # type: ignore[misc]  # a default
            await assert_nothing_leaks(lambda show=show: show(provider), cycles=10)  # type: ignore[misc]  # a default

    async def _signals(self, provider: Any) -> list[Show]:
        """Return a call of each signal that the provider shows; skips one that shows none."""
        message_id = await self.inbound_id(provider) if _shows_any(provider) else ""

        async def typing(shown_by: Any) -> None:
            await shown_by.show_typing(self.recipient, True, answering=message_id)

        async def reading(shown_by: Any) -> None:
            await shown_by.mark_read(self.recipient, [message_id])

        found: list[Show] = [typing] if isinstance(provider, ShowsTyping) else []
        if isinstance(provider, MarksRead):
            found.append(reading)
        if not found:
            pytest.skip("the vendor shows neither typing nor read marks")
        return found

    async def sent_texts(self, provider: Any) -> Sequence[str]:
        """Return the texts of the messages that the vendor was given so far: see `ProviderContract`."""
        raise unsaid(self, "sent_texts", "what the vendor was given")


def _shows_any(provider: Any) -> bool:
    return isinstance(provider, ShowsTyping | MarksRead)


def _check_typing(provider: Any) -> None:
    if not isinstance(provider, ShowsTyping):
        pytest.skip("the vendor does not show typing")


def _check_reading(provider: Any) -> None:
    if not isinstance(provider, MarksRead):
        pytest.skip("the vendor does not show read marks")
