"""Answers that are prepared to a message before it is certain, for the owners of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, override

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.services.turns import Speculation
from roomkit.kernel.flow.context import RECENT_EVENTS

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.speculations import Speculations
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.flow.speculation import HeldAnswers
    from roomkit.kernel.inbound.pipeline import Inbound, Wait
    from roomkit.models.delivery import InboundMessage, InboundResult

__all__ = ["KitSpeculation", "Speculator"]


class KitSpeculation(Speculation):
    """The answers that are held for one message, until it is taken in."""

    def __init__(
        self,
        room_id: str,
        channel_id: str,
        held: HeldAnswers | None,
        *,
        inbound: Inbound,
        speculations: Speculations,
    ) -> None:
        self._room_id = room_id
        self._channel_id = channel_id
        self._held = held
        self._inbound = inbound
        self._speculations = speculations
        self._is_confirmed = False

    @property
    @override
    def withdrawn(self) -> str | None:
        if self._held is None:
            return "not_prepared"
        return None if self._held.is_released else self._held.ended

    @override
    async def confirm(self, message: InboundMessage, *, wait: Wait = "committed") -> InboundResult:
        if message.channel_id != self._channel_id:
            raise InvalidInputError(
                f"a speculation of channel {self._channel_id!r} cannot be confirmed by a message of "
                f"{message.channel_id!r}: confirm it with the message that it was made for"
            )
        if self._is_confirmed:
            raise InvalidInputError(
                f"the speculation of channel {self._channel_id!r} in room {self._room_id!r} is confirmed "
                "already: take further messages in with inbox.receive"
            )
        self._is_confirmed = True
        held = self._held
        try:
            return await self._inbound.process(message, self._room_id, wait, speculated=held)
        finally:
            if held is not None:
                self._speculations.withdraw(held, "not_committed")

    @override
    async def withdraw(self) -> None:
        if self._held is not None and not self._is_confirmed:
            self._speculations.withdraw(self._held, "withdrawn")
            await self._held.over()


class Speculator:
    """Judges a message that is not taken in, and has the answers to it prepared."""

    def __init__(
        self, *, store: ConversationStore, inbound: Inbound, writer: Writer, speculations: Speculations
    ) -> None:
        self._store = store
        self._inbound = inbound
        self._writer = writer
        self._speculations = speculations

    async def speculate(self, room_id: str, message: InboundMessage) -> Speculation:
        """Begin a speculation; it holds nothing where nothing can be prepared."""
        return KitSpeculation(
            room_id,
            message.channel_id,
            await self._held(room_id, message),
            inbound=self._inbound,
            speculations=self._speculations,
        )

    async def _held(self, room_id: str, message: InboundMessage) -> HeldAnswers | None:
        rehearsed = await self._inbound.rehearse(message, room_id)
        if rehearsed is None:
            return None
        draft, version, index = rehearsed
        attempt = await self._writer.rehearse(draft, version)
        if attempt is None:
            return None
        record = await self._store.load(room_id, recent=RECENT_EVENTS)
        if record is None or (record.version, record.room.latest_index) != (version, index):
            return None  # changed while the gates judged
        event = attempt.event.replace(index=index + 1)
        return await self._speculations.begin(message.channel_id, event, attempt.targets, record, version)
