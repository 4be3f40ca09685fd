"""Who a sender is: the resolver, then the hooks, and what becomes of the message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.abc.errors import HookRegistrationError, InvalidInputError
from roomkit.abc.identity import IdentityResolver
from roomkit.models import (
    ChannelType,
    EditContent,
    EventType,
    HookResult,
    HookTrigger,
    IdentificationStatus,
    Identity,
    IdentityHookResult,
    IdentityResult,
    InjectedEvent,
    Participant,
    SystemContent,
    TextContent,
    text_of,
)
from roomkit_plugins.testing import Hang, MockIdentityResolver, RecordingChannel

pytestmark = pytest.mark.virtual_time
Status = IdentificationStatus
BOB, BERT = Identity(id="bob", display_name="Bob"), Identity(id="bert")


class Answers(IdentityResolver):
    """A resolver that always says the same."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def resolve(self, message: Any, context: Any) -> Any:
        return self.answer


def decides(stage: Any, trigger: HookTrigger, decision: Any, **options: Any) -> list[IdentityResult]:
    """Register an identity hook that always decides the same; return what it was asked."""
    asked: list[IdentityResult] = []

    async def hook(event: Any, context: Any, result: IdentityResult) -> Any:
        asked.append(result)
        return decision(event) if callable(decision) else decision

    stage.kit.identity_hook(trigger, **options)(hook)
    return asked


def challenge(stage: Any) -> Any:
    return lambda event: IdentityHookResult.challenge(
        InjectedEvent(stage.event("Who are you?", room_id=event.room_id))
    )


async def people(stage: Any, room_id: str = "r1") -> dict[str, Participant]:
    return {person.id: person for person in await stage.kit.list_participants(room_id)}


def outcome_of(result: Any) -> str:
    return result.reason or f"said by {result.event.source.participant_id}"


AMBIGUOUS, UNKNOWN = HookTrigger.ON_IDENTITY_AMBIGUOUS, HookTrigger.ON_IDENTITY_UNKNOWN
PENDING_RESULT = IdentityHookResult.pending("Bob?", [BOB, BERT])
TABLE: list[tuple[str, IdentityResult, Any, str, dict[str, Status]]] = [
    (
        "identified",
        IdentityResult(status=Status.IDENTIFIED, identity=BOB),
        None,
        "said by bob",
        {"bob": Status.IDENTIFIED},
    ),
    (
        "identified as no one",
        IdentityResult(status=Status.IDENTIFIED),
        None,
        "said by +1",
        {"+1": Status.UNKNOWN},
    ),
    (
        "challenged by the resolver",
        IdentityResult(status=Status.CHALLENGE_SENT),
        None,
        "identity_challenge_sent",
        {},
    ),
]
for asked in (Status.AMBIGUOUS, Status.PENDING):
    result = IdentityResult(status=asked, candidates=(BOB, BERT))
    TABLE += [
        (f"{asked}, no hook", result, None, "said by +1", {"+1": Status.PENDING}),
        (
            f"{asked}, resolved",
            result,
            IdentityHookResult.resolved(BERT),
            "said by bert",
            {"bert": Status.IDENTIFIED},
        ),
        (f"{asked}, pending", result, PENDING_RESULT, "said by +1", {"+1": Status.PENDING}),
        (f"{asked}, challenged", result, challenge, "identity_challenge_sent", {"+1": Status.PENDING}),
        (f"{asked}, rejected", result, IdentityHookResult.reject("no"), "no", {}),
        (f"{asked}, rejected without a word", result, IdentityHookResult.reject(""), "identity_rejected", {}),
    ]
for asked, silent in ((Status.UNKNOWN, "said by +1"), (Status.REJECTED, "unknown_sender")):
    result = IdentityResult(status=asked)
    TABLE += [
        (
            f"{asked}, no hook",
            result,
            None,
            silent,
            {"+1": Status.UNKNOWN} if asked is Status.UNKNOWN else {},
        ),
        (
            f"{asked}, resolved",
            result,
            IdentityHookResult.resolved(BOB),
            "said by bob",
            {"bob": Status.IDENTIFIED},
        ),
        (f"{asked}, pending", result, PENDING_RESULT, "said by +1", {"+1": Status.PENDING}),
        (f"{asked}, challenged", result, challenge, "identity_challenge_sent", {"+1": Status.PENDING}),
        (f"{asked}, rejected", result, IdentityHookResult.reject("no"), "no", {}),
    ]


@pytest.mark.parametrize(
    ("answer", "decision", "outcome", "there"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
async def test_what_becomes_of_a_message(
    staging: Any, answer: IdentityResult, decision: Any, outcome: str, there: dict[str, Status]
) -> None:
    """For every answer of the resolver and every decision of a hook."""
    async with staging(identity_resolver=Answers(answer)) as stage:
        await stage.socket("sms")
        if decision is not None:
            made = decision(stage) if decision is challenge else decision
            decides(stage, AMBIGUOUS, made)
            decides(stage, UNKNOWN, made)
        result = await stage.say("secret", channel="sms", by="+1")

        assert outcome_of(result) == outcome
        assert result.blocked is not outcome.startswith("said")
        found = {name: person.identification for name, person in (await people(stage)).items()}
        assert found == there
        assert ("secret" in await stage.texts()) is outcome.startswith("said")


class TestResolving:
    async def test_an_identified_sender_joins_with_a_note(self, staging: Any) -> None:
        resolver = MockIdentityResolver({"+1": BOB})
        async with staging(identity_resolver=resolver) as stage:
            seen = stage.observe(HookTrigger.ON_PARTICIPANT_IDENTIFIED)
            await stage.socket("sms")
            for _ in range(3):
                await stage.say(channel="sms", by="+1")

            (person,) = (await people(stage)).values()
            assert (person.id, person.identity_id, person.display_name) == ("bob", "bob", "Bob")
            assert (person.external_id, person.connected_via) == ("+1", ("sms",))
            assert person.resolved_by == "resolver"
            joined = [
                e for e in await stage.timeline(messages=False) if e.type is EventType.PARTICIPANT_JOINED
            ]
            assert [event.content.code for event in joined] == ["participant_joined_identified"]
            assert len(seen) == 1
            assert seen[0].content.data["identity_id"] == "bob"
            assert len(resolver.calls) == 1, "a known sender is not resolved again"

    async def test_one_person_by_two_channels_is_one_participant(self, staging: Any) -> None:
        async with staging(identity_resolver=MockIdentityResolver({"+1": BOB, "b@h": BOB})) as stage:
            await stage.socket("sms")
            await stage.socket("mail")
            await stage.say(channel="sms", by="+1")
            await stage.say(channel="mail", by="b@h")

            (person,) = (await people(stage)).values()
            assert person.connected_via == ("sms", "mail")

    async def test_a_pending_sender_keeps_the_candidates_and_the_name(self, staging: Any) -> None:
        resolver = MockIdentityResolver(ambiguous={"+1": [BOB, BERT]})
        async with staging(identity_resolver=resolver) as stage:
            decides(stage, AMBIGUOUS, PENDING_RESULT)
            await stage.socket("sms")
            for _ in range(2):
                await stage.say(channel="sms", by="+1")

            (person,) = (await people(stage)).values()
            assert (person.candidates, person.display_name) == (("bob", "bert"), "Bob?")
            codes = [
                e.content.code
                for e in await stage.timeline(messages=False)
                if e.type is EventType.PARTICIPANT_JOINED
            ]
            assert codes == ["participant_joined_pending"]

    async def test_hooks_are_told_what_the_resolver_was_asked(self, staging: Any) -> None:
        """Address and channel type are filled in."""
        async with staging(identity_resolver=MockIdentityResolver()) as stage:
            asked = decides(stage, UNKNOWN, None)
            await stage.socket("sms", channel_type=ChannelType.SMS)
            await stage.say(channel="sms", by="+1")

            assert [(result.address, result.channel_type) for result in asked] == [("+1", "sms")]

    async def test_only_the_wanted_channel_types_are_resolved(self, staging: Any) -> None:
        """A socket's sender was verified by the program."""
        resolver = MockIdentityResolver()
        async with staging(identity_resolver=resolver, identity_channel_types={ChannelType.SMS}) as stage:
            await stage.socket("sms", channel_type=ChannelType.SMS)
            await stage.socket("web")
            await stage.say(channel="web")
            assert resolver.calls == []
            await stage.say(channel="sms")
            assert len(resolver.calls) == 1

    async def test_a_resolver_that_is_late_counts_as_knowing_nobody(self, staging: Any) -> None:
        hang = Hang()
        resolver = MockIdentityResolver({"+1": BOB}, script=[hang])
        async with staging(identity_resolver=resolver, identity_timeout=3) as stage:
            await stage.socket("sms")
            result = await stage.say(channel="sms", by="+1")

            assert outcome_of(result) == "said by +1"
            assert asyncio.get_running_loop().time() == 3
            assert hang.cancelled == 1
            assert stage.facts("identity_timeout") == [{"timeout": 3}]
            assert outcome_of(await stage.say(channel="sms", by="+1")) == "said by bob"

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (ConnectionError("crm is down"), "ConnectionError: crm is down"),
            (TimeoutError("its own"), "TimeoutError: its own"),
        ],
        ids=["an outage", "a timeout of its own"],
    )
    async def test_a_resolver_that_fails_counts_as_knowing_nobody(
        self, staging: Any, answer: Exception, error: str
    ) -> None:
        """An outage of the CRM does not stop the conversation."""
        async with staging(identity_resolver=MockIdentityResolver(script=[answer])) as stage:
            await stage.socket("sms")

            assert outcome_of(await stage.say(channel="sms", by="+1")) == "said by +1"
            assert stage.facts("identity_error") == [{"error": error}]
            assert stage.facts("identity_timeout") == []

    @pytest.mark.parametrize("junk", [None, "bob", BOB])
    async def test_a_wrong_answer_is_a_failure(self, staging: Any, junk: Any) -> None:
        async with staging(identity_resolver=Answers(junk)) as stage:
            await stage.socket("sms")

            assert outcome_of(await stage.say(channel="sms", by="+1")) == "said by +1"
            assert len(stage.facts("identity_error")) == 1

    @pytest.mark.parametrize("ambiguous", [False, True], ids=["unknown", "ambiguous"])
    async def test_a_stranger_cannot_borrow_the_id_of_somebody_identified(
        self, staging: Any, ambiguous: bool
    ) -> None:
        strangers = {"bob": [BOB, BERT]} if ambiguous else {}
        resolver = MockIdentityResolver({"+1": BOB}, strangers)
        async with staging(identity_resolver=resolver) as stage:
            await stage.socket("sms")
            await stage.socket("web")
            said = (await stage.say("mine", channel="sms", by="+1")).event
            before = (await people(stage))["bob"]
            for _ in range(2):
                assert outcome_of(await stage.say(channel="web", by="bob")) == "said by websocket:bob"
            edit = EditContent(target_event_id=said.id, new_content=TextContent(body="forged"))
            forged = await stage.say(edit, channel="web", by="bob", event_type=EventType.EDIT)

            assert forged.reason == "not_original_author"
            assert (await people(stage))["bob"] == before
            assert set(await people(stage)) == {"bob", "websocket:bob"}


class TestHooks:
    async def test_the_first_decision_counts(self, staging: Any) -> None:
        """None leaves it to the next."""
        async with staging(identity_resolver=MockIdentityResolver()) as stage:
            first = decides(stage, UNKNOWN, None)
            decides(stage, UNKNOWN, IdentityHookResult.resolved(BOB))
            third = decides(stage, UNKNOWN, IdentityHookResult.reject())
            await stage.socket("sms")

            assert outcome_of(await stage.say(channel="sms", by="+1")) == "said by bob"
            assert (len(first), len(third)) == (1, 0)

    async def test_filters_are_those_of_other_hooks(self, staging: Any) -> None:
        async with staging(identity_resolver=MockIdentityResolver()) as stage:
            decides(stage, UNKNOWN, IdentityHookResult.reject("no sms"), channel_types={ChannelType.SMS})
            decides(stage, UNKNOWN, IdentityHookResult.reject("no web2"), channel_ids={"web2"})
            await stage.socket("sms", channel_type=ChannelType.SMS)
            await stage.socket("web1")
            await stage.socket("web2")

            reasons = [(await stage.say(channel=channel)).reason for channel in ("sms", "web1", "web2")]
            assert reasons == ["no sms", None, "no web2"]

    @pytest.mark.parametrize("trouble", ["raises", "hangs"])
    async def test_a_hook_that_fails_lets_nobody_in(self, staging: Any, trouble: str) -> None:
        async with staging(identity_resolver=MockIdentityResolver()) as stage:

            async def doorman(event: Any, context: Any, result: Any) -> None:
                if trouble == "raises":
                    raise ValueError("lost the list")
                await asyncio.sleep(60)

            stage.kit.identity_hook(UNKNOWN, timeout=2)(doorman)
            await stage.socket("sms")
            result = await stage.say(channel="sms", by="+1")

            assert result.reason == "identity_hook_failed"
            assert await stage.texts() == []
            (fact,) = stage.facts("hook_error")
            assert (fact["hook"], fact["trigger"]) == ("doorman", "on_identity_unknown")

    async def test_ordinary_hooks_of_the_trigger_only_look_on(self, staging: Any) -> None:
        """They see the message that is being decided on."""
        async with staging(identity_resolver=MockIdentityResolver()) as stage:
            seen = stage.observe(UNKNOWN)
            decides(stage, UNKNOWN, IdentityHookResult.reject("no"))
            await stage.socket("sms")
            await stage.say("hello", channel="sms")

            assert [text_of(event.content) for event in seen] == ["hello"]

    async def test_a_hook_that_could_never_work_is_refused(self, stage: Any) -> None:
        async def good(event: Any, context: Any, result: Any) -> None: ...
        def plain(event: Any, context: Any, result: Any) -> None: ...

        with pytest.raises(HookRegistrationError, match="identity hook 'good' is on before_broadcast"):
            stage.kit.identity_hook(HookTrigger.BEFORE_BROADCAST)(good)
        with pytest.raises(HookRegistrationError, match="identity hook 'plain' is not a coroutine function"):
            stage.kit.identity_hook(UNKNOWN)(plain)


class TestStrangers:
    async def test_a_rejected_stranger_leaves_no_room_behind(self, staging: Any) -> None:
        """Nothing at all: no room, no participant, no event; the id of the room was never given out."""
        async with staging(identity_resolver=MockIdentityResolver()) as stage:
            contexts: list[str] = []

            async def doorman(event: Any, context: Any, result: Any) -> IdentityHookResult:
                contexts.append(context.room.id)
                assert context.room.id == event.room_id
                return IdentityHookResult.reject()

            stage.kit.identity_hook(UNKNOWN)(doorman)
            stage.kit.register_channel(RecordingChannel("sms"))
            result = await stage.say(channel="sms", by="+1", room=None)

            assert result.reason == "Unknown sender"
            assert [room.id for room in await stage.kit.store.list_rooms()] == ["r1"]
            assert await stage.kit.store.get_room(contexts[0]) is None

    async def test_a_challenge_reaches_whoever_wrote(self, staging: Any) -> None:
        """Their message is held back, and only the question is in the room."""
        async with staging(identity_resolver=MockIdentityResolver()) as stage:
            decides(stage, UNKNOWN, challenge(stage))
            sms = RecordingChannel("sms")
            stage.kit.register_channel(sms)
            result = await stage.say("secret", channel="sms", by="+1", room=None)
            await stage.idle()

            assert (result.blocked, result.reason) == (True, "identity_challenge_sent")
            assert sms.texts() == ["Who are you?"]
            (room,) = [room for room in await stage.kit.store.list_rooms() if room.id != "r1"]
            assert await stage.texts(room.id) == ["Who are you?"]

    async def test_two_challenged_strangers_are_not_put_together(self, staging: Any) -> None:
        """Each is asked in a room of their own, and found there again."""
        async with staging(identity_resolver=MockIdentityResolver()) as stage:
            decides(stage, UNKNOWN, challenge(stage))
            stage.kit.register_channel(RecordingChannel("sms"))
            for sender in ("+1", "+2", "+1", "+2"):
                await stage.say(channel="sms", by=sender, room=None)

            assert len(await stage.kit.store.list_rooms()) == 1 + 2

    async def test_a_challenge_goes_to_the_room_it_was_asked_for(self, staging: Any) -> None:
        """Anything else is the hook's mistake, and said."""
        async with staging(identity_resolver=MockIdentityResolver()) as stage:
            await stage.open("r2")
            injected = InjectedEvent(stage.event("Who?", room_id="r2"))
            decides(stage, UNKNOWN, IdentityHookResult.challenge(injected))
            await stage.socket("sms")

            with pytest.raises(InvalidInputError, match=r"use context\.room\.id"):
                await stage.say(channel="sms")

    async def test_a_sender_identified_at_the_door_opens_a_room_of_their_own(self, staging: Any) -> None:
        async with staging(identity_resolver=MockIdentityResolver({"+1": BOB})) as stage:
            stage.kit.register_channel(RecordingChannel("sms"))
            rooms = {(await stage.say(channel="sms", by="+1", room=None)).event.room_id for _ in range(3)}

            (room_id,) = rooms
            assert set(await people(stage, room_id)) == {"bob"}
            first = (await stage.timeline(room_id, messages=False))[1]
            assert isinstance(first.content, SystemContent)
            assert first.content.code == "participant_joined_identified"


async def test_a_gate_sees_the_sender_who_joins_with_the_message(staging: Any) -> None:
    """As they are once it is committed, and not where it is refused."""
    async with staging(identity_resolver=MockIdentityResolver({"+1": BOB})) as stage:
        seen: list[Any] = []

        @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: Any, context: Any) -> HookResult:
            seen.append((event.source.participant_id, context.get_participant("bob")))
            return HookResult.allow()

        await stage.socket("ws")
        result = await stage.say(channel="ws", by="+1")
        ((participant_id, person),) = seen
        assert participant_id == "bob"
        assert (person.identity_id, person.identification) == ("bob", Status.IDENTIFIED)
        assert [each.id for each in await stage.kit.list_participants(result.event.room_id)] == ["bob"]
