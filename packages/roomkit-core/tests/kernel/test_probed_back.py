"""What a list of providers promises, clause by clause; each clause fails where its mechanism is broken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.authoring.transport import TransportChannel
from roomkit.kernel.delivery import failover
from roomkit.kernel.delivery.breaker import CircuitBreaker
from roomkit.kernel.delivery.failover import Failover
from roomkit.kernel.delivery.pacing import Pacing
from roomkit.kernel.delivery.receipts import Receipts
from roomkit.models import ChannelType, Delivery, DeliveryState, DeliveryStatus, ReceiptState, TextContent
from roomkit_plugins.testing import MockSMSProvider

pytestmark = pytest.mark.virtual_time
ROOMS = 12
OPENING = 5
"""Failures in a row that open a circuit."""

type Clause = Callable[[Any], Coroutine[Any, Any, None]]
type Fault = Callable[[pytest.MonkeyPatch], None]


class SlowProvider(MockSMSProvider):
    """A mock that answers after `seconds`."""

    seconds = 0.0

    async def send(self, *args: Any, **options: Any) -> Any:
        await asyncio.sleep(self.seconds)
        return await super().send(*args, **options)


def failing(code: ErrorCode, **options: Any) -> ProviderError:
    return ProviderError(f"planted {code}", error_code=code, **options)


async def attached(stage: Any, *providers: MockSMSProvider) -> None:
    """Attach one channel to rooms of one recipient each: deliveries to them do not wait for each other."""
    stage.kit.register_channel(TransportChannel("sms", ChannelType.SMS, providers=providers))
    for number in range(ROOMS):
        await stage.kit.create_room(f"room{number}")
        await stage.kit.attach_channel(
            f"room{number}", "sms", metadata={"recipient_id": f"+155500{number:02}"}
        )


async def sent(stage: Any, number: int = 0) -> Delivery:
    event = await stage.kit.send_event(f"room{number}", "system", TextContent(body="hello"))
    rows = await stage.kit.list_deliveries(f"room{number}")
    return next(row for row in rows if row.event_id == event.id)


async def opened(stage: Any, provider: MockSMSProvider, code: ErrorCode = ErrorCode.SERVER) -> None:
    """Have a provider fail until its circuit is open."""
    provider.fail_with = failing(code)
    for _ in range(OPENING):
        await sent(stage)
    provider.fail_with = None
    assert stage.facts("circuit_breaker_opened")[-1] == {"provider": provider.name}


# -- the clauses ----------------------------------------------------------------------------------


async def a_failing_provider_is_left_by_class(stage: Any) -> None:
    first, second = MockSMSProvider(name="a"), MockSMSProvider(name="b")
    await attached(stage, first, second)
    rows = []
    for code in (ErrorCode.AUTH, ErrorCode.INVALID_RECIPIENT):
        first.fail_with = failing(code)
        rows.append(await sent(stage))

    assert [(row.state, row.provider) for row in rows] == [
        (DeliveryState.SENT, "b"),
        (DeliveryState.FAILED, "a"),
    ]


async def it_is_probed_once_and_is_back(stage: Any) -> None:
    first, second = SlowProvider(name="a"), MockSMSProvider(name="b")
    await attached(stage, first, second)
    await opened(stage, first)
    first.seconds = 5
    await asyncio.sleep(59)
    assert (await sent(stage)).provider == "b"
    await asyncio.sleep(1)
    rows = await asyncio.gather(*(sent(stage, number) for number in range(ROOMS)))

    assert sorted(row.provider for row in rows) == ["a", *["b"] * (ROOMS - 1)]
    assert len(first.sent) == 1, "more than one message was risked on it"
    assert stage.facts("circuit_breaker_closed") == [{"provider": "a"}]
    rows = await asyncio.gather(*(sent(stage, number) for number in range(ROOMS)))
    assert {row.provider for row in rows} == {"a"}


async def a_probe_that_fails_keeps_it_out(stage: Any) -> None:
    first, second = MockSMSProvider(name="a"), MockSMSProvider(name="b")
    await attached(stage, first, second)
    await opened(stage, first)
    await asyncio.sleep(60)
    first.fail_with = failing(ErrorCode.SERVER)
    rows = [await sent(stage) for _ in range(3)]

    assert [row.provider for row in rows] == ["b"] * 3
    assert (len(first.attempts), first.sent) == (OPENING + 1, [])
    assert stage.facts("circuit_breaker_closed") == []


async def a_message_is_never_with_two(stage: Any) -> None:
    first, second = MockSMSProvider(name="a"), MockSMSProvider(name="b")
    await attached(stage, first, second)
    for code in (ErrorCode.TIMEOUT, ErrorCode.CONNECTION, ErrorCode.BAD_RESPONSE):
        first.fail_with = failing(code)
        row = await sent(stage)
        assert second.attempts == []
        assert (row.state, row.provider, row.error.code) == (DeliveryState.FAILED, "a", "outcome_unknown")


async def a_late_receipt_finds_its_attempt(stage: Any) -> None:
    first, second = MockSMSProvider(name="a"), MockSMSProvider(name="b")
    await attached(stage, first, second)
    before = await sent(stage)
    await opened(stage, first)
    after = await sent(stage)
    late = DeliveryStatus(
        provider="a", channel_id="sms", message_id=before.provider_message_id, status="undelivered"
    )
    found = await stage.kit.process_delivery_status(late)

    assert (before.provider, after.provider) == ("a", "b")
    assert found is not None
    assert (found.id, found.receipt) == (before.id, ReceiptState.UNDELIVERED)
    rows = await stage.kit.list_deliveries("room0")
    assert [row.receipt for row in rows if row.id != before.id] == [None] * (len(rows) - 1)


async def a_slow_probe_costs_no_other_message(stage: Any) -> None:
    """Longer than all retries together: the messages wait for what becomes of it."""
    only = SlowProvider(name="a")
    await attached(stage, only)
    await opened_alone(stage, only)
    await asyncio.sleep(60)
    only.seconds = 25
    rows = await asyncio.gather(*(sent(stage, number) for number in range(ROOMS)))

    assert [(row.state, row.attempts) for row in rows] == [(DeliveryState.SENT, 1)] * ROOMS
    assert len(only.sent) == ROOMS


async def opened_alone(stage: Any, provider: MockSMSProvider) -> None:
    """Have a channel's only provider fail in several rooms at once, whose retries do not wait."""
    provider.fail_with = failing(ErrorCode.AUTH)
    await asyncio.gather(*(sent(stage, number) for number in range(OPENING)))
    provider.fail_with = None
    assert stage.facts("circuit_breaker_opened") == [{"provider": "a"}]


async def a_round_begins_when_the_first_of_them_allows(stage: Any) -> None:
    """Not when the one that was asked last does."""
    first, second = MockSMSProvider(name="a"), MockSMSProvider(name="b")
    await attached(stage, first, second)
    await opened(stage, first)
    await asyncio.sleep(40)
    second.fail_with = failing(ErrorCode.OVERLOADED, retry_after=50)
    begun = asyncio.get_running_loop().time()
    row = await sent(stage)

    assert (row.state, row.provider, len(second.attempts)) == (DeliveryState.SENT, "a", OPENING + 1)
    assert asyncio.get_running_loop().time() - begun == pytest.approx(20)


# -- the faults that each of them sees --------------------------------------------------------------


def _changed(owner: Any, name: str, value: Any) -> Fault:
    return lambda patch: patch.setattr(owner, name, value)


def _asks_all(self: CircuitBreaker) -> bool:
    return self._opened_at is None or self.retry_after == 0


def _closes_after_a_probe(self: CircuitBreaker) -> bool:
    if self.probe is not None:
        self.reset()
        return False
    return _RECORD_FAILURE(self)


_RECORD_FAILURE = CircuitBreaker.record_failure


async def _ignores_the_probe(self: Pacing, binding: Any, seconds: float, until: Any = None) -> bool:
    if until is None:
        await asyncio.sleep(seconds)
    return False


SEEN: list[tuple[Clause, str, Fault]] = [
    (
        a_failing_provider_is_left_by_class,
        "any failure is the provider's",
        _changed(failover, "_is_providers", lambda code: True),
    ),
    (
        a_failing_provider_is_left_by_class,
        "no failure is the provider's",
        _changed(failover, "_is_providers", lambda code: False),
    ),
    (
        it_is_probed_once_and_is_back,
        "the breaker never closes",
        _changed(CircuitBreaker, "record_success", lambda self: False),
    ),
    (
        it_is_probed_once_and_is_back,
        "no probe ever goes out",
        _changed(CircuitBreaker, "allow_request", lambda self: self.is_closed),
    ),
    (
        it_is_probed_once_and_is_back,
        "each delivery is a probe",
        _changed(CircuitBreaker, "allow_request", _asks_all),
    ),
    (
        a_probe_that_fails_keeps_it_out,
        "a failed probe closes the breaker",
        _changed(CircuitBreaker, "record_failure", _closes_after_a_probe),
    ),
    (
        a_message_is_never_with_two,
        "a vendor that did not answer counts as one that refused",
        _changed(ErrorCode, "accepted", property(lambda self: False)),
    ),
    (
        a_late_receipt_finds_its_attempt,
        "receipts are for the provider in use",
        _changed(Receipts, "_with_provider", lambda self, status: status.replace(provider="b")),
    ),
    (
        a_round_begins_when_the_first_of_them_allows,
        "the last failure decides when",
        _changed(Failover, "end_round", lambda self, error: error),
    ),
    (
        a_slow_probe_costs_no_other_message,
        "a probe is not waited for",
        _changed(Pacing, "sit_out", _ignores_the_probe),
    ),
]
CLAUSES = list(dict.fromkeys(clause for clause, *_ in SEEN))


@pytest.mark.parametrize("clause", CLAUSES)
async def test_each_clause_holds_for_a_list_of_providers(stage: Any, clause: Clause) -> None:
    await clause(stage)


@pytest.mark.parametrize(("clause", "fault", "plant"), SEEN)
async def test_a_planted_fault_is_seen(
    stage: Any, monkeypatch: pytest.MonkeyPatch, clause: Clause, fault: str, plant: Fault
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        await clause(stage)
