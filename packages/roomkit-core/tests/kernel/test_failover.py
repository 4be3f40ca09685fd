"""Several providers of one channel: who is asked next, who is in the ledger, and that none sends twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError, StoreUnavailableError
from roomkit.abc.sms import SMSProvider
from roomkit.authoring.transport import TransportChannel
from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models import (
    ChannelCapabilities,
    ChannelType,
    Delivery,
    DeliveryOutcome,
    DeliveryState,
    DeliveryStatus,
    ProviderResult,
    ReceiptState,
    RetryPolicy,
    RoomEvent,
    SMSHints,
    TextContent,
)
from roomkit.models.content import text_of
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import MockSMSProvider, RecordingChannel, SharedStore, VirtualClock, run_virtual

TO = {"recipient_id": "+15550001"}
QUICK = RetryPolicy(max_retries=2, base_delay_seconds=1, jitter=0)


def failing(code: ErrorCode, **options: Any) -> ProviderError:
    return ProviderError(f"planted {code}", error_code=code, **options)


async def carried(stage: Any, *providers: Any, **options: Any) -> TransportChannel:
    """Attach a channel over these providers to the room."""
    made = {name: options.pop(name) for name in ("capabilities",) if name in options}
    channel = TransportChannel("sms", ChannelType.SMS, providers=providers, **made)
    await stage.socket("alice")
    return await stage.join(channel, metadata=TO, **{"retry_policy": QUICK, **options})


async def row_of(stage: Any, text: str = "hello") -> Delivery:
    result = await stage.say(text)
    row: Delivery = (await stage.ledger(result.event))["sms"]
    return row


# -- who is asked next ----------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("code", list(ErrorCode))
async def test_the_next_is_asked_only_after_a_failure_of_the_provider_without_doubt(
    stage: Any, code: ErrorCode
) -> None:
    """Over every class of failure: it is the provider's, and the message was not taken."""
    first, second = MockSMSProvider(name="a", fail_with=failing(code)), MockSMSProvider(name="b")
    await carried(stage, first, second)
    row = await row_of(stage)

    goes_on = (code.blames_provider or code is ErrorCode.CIRCUIT_OPEN) and code.accepted is False
    assert bool(second.sent) is goes_on
    assert (row.state is DeliveryState.SENT) is goes_on
    assert row.provider == ("b" if goes_on else "a")
    if goes_on:
        assert len(first.attempts) == 1, "the failure used up no retry"


@pytest.mark.virtual_time
async def test_the_backup_is_in_the_ledger_and_its_receipt_matches(stage: Any) -> None:
    first = MockSMSProvider(name="a", fail_with=failing(ErrorCode.SERVER))
    second = MockSMSProvider(name="b")
    await carried(stage, first, second)
    row = await row_of(stage)
    status = DeliveryStatus(provider="b", message_id=row.provider_message_id, status="delivered")
    after = await stage.kit.process_delivery_status(status)

    assert (after.id, after.provider, after.receipt) == (row.id, "b", ReceiptState.DELIVERED)
    assert first.attempts[0]["idempotency_key"] == second.sent[0]["idempotency_key"] == row.id


@pytest.mark.virtual_time
async def test_a_provider_that_sends_by_another_says_which(stage: Any) -> None:
    """`ProviderResult.provider` is what the ledger has."""
    result = ProviderResult(success=True, provider_message_id="m1", provider="carrier-7")
    await carried(stage, MockSMSProvider(name="broker", script=[result]))

    assert (await row_of(stage)).provider == "carrier-7"


@pytest.mark.virtual_time
async def test_all_are_tried_before_there_is_a_pause(stage: Any) -> None:
    """A round begins with the preferred one; a failure that may pass is retried, though another may not."""
    first = MockSMSProvider(name="a", script=[failing(ErrorCode.OVERLOADED)])
    second = MockSMSProvider(name="b", fail_with=failing(ErrorCode.AUTH))
    await carried(stage, first, second)
    begun = asyncio.get_running_loop().time()
    row = await row_of(stage)

    assert (row.state, row.provider, row.attempts) == (DeliveryState.SENT, "a", 3)
    assert asyncio.get_running_loop().time() - begun == QUICK.base_delay_seconds


@pytest.mark.virtual_time
async def test_where_all_fail_for_good_the_delivery_does(stage: Any) -> None:
    providers = [MockSMSProvider(name=name, fail_with=failing(ErrorCode.QUOTA)) for name in "abc"]
    await carried(stage, *providers)
    row = await row_of(stage)

    assert (row.state, row.error.code, row.attempts) == (DeliveryState.FAILED, "quota", 3)


@pytest.mark.virtual_time
async def test_each_provider_has_a_breaker(stage: Any) -> None:
    """One that keeps failing is not asked for a minute; the next one is not blamed for it."""
    first = MockSMSProvider(name="a", fail_with=failing(ErrorCode.SERVER))
    second = MockSMSProvider(name="b")
    await carried(stage, first, second)
    for _ in range(8):
        await stage.say("hello")

    assert (len(first.attempts), len(second.sent)) == (5, 8)
    assert stage.facts("circuit_breaker_opened") == [{"provider": "a"}]
    first.fail_with = None
    await asyncio.sleep(61)
    assert (await row_of(stage)).provider == "a"
    assert stage.facts("circuit_breaker_closed") == [{"provider": "a"}]


@pytest.mark.virtual_time
async def test_while_the_store_cannot_record_a_move_there_is_none(staging: Any) -> None:
    """A worker that reclaimed the delivery could not know that another provider has it."""

    class Failing(SharedStore):
        async def complete(self, outcomes: Sequence[DeliveryOutcome], **options: Any) -> Any:
            if any(each.state is DeliveryState.PENDING for each in outcomes):
                raise StoreUnavailableError("planted")
            return await super().complete(outcomes, **options)

    async with staging(store=Failing(), single_process=True) as stage:
        first = MockSMSProvider(name="a", fail_with=failing(ErrorCode.SERVER))
        second = MockSMSProvider(name="b")
        await carried(stage, first, second)
        row = await row_of(stage)

        assert (len(first.attempts), second.attempts) == (3, [])
        assert (row.state, row.provider) == (DeliveryState.FAILED, "a")


def test_providers_are_told_apart_by_name() -> None:
    with pytest.raises(InvalidInputError, match="two providers 'a'"):
        TransportChannel(
            "sms", ChannelType.SMS, providers=[MockSMSProvider(name="a"), MockSMSProvider(name="a")]
        )
    with pytest.raises(InvalidInputError, match="provider and providers"):
        TransportChannel(
            "sms", ChannelType.SMS, provider=MockSMSProvider(), providers=[MockSMSProvider(name="b")]
        )


async def test_every_provider_is_closed_with_the_channel() -> None:
    class Stuck(MockSMSProvider):
        async def close(self) -> None:
            raise OSError("planted")

    last = MockSMSProvider(name="b")
    channel = TransportChannel("sms", ChannelType.SMS, providers=[Stuck(name="a"), last])
    with pytest.raises(OSError, match="planted"):
        await channel.close()
    assert last.closed


# -- what may have been sent ----------------------------------------------------------------------

_DOUBTFUL = [each for each in ErrorCode if each.accepted is None and each is not ErrorCode.UNKNOWN]


@pytest.mark.virtual_time
@pytest.mark.parametrize("code", _DOUBTFUL)
@pytest.mark.parametrize("several", [False, True])
async def test_a_message_that_may_be_sent_is_not_sent_again_without_a_key(
    stage: Any, code: ErrorCode, several: bool
) -> None:
    """By a vendor that does not know keys: the delivery fails, and the operator decides."""
    first, second = MockSMSProvider(name="a", script=[failing(code)]), MockSMSProvider(name="b")
    await carried(stage, *([first, second] if several else [first]))
    row = await row_of(stage)

    assert (row.state, row.error.code, row.error.retryable) == (
        DeliveryState.FAILED,
        "outcome_unknown",
        False,
    )
    assert f"whether provider 'a' took the message is unknown: planted {code}" in row.error.message
    assert (len(first.attempts), second.attempts) == (1, [])
    await stage.kit.retry_delivery(row.id)
    await stage.idle()
    assert len(first.sent) == 1


@pytest.mark.virtual_time
@pytest.mark.parametrize("code", [each for each in _DOUBTFUL if each.retryable])
async def test_a_message_that_may_be_sent_is_sent_again_under_its_key(stage: Any, code: ErrorCode) -> None:
    """By the same provider, though the next failure would allow another one."""
    script = [failing(code), failing(ErrorCode.SERVER)]
    first, second = MockSMSProvider(name="a", idempotent=True, script=script), MockSMSProvider(name="b")
    await carried(stage, first, second)
    row = await row_of(stage)

    assert (row.state, row.provider) == (DeliveryState.SENT, "a")
    assert {send["idempotency_key"] for send in first.attempts} == {row.id}
    assert second.attempts == []


@pytest.mark.virtual_time
async def test_a_doubt_that_no_retry_resolves_stays_one(stage: Any) -> None:
    script = [failing(ErrorCode.TIMEOUT)]
    first = MockSMSProvider(name="a", idempotent=True, script=script, fail_with=failing(ErrorCode.SERVER))
    await carried(stage, first)

    assert (await row_of(stage)).error.code == "outcome_unknown"


class Vendor(SMSProvider):
    """Takes messages, and answers or not as the fates say, one for each send; `killed` is called for some."""

    def __init__(self, name: str, *, idempotent: bool, fates: Any, killed: Any) -> None:
        self._name = name
        self.idempotent = idempotent
        self._fates = fates
        self._killed = killed
        self.taken: list[str] = []  # bound: one test

    @property
    def name(self) -> str:
        return self._name

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: SMSHints | None = None,
    ) -> ProviderResult:
        fate = next(self._fates, "answered")
        if fate == "refused":
            raise failing(ErrorCode.SERVER)
        if fate in ("answered", "taken in silence", "taken, then killed"):
            self._take(f"{idempotency_key}")
        if "killed" in fate:
            self._killed()
            await asyncio.Event().wait()
        if fate != "answered":
            raise failing(ErrorCode.TIMEOUT)
        return ProviderResult(success=True, provider_message_id=f"{self._name}-{idempotency_key}")

    def _take(self, key: str) -> None:
        if not (self.idempotent and key in self.taken):
            self.taken.append(key)


FATES = ("answered", "refused", "lost on the way", "taken in silence", "killed", "taken, then killed")


class Workers:
    """A worker that is replaced by another when it is killed, over one store and the same vendors."""

    def __init__(self, fates: Sequence[str], idempotent: tuple[bool, bool]) -> None:
        self.store, self.locks, self.realtime = SharedStore(), InMemoryLockManager(), InMemoryRealtime()
        self.deaths = asyncio.Queue[None]()
        steps = iter(fates)
        self.vendors = [
            Vendor(name, idempotent=each, fates=steps, killed=lambda: self.deaths.put_nowait(None))
            for name, each in zip("ab", idempotent, strict=True)
        ]

    async def start(self) -> RoomKit:
        kit = RoomKit(
            store=self.store,
            lock_manager=self.locks,
            realtime=self.realtime,
            single_process=True,
            clock=VirtualClock(),
            plugins=_NO_PLUGINS,
            lease_seconds=9,
            max_claims=20,
            retry_policy=QUICK,
        )
        kit.register_channel(RecordingChannel("alice"))
        most = ChannelCapabilities(max_length=5)
        sms = TransportChannel("sms", ChannelType.SMS, providers=self.vendors, capabilities=most)
        kit.register_channel(sms)
        await kit.start()
        return kit

    async def kill(self, kit: RoomKit) -> None:
        """End a worker as SIGKILL would: nothing is said, written or given back."""
        kernel = kit._kernel
        kernel.outcomes.ledger._rows.clear()
        kernel.outcomes.ledger._timers.clear()
        kernel.ground.supervisor.start = kernel.ground.supervisor.serve = lambda work, *_, **__: work.close()
        for task in [*kernel.ground.supervisor._services, *kernel.ground.supervisor._tasks]:
            task.cancel()
        await asyncio.sleep(0)

    async def deliver(self, text: str) -> Delivery:
        """Send one message, with a new worker after each death; return its row at the end."""
        kit = await self.start()
        await kit.create_room("r1")
        await kit.attach_channel("r1", "sms", metadata=TO)
        await kit.send_event("r1", "system", TextContent(body=text), wait="committed")
        while True:
            (row,) = await self.store.list_deliveries("r1", channel_id="sms")
            if row.state is not DeliveryState.PENDING:
                await kit.close()
                return row
            try:
                async with asyncio.timeout(5):
                    await self.deaths.get()
            except TimeoutError:
                continue
            await self.kill(kit)
            kit = await self.start()


_NO_PLUGINS = PluginManager(entry_points=())
_NO_PLUGINS.scan()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    fates=st.lists(st.sampled_from(FATES), max_size=6),
    idempotent=st.tuples(st.booleans(), st.booleans()),
    parts=st.integers(1, 3),
)
def test_no_two_providers_ever_have_one_message(
    fates: list[str], idempotent: tuple[bool, bool], parts: int
) -> None:
    """Whatever each send meets, and wherever the worker is killed; the ledger says who has it.

    A vendor that knows keys has each part once; one that does not gets it again only after a kill, of which
    nothing can be known.
    """
    text = " ".join(("one", "two", "three")[:parts])

    async def run() -> None:
        workers = Workers(fates, idempotent)
        row = await workers.deliver(text)
        having = [vendor for vendor in workers.vendors if vendor.taken]
        assert len(having) <= 1, [vendor.taken for vendor in having]
        killed = any("killed" in fate for fate in fates)
        for vendor in having:
            assert vendor.name == row.provider
            if vendor.idempotent or not killed:
                assert len(set(vendor.taken)) == len(vendor.taken) <= parts
        if row.state is DeliveryState.SENT:
            assert len(row.message_ids) == parts == len(set(having[0].taken))
            assert row.error is None
        else:
            assert row.state is DeliveryState.FAILED
            if len(set(having[0].taken) if having else ()) > row.sent_parts:
                assert row.error.code == "outcome_unknown"

    run_virtual(run())


# -- parts ----------------------------------------------------------------------------------------


async def split(stage: Any, *providers: Any) -> TransportChannel:
    return await carried(stage, *providers, capabilities=ChannelCapabilities(max_length=5))


@pytest.mark.virtual_time
async def test_a_retry_resumes_at_the_first_part_that_was_not_sent(stage: Any) -> None:
    """Each part has a key of its own; the row has the ids of all, in their order."""
    provider = MockSMSProvider(name="a", script=[None, failing(ErrorCode.INVALID_REQUEST)])
    await split(stage, provider)
    result = await stage.say("one two three")
    row = (await stage.ledger(result.event))["sms"]

    assert (row.state, row.sent_parts, len(row.message_ids)) == (DeliveryState.FAILED, 1, 1)
    assert result.delivery_results["sms"].partial
    assert provider.texts == ["one"]
    first_id = row.provider_message_id
    await stage.kit.retry_delivery(row.id)
    await stage.idle()
    row = (await stage.ledger(result.event))["sms"]

    assert provider.texts == ["one", "two", "three"]
    assert (row.state, row.sent_parts, row.provider_message_id) == (DeliveryState.SENT, 3, first_id)
    keys = [send["idempotency_key"] for send in provider.sent]
    assert keys == [row.id, f"{row.id}:1", f"{row.id}:2"]


@pytest.mark.virtual_time
async def test_the_parts_of_one_message_go_by_one_provider(stage: Any) -> None:
    """A failure between them is retried there: a receipt of each part must find the row."""
    first = MockSMSProvider(name="a", script=[None, failing(ErrorCode.SERVER)])
    second = MockSMSProvider(name="b")
    await split(stage, first, second)
    row = await row_of(stage, "one two")

    assert (first.texts, second.attempts, row.provider) == (["one", "two"], [], "a")


@pytest.mark.virtual_time
async def test_receipts_of_parts_are_matched_while_others_wait(stage: Any) -> None:
    """The whole stands at its lowest part; a mix with a failure is `partial`."""
    provider = MockSMSProvider(name="a")
    await split(stage, provider)
    row = await row_of(stage, "one two three")
    seen = []
    for message_id, word in zip(row.message_ids, ("delivered", "sent", "failed"), strict=True):
        status = DeliveryStatus(provider="a", message_id=message_id, status=word)
        seen.append((await stage.kit.process_delivery_status(status)).receipt)

    assert seen == [None, None, ReceiptState.PARTIAL]


@pytest.mark.virtual_time
async def test_how_far_a_split_message_has_come_survives_its_worker() -> None:
    """Recorded after each part but the last; the next worker goes on after them."""
    workers = Workers(["answered", "killed"], (False, False))
    row = await workers.deliver("one two three")

    assert (row.state, row.sent_parts) == (DeliveryState.SENT, 3)
    assert workers.vendors[0].taken == [row.id, f"{row.id}:1", f"{row.id}:2"]
    event = await workers.store.get_event(row.event_id)
    assert text_of(event.content) == "one two three"
