"""Outcomes that the store refuses: each by itself, and no other room suffers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, override

import pytest

from roomkit.abc import errors
from roomkit.abc.errors import InvalidInputError, RoomKitError, StoreError
from roomkit.abc.store import Commit, Committed, Completed, Entry
from roomkit.kernel.runtime.lease import is_outcome_unknown
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelOutput
from roomkit.models.delivery import Delivery, DeliveryOutcome, ProviderResult
from roomkit.models.enums import DeliveryState
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time

KINDS = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, RoomKitError) and not issubclass(each, BaseExceptionGroup)
]


class Choosy(InMemoryStore):
    """Outlives its workers, and refuses an outcome for what a vendor said of it, whatever goes with it."""

    write_delay = 0.5
    refuses: Callable[[DeliveryOutcome], bool] = staticmethod(lambda row: row.provider_message_id is not None)

    @property
    def is_process_local(self) -> bool:
        return False

    def _refuse(self, rows: Sequence[DeliveryOutcome]) -> None:
        if any(map(self.refuses, rows)):
            raise InvalidInputError("an outcome cannot be stored; nothing was stored")

    @override
    async def commit(self, commit: Commit) -> Committed:
        self._refuse(commit.completed)
        return await super().commit(commit)

    @override
    async def complete(self, outcomes: Sequence[DeliveryOutcome], **options: Any) -> Completed:
        self._refuse(outcomes)
        return await super().complete(outcomes, **options)


async def _say_in_two_rooms(stage: Any) -> list[Delivery]:
    """Say something in two rooms, the vendor of one of which answers with an id; return all rows."""
    said = ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id="id"))
    await stage.socket("alice")
    await stage.open("r2")
    for name, script in (("good", []), ("bad", [said] * 3)):
        await stage.join(RecordingChannel(name, script=script), "r1" if name == "good" else "r2")
    await stage.kit.attach_channel("r2", "alice")
    for room_id in ("r2", "r1", "r1", "r2", "r1"):
        assert (await stage.say("hello", room=room_id)).event is not None
    await asyncio.sleep(2)
    return [*await stage.kit.list_deliveries("r1"), *await stage.kit.list_deliveries("r2")]


async def test_a_refused_outcome_is_stored_without_what_was_refused(staging: Callable[..., Any]) -> None:
    """Other rooms' commits and outcomes go on, nothing is sent again, and it is reported."""
    async with staging(store=Choosy(), single_process=True, lease_seconds=9) as stage:
        rows = await _say_in_two_rooms(stage)
        assert [row.state for row in rows] == [DeliveryState.SENT] * 5
        assert all(row.provider_message_id is None for row in rows)
        told = [each for each in stage.told if each.type == "delivery_outcome_repaired"]
        assert [(each.room_id, each.data["state"]) for each in told] == [("r2", "sent")] * 2
        assert not [each for each in stage.told if each.type == "delivery_outcome_refused"]


async def test_an_outcome_that_is_refused_in_any_form_is_reported(staging: Callable[..., Any]) -> None:
    """Its row stays pending while the store refuses it; the others are written."""
    store = Choosy()
    store.refuses = lambda row: row.channel_id == "bad"  # type: ignore[method-assign]
    async with staging(store=store, single_process=True, lease_seconds=9) as stage:
        rows = await _say_in_two_rooms(stage)
        states = {row.channel_id: row.state for row in rows}
        assert states == {"good": DeliveryState.SENT, "bad": DeliveryState.PENDING}
        told = [each.event_id for each in stage.told if each.type == "delivery_outcome_refused"]
        assert len(set(told)) == 2


@pytest.mark.parametrize("write_delay", [0.0, 0.5])
async def test_an_outcome_that_was_refused_is_written_once_the_store_takes_it(
    staging: Callable[..., Any], write_delay: float
) -> None:
    """With growing pauses, for that outcome alone; the delivery is not made again, and is reported once."""
    store, refusals = Choosy(), []

    def refuses(row: DeliveryOutcome) -> bool:
        if row.channel_id == "bad" and len(refusals) < 30:
            refusals.append(asyncio.get_running_loop().time())
            return True
        return False

    store.refuses = refuses  # type: ignore[method-assign]
    store.write_delay = write_delay
    async with staging(store=store, single_process=True, lease_seconds=9) as stage:
        rows = await _say_in_two_rooms(stage)
        assert {row.channel_id: row.state for row in rows}["bad"] is DeliveryState.PENDING
        await asyncio.sleep(120)
        rows = [*await stage.kit.list_deliveries("r1"), *await stage.kit.list_deliveries("r2")]
        assert [row.state for row in rows] == [DeliveryState.SENT] * 5
        assert len(stage.kit.channels["bad"].delivered) == 2
        assert len([each for each in stage.told if each.type == "delivery_outcome_refused"]) == 2
        pauses = sorted({round(b - a) for a, b in pairwise(refusals) if b - a >= 1})
        assert pauses[:2] == [1, 2]


async def test_outcomes_that_stay_refused_do_not_hold_up_closing(staging: Callable[..., Any]) -> None:
    store = Choosy()
    store.refuses = lambda row: row.channel_id == "bad"  # type: ignore[method-assign]
    async with staging(store=store, single_process=True, lease_seconds=9) as stage:
        await _say_in_two_rooms(stage)
        before = asyncio.get_running_loop().time()
        await stage.kit.close()
        assert asyncio.get_running_loop().time() - before < 1


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_write_of_unknown_outcome_costs_the_lease(kind: type[RoomKitError]) -> None:
    """A refusal, a wrong plan, a full disk: nothing was written, so no other lane has to start over."""
    unknown = {"StoreError", "StoreUnavailableError", "StoreCorruptError"}
    error = kind.__new__(kind)
    assert is_outcome_unknown(error) is (kind.__name__ in unknown)


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), TimeoutError(), asyncio.CancelledError(), StoreError("x")]
)
def test_what_foreign_code_raises_leaves_the_outcome_unknown(error: BaseException) -> None:
    """It may have come after the write."""
    assert is_outcome_unknown(error)


async def test_a_room_that_cannot_be_read_holds_up_no_other_reclaim(staging: Callable[..., Any]) -> None:
    """Abandoned deliveries of the other rooms are carried out."""

    class Damaged(Choosy):
        refuses = staticmethod(lambda row: False)
        broken: str | None = None

        async def load(self, room_id: str, **options: Any) -> Any:
            if room_id == self.broken:
                raise StoreError(f"a stored record of room {room_id!r} cannot be read")
            return await super().load(room_id, **options)

    store = Damaged()
    dead = await store.open_lease(1.0)
    async with staging(store=store, single_process=True, lease_seconds=9) as stage:
        await _say_in_two_rooms(stage)
        for room_id in ("r1", "r2"):
            event = (await store.list_events(room_id, limit=1))[0].replace(id=f"of {room_id}", index=-1)
            target = "good" if room_id == "r1" else "bad"
            await store.commit(
                Commit(room_id=room_id, entries=[Entry(event, [target])], at=event.created_at, worker_id=dead)
            )
        store.broken = "r1"
        await asyncio.sleep(60)
        row = await store.get_delivery("of r2:bad")
        assert row is not None
        assert row.state is DeliveryState.SENT
