"""Webhooks: the answer, and the data stored by then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, override

import pytest

from roomkit.abc.errors import (
    InvalidInputError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
    WebhookRejected,
)
from roomkit.authoring.transport import TransportChannel
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelBinding, ChannelOutput, RateLimit
from roomkit.models.content import TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage, ProviderResult
from roomkit.models.enums import (
    Access,
    ChannelDirection,
    ChannelType,
    EphemeralEventType,
    HookTrigger,
    ReceiptState,
)
from roomkit.models.hook import HookResult
from roomkit.models.invoke import Invoke, InvokeAnswer, WebhookInvoke
from roomkit.models.realtime import EphemeralEvent
from roomkit.models.webhook import UnparsedPart, WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing import MockSMSProvider, RecordingChannel

pytestmark = pytest.mark.virtual_time

REQUEST = WebhookRequest(method="POST", url="https://example.org/hook", headers={}, body=b"{}")


def message(text: str = "hello", **fields: Any) -> InboundMessage:
    given = {"channel_id": "sms", "sender_id": "+1", "idempotency_key": text, **fields}
    return InboundMessage(content=TextContent(body=text), **given)


class Vendor:
    """A provider whose requests say what a test puts in, or fail as it says."""

    name = "acme"

    def __init__(self, *parts: Any, name: str = "acme") -> None:
        self.parts: Any = list(parts)
        self.name = name

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[Any]:
        if isinstance(self.parts, BaseException):
            raise self.parts
        return self.parts() if callable(self.parts) else self.parts


class Phones(RecordingChannel):
    """A channel with vendors."""

    def __init__(self, *vendors: Vendor) -> None:
        super().__init__("sms")
        self.vendors = vendors

    @override
    def webhooks(self) -> Mapping[str, Any]:
        return {vendor.name: vendor for vendor in self.vendors}


class FailingStore(InMemoryStore):
    """A store that commits so many events, and then none for as long as it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.commits_left: int | None = None
        self.error: StoreError = StoreUnavailableError("the database is away")

    @override
    async def commit(self, commit: Any) -> Any:
        if (
            self.commits_left is not None
            and commit.entries
            and commit.entries[0].event.source.channel_id == "sms"
        ):
            if self.commits_left == 0:
                raise self.error
            self.commits_left -= 1
        return await super().commit(commit)


async def texts(stage: Any) -> list[str]:
    rooms = await stage.kit.store.list_rooms()
    return [text for room in rooms for text in await stage.texts(room.id)]


async def taken(stage: Any, *parts: Any) -> WebhookOutcome:
    """Return the outcome of a request with those parts."""
    await stage.join(Phones(Vendor(*parts)))
    outcome: WebhookOutcome = await stage.kit.process_webhook(REQUEST, "sms")
    return outcome


# -- answers ------------------------------------------------------------------------------------


async def test_a_request_that_is_stored_is_answered_with_an_empty_200(stage: Any) -> None:
    outcome = await taken(stage, message("one"), message("two"))
    assert (outcome.status, outcome.answer, outcome.error) == (200, WebhookAnswer(), None)
    assert [result.event.content.body for result in outcome.results] == ["one", "two"]  # type: ignore[union-attr]
    assert await texts(stage) == ["one", "two"]


async def test_nothing_is_a_request_that_is_ignored_on_purpose(stage: Any) -> None:
    assert await taken(stage) == WebhookOutcome(answer=WebhookAnswer())


async def test_the_providers_answer_is_given_once_all_is_stored(stage: Any) -> None:
    challenge = WebhookAnswer(body="1158201444")
    outcome = await taken(stage, challenge, message())
    assert outcome.answer is challenge
    assert await texts(stage) == ["hello"]


REFUSALS = {
    "rejected": (WebhookRejected("forged"), 401, "webhook_rejected"),
    "not its format": (WebhookRejected("no report", status_code=400), 400, "webhook_rejected"),
    "unreadable": (lambda: REQUEST.json()["parts"] if False else _unreadable(), 400, "webhook_rejected"),
    "broken": (KeyError("secret"), 503, "foreign_code_failed"),
    "no list": (lambda: "hello", 503, "foreign_code_failed"),
    "no part": (lambda: [message(), "hello"], 503, "foreign_code_failed"),
    "two answers": (lambda: [message(), WebhookAnswer(), WebhookAnswer()], 503, "foreign_code_failed"),
    "store": (StoreClosedError("closed"), 503, "store_closed"),
}


def _unreadable() -> Any:
    return WebhookRequest(method="POST", url="", headers={}, body=b"{").json()


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_request_that_is_not_taken_is_answered_with_its_status(stage: Any, refusal: str) -> None:
    """And nothing of it is stored; the answer has a code, and no words of the error."""
    parts, status, code = REFUSALS[refusal]
    vendor = Vendor()
    vendor.parts = parts
    await stage.join(Phones(vendor))

    outcome = await stage.kit.process_webhook(REQUEST, "sms")
    assert (outcome.status, outcome.answer.body, outcome.results) == (status, code, ())
    assert await texts(stage) == []
    await stage.idle()
    (fact,) = stage.facts("webhook_refused")
    assert (fact["provider"], fact["status"]) == ("acme", status)


async def test_a_part_that_is_no_message_is_reported_with_what_the_vendor_sent(stage: Any) -> None:
    """The parts beside it are taken, and the vendor does not repeat the request."""
    notice = UnparsedPart(channel_id="sms", reason="an account notice", raw={"kind": "quota", "left": 7})
    outcome = await taken(stage, message("one"), notice, message("two"))
    assert (outcome.status, len(outcome.results), outcome.results[1]) == (200, 3, None)
    assert await texts(stage) == ["one", "two"]
    await stage.idle()
    (fact,) = stage.facts("webhook_unparsed")
    assert fact == {"provider": "acme", "reason": "an account notice", "raw": {"kind": "quota", "left": 7}}


async def test_a_request_for_nobody_is_answered_with_404(stage: Any) -> None:
    await stage.socket("alice")
    await stage.join(Phones(Vendor(), Vendor(name="backup")))
    for channel_id, provider, reason in (
        ("unknown", None, "no channel 'unknown' is registered"),
        ("alice", None, "no provider that takes webhooks"),
        ("sms", None, "several providers: name one of acme, backup"),
        ("sms", "other", "no provider 'other': name one of acme, backup"),
    ):
        outcome = await stage.kit.process_webhook(REQUEST, channel_id, provider)
        assert (outcome.status, outcome.answer.body) == (404, "channel_not_registered")
        assert reason in str(outcome.error)


async def test_a_request_goes_to_the_provider_that_it_names(stage: Any) -> None:
    await stage.join(Phones(Vendor(message("first")), Vendor(message("second"), name="backup")))
    for name in ("backup", "acme"):
        assert (await stage.kit.process_webhook(REQUEST, "sms", name)).status == 200
    assert await texts(stage) == ["second", "first"]


async def test_a_channels_provider_takes_its_webhooks(stage: Any) -> None:
    """The attribute `provider` is enough, whatever its name."""
    channel = await stage.socket("sms")
    channel.provider = Vendor(message())
    assert (await stage.kit.process_webhook(REQUEST, "sms")).status == 200
    assert channel.webhooks() == {"Vendor": channel.provider}


async def test_every_provider_of_a_transport_takes_its_webhooks(stage: Any) -> None:
    """By its name; one that receives none is omitted."""

    class Deaf(MockSMSProvider):
        name = "deaf"

    class Hearing(MockSMSProvider):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.called = name

        @property
        def name(self) -> str:
            return self.called

        async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[Any]:
            return [message(self.called)]

    providers = [Hearing("first"), Deaf(), Hearing("second")]
    await stage.join(TransportChannel("sms", ChannelType.SMS, providers=providers))
    for name, status in (("first", 200), ("second", 200), ("deaf", 404), (None, 404)):
        assert (await stage.kit.process_webhook(REQUEST, "sms", name)).status == status
    assert await texts(stage) == ["first", "second"]


async def test_a_request_that_is_too_large_is_not_read(staging: Any) -> None:
    async with staging(max_webhook_bytes=1) as stage:
        outcome = await taken(stage, message())
        assert (outcome.status, outcome.results) == (413, ())
        assert await texts(stage) == []


async def test_a_provider_that_hangs_is_asked_to_send_again(staging: Any) -> None:
    class Stuck(Vendor):
        @override
        async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[Any]:
            await asyncio.Event().wait()
            return []

    async with staging(process_timeout=3) as stage:
        await stage.join(Phones(Stuck()))
        outcome = await stage.kit.process_webhook(REQUEST, "sms")
        assert (outcome.status, outcome.answer.body) == (503, "process_timeout")


async def test_a_kit_that_is_closed_asks_for_the_request_again(bare_stage: Any) -> None:
    stage = await bare_stage().open()
    vendor = Vendor(message())
    vendor.retry_status = 500  # type: ignore[attr-defined]
    await stage.join(Phones(vendor))
    await stage.kit.close()
    outcome = await stage.kit.process_webhook(REQUEST, "sms")
    assert (outcome.status, outcome.answer.body) == (500, "kit_closed")


# -- data stored by then ------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), StoreBusyError("busy")], ids=str)
@pytest.mark.parametrize(("retry_status", "status"), [(500, 500), (None, 503), ("missing", 503)])
async def test_a_store_that_fails_gets_the_status_on_which_the_vendor_repeats(
    staging: Any, error: StoreError, retry_status: Any, status: int
) -> None:
    """Messages stored before it stay, later ones wait, and the repetition meets its keys."""
    store = FailingStore()
    async with staging(store=store) as stage:
        vendor = Vendor(message("one"), message("two"), message("three"), WebhookAnswer(body="thanks"))
        if retry_status != "missing":
            vendor.retry_status = retry_status  # type: ignore[attr-defined]
        await stage.join(Phones(vendor))
        store.commits_left, store.error = 1, error
        outcome = await stage.kit.process_webhook(REQUEST, "sms")
        assert (outcome.status, outcome.error) == (status, error)
        assert outcome.retry_after == 5
        assert outcome.answer.headers == {"Retry-After": "5"}
        assert await texts(stage) == ["one"]

        store.commits_left = None
        outcome = await stage.kit.process_webhook(REQUEST, "sms")
        assert (outcome.status, outcome.answer.body, outcome.retry_after) == (200, "thanks", None)
        assert [result.duplicate for result in outcome.results] == [True, False, False]  # type: ignore[union-attr]
        assert await texts(stage) == ["one", "two", "three"]


async def test_a_message_that_is_late_is_asked_for_again(staging: Any) -> None:
    async with staging(process_timeout=2) as stage:
        await stage.join(Phones(Vendor(message(room_id="r1"))))
        async with stage.kit.lock_manager.locked("r1"):
            outcome = await stage.kit.process_webhook(REQUEST, "sms")
        assert (outcome.status, outcome.answer.body) == (503, "process_timeout")


async def test_a_message_that_makes_no_event_holds_up_no_other(stage: Any) -> None:
    """Its result has the error; a repetition would change nothing."""

    class Picky(Phones):
        @override
        async def handle_inbound(self, message: InboundMessage, context: Any) -> Any:
            if message.content.body == "bad":  # type: ignore[union-attr]
                raise InvalidInputError("no event")
            return await super().handle_inbound(message, context)

    await stage.join(Picky(Vendor(message("bad"), message("good"))))
    outcome = await stage.kit.process_webhook(REQUEST, "sms")
    assert (outcome.status, outcome.answer.body, outcome.retry_after) == (400, "invalid_input", None)
    assert [result.reason for result in outcome.results] == ["invalid_input", None]  # type: ignore[union-attr]
    assert await texts(stage) == ["good"]


async def test_a_message_that_a_gate_blocks_is_decided(stage: Any) -> None:
    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event: Any, context: Any) -> HookResult:
        return HookResult.block("spam")

    outcome = await taken(stage, message())
    assert (outcome.status, outcome.results[0].reason) == (200, "spam")  # type: ignore[union-attr]


async def test_a_status_finds_its_delivery(stage: Any) -> None:
    class Sends(Phones):
        provider_name = "acme"

        @override
        async def deliver(self, event: Any, binding: ChannelBinding, context: Any) -> ChannelOutput:
            return ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id="m1"))

    statuses = [DeliveryStatus(provider="acme", message_id=each, status="delivered") for each in ("m1", "m9")]
    await stage.join(Sends(Vendor(*statuses)))
    await stage.socket("alice")
    await stage.say()
    outcome = await stage.kit.process_webhook(REQUEST, "sms")
    assert outcome.status == 200
    known, unknown = outcome.results
    assert (known.receipt, unknown) == (ReceiptState.DELIVERED, None)  # type: ignore[union-attr]


async def test_a_signal_is_shown_where_its_channel_may_write(stage: Any) -> None:
    def typing(room_id: str) -> EphemeralEvent:
        return EphemeralEvent(room_id=room_id, type=EphemeralEventType.TYPING_START, user_id="+1")

    await stage.kit.create_room("r2")
    await stage.kit.create_room("r3")
    seen: list[EphemeralEvent] = []

    async def see(event: EphemeralEvent) -> None:
        seen.append(event)

    for room_id in ("r1", "r2", "r3"):
        await stage.kit.subscribe_room(room_id, see)
    await stage.join(Phones(Vendor(*map(typing, ("r1", "r2", "r3", "r4")))), "r1", "r2")
    await stage.kit.set_access("r2", "sms", Access.READ_ONLY)
    outcome = await stage.kit.process_webhook(REQUEST, "sms")
    await asyncio.sleep(1)  # virtual time
    assert (outcome.status, outcome.results) == (200, (None,) * 4)
    assert [(each.room_id, each.channel_id) for each in seen] == [("r1", "sms")]


async def test_a_signal_of_another_channel_is_refused(stage: Any) -> None:
    foreign = EphemeralEvent(
        room_id="r1", type=EphemeralEventType.TYPING_START, user_id="a", channel_id="alice"
    )
    outcome = await taken(stage, foreign)
    assert (outcome.status, outcome.answer.body) == (400, "invalid_input")


# -- limits -------------------------------------------------------------------------------------


async def test_a_limit_refuses_no_verified_webhook(staging: Any) -> None:
    """The message is committed and seen by gates and observers; no agent is asked, for ever."""
    async with staging(inbound_rate_limit=RateLimit(max_per_hour=1)) as stage:
        await stage.join(Phones(Vendor(message("one"), message("STOP"))))
        agent = await stage.agent("bot", ["hi", "hi"])
        bob = await stage.socket("bob")
        gated: list[Any] = []

        @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: Any, context: Any) -> HookResult:
            gated.append((event.content.body, event.limited))
            return HookResult.allow()

        observed = stage.observe(HookTrigger.AFTER_BROADCAST)
        outcome = await stage.kit.process_webhook(REQUEST, "sms", wait="settled")
        assert outcome.status == 200
        assert gated[:1] == [("one", None)]
        assert ("STOP", True) in gated
        assert {event.content.body for event in observed} == {"one", "STOP", "hi"}
        stop = outcome.results[1].event  # type: ignore[union-attr]
        assert set(await stage.ledger(stop)) == {"bob"}
        assert [each.event.content.body for each in agent.seen] == ["one"]
        assert "STOP" in [each.event.content.body for each in bob.delivered]
        assert "limited" not in stop.client_view()
        refused = await stage.say(channel="sms", by="+1")
        assert refused.reason == "rate_limited"


# -- what the app answers -----------------------------------------------------------------------


def invoke(**fields: Any) -> WebhookInvoke:
    return WebhookInvoke(message=message("invoke"), name="task/fetch", value={"id": 7}, **fields)


def answers(stage: Any, act: Callable[[Invoke], Any], **options: Any) -> list[tuple[Invoke, Any]]:
    """Have a gate answer invokes; return the list that fills with what it saw."""
    seen: list[tuple[Invoke, Any]] = []

    @stage.kit.hook(HookTrigger.ON_INVOKE, **options)
    async def gate(asked: Invoke, context: Any) -> Any:
        seen.append((asked, context))
        verdict = act(asked)
        return await verdict if asyncio.iscoroutine(verdict) else verdict

    return seen


async def test_the_app_answers_an_invoke(stage: Any) -> None:
    """A stranger's belongs to no room yet; then it is committed, and the next one names its room."""
    seen = answers(
        stage,
        lambda asked: HookResult.modify(asked.answered({"task": asked.value})),
        directions={ChannelDirection.INBOUND},
    )
    await stage.join(Phones(Vendor(invoke())), "r1")
    await stage.kit.detach_channel("r1", "sms")
    outcome = await stage.kit.process_webhook(REQUEST, "sms")
    assert outcome.answer == WebhookAnswer(body='{"task": {"id": 7}}', content_type="application/json")
    room_id = outcome.results[0].event.room_id  # type: ignore[union-attr]
    again = await stage.kit.process_webhook(REQUEST, "sms")
    assert again.results[0].duplicate  # type: ignore[union-attr]
    assert [asked.room_id for asked, _ in seen] == [None, room_id]
    assert seen[1][1].room.id == room_id
    assert seen[0][0] == Invoke(channel_id="sms", name="task/fetch", value={"id": 7}, sender="+1")


async def test_a_later_gate_sees_the_answer_of_an_earlier_one(stage: Any) -> None:
    answers(stage, lambda asked: HookResult.modify(asked.answered("first")))
    seen = answers(stage, lambda asked: HookResult.allow())
    outcome = await taken(stage, invoke())
    assert (outcome.answer.body, seen[0][0].answer) == ('"first"', InvokeAnswer(body="first"))


async def _late() -> HookResult:
    await asyncio.sleep(60)  # virtual time
    return HookResult.allow()


def _fails(_asked: Invoke) -> HookResult:
    raise KeyError("a bug")


SILENT = {
    "no gate": None,
    "undecided": lambda asked: HookResult.allow(),
    "blocked": lambda asked: HookResult.block("not yours"),
    "fails": _fails,
    "late": lambda asked: _late(),
}


@pytest.mark.parametrize("silent", SILENT)
async def test_an_invoke_that_no_gate_answers_gets_its_default(stage: Any, silent: str) -> None:
    """And is committed all the same; a late, failing or blocking gate is reported."""
    if (act := SILENT[silent]) is not None:
        answers(stage, act)
    loop = asyncio.get_running_loop()
    started = loop.time()
    given = invoke(
        default=InvokeAnswer(status=202, body="<Reject/>"),
        render=lambda answer: WebhookAnswer(status=answer.status, body=str(answer.body)),
        answer_timeout=8,
    )
    outcome = await taken(stage, given)
    assert outcome.answer == WebhookAnswer(status=202, body="<Reject/>")
    assert loop.time() - started == (8 if silent == "late" else 0)
    assert await texts(stage) == ["invoke"]
    await stage.idle()
    reported = {"blocked": "not yours", "fails": "hook_failed", "late": "no answer within 8 s"}
    errors = [fact["error"] for fact in stage.facts("invoke_unanswered")]
    assert (reported.get(silent) is None and not errors) or reported[silent] in errors[0]


async def test_an_invoke_without_a_default_is_not_implemented(stage: Any) -> None:
    assert (await taken(stage, invoke())).answer == WebhookAnswer(status=501)


async def test_an_invoke_that_cannot_be_stored_is_asked_for_again(staging: Any) -> None:
    """The app's answer is not given for what may be lost."""
    store = FailingStore()
    async with staging(store=store) as stage:
        answers(stage, lambda asked: HookResult.modify(asked.answered("yes")))
        store.commits_left = 0
        outcome = await taken(stage, invoke())
        assert outcome.status == 503


# -- where a message would go -------------------------------------------------------------------


async def test_the_room_of_a_message_is_located_without_a_trace(stage: Any) -> None:
    """Nothing is made or claimed for a stranger, and a message then goes where it was located."""
    await stage.join(Phones(Vendor()), "r1")
    await stage.socket("alice")
    locate = stage.kit.get_channel("sms").services.rooms.locate
    await stage.say(channel="sms", by="+9")
    before = await stage.kit.store.list_rooms()
    assert [await locate(message(sender_id=each)) for each in ("+1", "+9")] == [None, "r1"]
    assert await locate(message(room_id="r1")) == "r1"
    assert await stage.kit.store.list_rooms() == before
    value = await stage.kit.store.get_value("core.rooms", ("sms", "+1"), organization_id=None)
    assert value is None
    result = await stage.say(channel="sms", by="+1", room=None)
    assert await locate(message()) == result.event.room_id
    await stage.kit.close_room(result.event.room_id)
    assert await locate(message(room_id=result.event.room_id)) is None
    with pytest.raises(InvalidInputError, match="'alice' is not one of"):
        await locate(message(channel_id="alice"))
