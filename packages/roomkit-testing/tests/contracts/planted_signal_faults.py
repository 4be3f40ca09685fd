"""A provider that shows typing and read marks, with faults, and the tests that must find each.

Not collected: `test_planted_faults.py` runs it in a process of its own. The faulty providers are under the
whole contract of their role; only the tests that are named have to fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import sleep
from typing import Any

import pytest
from planting import planted

from roomkit.abc.errors import ProviderError, code_for_status
from roomkit.models.content import TextContent
from roomkit.models.event import RoomEvent
from roomkit_plugins.testing import MockWhatsAppProvider
from roomkit_plugins.testing.contracts import WhatsAppProviderContract
from roomkit_plugins.testing.contracts.base import event


class Suite(WhatsAppProviderContract):
    """The contract of a vendor that can be told to answer with a status."""

    honours_idempotency = False

    async def sent_texts(self, provider: Any) -> Sequence[str]:
        texts: Sequence[str] = provider.texts
        return texts

    async def shown_signals(self, provider: Any) -> Sequence[tuple[str, str]]:
        return [
            ("typing", each["to"]) if "is_typing" in each else ("read", each["message_ids"][-1])
            for each in provider.signals
        ]

    @pytest.fixture
    def refusing(self, factory: Callable[[], Any]) -> Callable[[int], Any]:
        def make(status: int) -> Any:
            provider = factory()
            code = code_for_status(status)
            provider.fail_signals_with = ProviderError("no", error_code=code, provider=provider.name)
            return provider

        return make


@planted(Suite, "test_typing_lasts_as_long_as_it_says")
class ShowsItForNoTime(MockWhatsAppProvider):
    typing_seconds = 0.0


@planted(Suite, "test_typing_is_shown_to_the_recipient")
class ShowsItToAnotherPerson(MockWhatsAppProvider):
    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        await super().show_typing("+15550009999", is_typing, answering=answering)


@planted(Suite, "test_typing_is_shown_to_the_recipient")
class SendsAMessage(MockWhatsAppProvider):
    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        await super().show_typing(to, is_typing, answering=answering)
        dots: RoomEvent = event("room", content=TextContent(body="..."))
        await self.send(dots, to)


@planted(Suite, "test_typing_to_a_person_who_has_not_written_does_no_harm")
class NeedsAMessage(MockWhatsAppProvider):
    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        assert answering is not None
        await super().show_typing(to, is_typing, answering=answering)


@planted(Suite, "test_messages_are_marked_as_read")
class MarksTheOldest(MockWhatsAppProvider):
    async def mark_read(self, to: str, message_ids: Sequence[str]) -> None:
        await super().mark_read(to, message_ids[:1])


@planted(Suite, "test_a_signal_that_the_vendor_refuses_is_a_typed_error[429]")
class SwallowsRefusals(MockWhatsAppProvider):
    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        try:
            await super().show_typing(to, is_typing, answering=answering)
        except ProviderError:
            return


@planted(Suite, "test_signals_leave_nothing_behind")
class BlocksTheLoop(MockWhatsAppProvider):
    async def mark_read(self, to: str, message_ids: Sequence[str]) -> None:
        self.hold_the_loop()
        await super().mark_read(to, message_ids)

    def hold_the_loop(self) -> None:
        sleep(0.3)


@planted(Suite, "test_a_cancelled_signal_leaves_the_provider_usable")
class KeepsItsLock(MockWhatsAppProvider):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lock = asyncio.Lock()

    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        async with asyncio.timeout(1):
            await self._lock.acquire()
        await super().show_typing(to, is_typing, answering=answering)
        self._lock.release()
