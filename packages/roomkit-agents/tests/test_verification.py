"""Sensitive tools run for people who are verified; codes are seen by their person and by nothing else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from stage import calls, worker_maker

from roomkit import (
    Agent,
    AITool,
    ChannelType,
    ConversationRouter,
    EditContent,
    EventType,
    HookExecution,
    HookResult,
    HookTrigger,
    Identity,
    InboundMessage,
    InvalidInputError,
    PersonVerification,
    RichContent,
    RoomKit,
    TextContent,
    TransportChannel,
    Verification,
    VerificationStatus,
    VerificationTexts,
)
from roomkit.abc import ErrorCode, ProviderError, StoreError
from roomkit.abc.store import Commit, Committed
from roomkit.memory import InMemoryStore
from roomkit.models.event import RoomEvent
from roomkit_plugins.testing import (
    MockAIProvider,
    MockIdentityResolver,
    MockSMSProvider,
    RecordingChannel,
    VirtualClock,
)

pytestmark = pytest.mark.virtual_time

ANN = Identity(id="ann", display_name="Ann", phone="+15550001")
BOB = Identity(id="bob", display_name="Bob", phone="+15550002")
PEOPLE = {"ann": ANN, "+15550001": ANN, "bob": BOB, "+15550002": BOB}
TRANSFER = calls("transfer_money", amount=40)


class Bank:
    """A kit where an agent transfers money, for people at a socket and on their telephones."""

    def __init__(
        self, *answers: Any, kit: RoomKit | None = None, streaming: bool = False, **rules: Any
    ) -> None:
        self.kit = kit or RoomKit(clock=VirtualClock(), identity_resolver=MockIdentityResolver(PEOPLE))
        self.web = RecordingChannel("web", streaming=streaming)
        self.vendor = rules.pop("vendor", None) or MockSMSProvider()
        sms = TransportChannel("sms", ChannelType.SMS, provider=self.vendor, recipient_key="phone_number")
        self.model = MockAIProvider(list(answers), streaming=streaming, chunk_size=5)
        self.transfers: list[dict[str, Any]] = []

        async def transfer_money(name: str, arguments: dict[str, Any]) -> str:
            self.transfers.append(arguments)
            return "done"

        async def look(name: str, arguments: dict[str, Any]) -> str:
            return "120 EUR"

        bot = Agent(
            "bot",
            self.model,
            tools=[(AITool(name="transfer_money"), transfer_money), (AITool(name="balance"), look)],
        )
        for channel in (self.web, sms, bot):
            self.kit.register_channel(channel)
        rules = {"tools": ["transfer_*"], "send_by": "sms", **rules}
        self.verification = PersonVerification(self.kit, **rules)
        self.seen: list[Verification] = []

        @self.kit.hook(HookTrigger("on_verification"), HookExecution.ASYNC)
        async def seen(payload: Verification, context: Any) -> None:
            self.seen.append(payload)

    async def open(self, room_id: str = "r1") -> None:
        for identity in (ANN, BOB):
            if await self.kit.store.get_identity(identity.id) is None:
                await self.kit.store.create_identity(identity)
        await self.kit.create_room(room_id)
        for channel_id in ("web", "bot"):
            await self.kit.attach_channel(room_id, channel_id)

    async def says(
        self, text: str, sender: str = "ann", room_id: str | None = "r1", **message: Any
    ) -> RoomEvent:
        channel_id = "sms" if sender.startswith("+") else "web"
        message.setdefault("content", TextContent(body=text))
        said = InboundMessage(channel_id=channel_id, sender_id=sender, **message)
        result = await self.kit.process_inbound(said, room_id=None if channel_id == "sms" else room_id)
        await asyncio.sleep(1)
        assert result.event is not None
        return result.event

    @property
    def codes(self) -> list[tuple[str, str]]:
        """Return to whom codes were sent, and which."""
        found = [(each["to"], re.search(r"\d{6}", each["event"].content.body)) for each in self.vendor.sent]
        return [(to, code[0]) for to, code in found if code is not None]

    @property
    def code(self) -> str:
        return self.codes[-1][1]

    def wrong(self, number: int = 1) -> str:
        """Return a code that was not sent."""
        return f"{(int(self.code) + number) % 1_000_000:06d}"

    async def status(self, who: str = "ann") -> str:
        return str((await self.verification.status(who)).status)

    async def stored(self) -> str:
        """Return everything that the store has, and everything that models and people were shown."""
        rooms = await self.kit.store.list_rooms()
        parts: list[str] = []
        for room in rooms:
            parts += [line async for line in self.kit.export_room_lines(room.id)]
        for who in ("ann", "bob"):
            parts += [line async for line in self.kit.export_person_lines(identity_id=who)]
        parts += [repr(context) for context in self.model.calls]
        return "\n".join([*parts, *self.web.texts()])


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streaming(request: Any) -> bool:
    return bool(request.param)


async def test_a_code_by_sms_lets_the_tool_run(streaming: bool) -> None:
    """The model reads why it waits; it is asked again once the person has answered at the socket."""
    bank = Bank(TRANSFER, "We sent you a code.", TRANSFER, "It is done.", streaming=streaming)
    async with bank.kit:
        await bank.open()
        await bank.says("Send 40 EUR to Bob")
        assert (bank.transfers, bank.web.texts()) == ([], ["We sent you a code."])
        assert [to for to, _ in bank.codes] == ["+15550001"]
        assert "the person has to be verified first" in repr(bank.model.calls[1].messages[-1])
        assert await bank.status() == "pending"
        event = await bank.says(bank.code)
        assert (event.content.body, event.visibility, event.addressed_to) == ("••••••", "none", ())
        assert bank.transfers == [{"amount": 40}]
        assert bank.web.texts() == ["We sent you a code.", "It is done."]
        assert [str(each.status) for each in bank.seen] == ["pending", "verified"]
        assert bank.seen[-1].method == "code"
        assert bank.code not in await bank.stored()


async def test_the_answer_may_come_by_another_channel() -> None:
    """The first text from the telephone opens a room; the agent continues where it was asked."""
    bank = Bank(TRANSFER, "We sent you a code.", TRANSFER, "It is done.")
    async with bank.kit:
        await bank.open()
        await bank.says("Send 40 EUR to Bob")
        event = await bank.says(f"{bank.code[:3]} {bank.code[3:]}", "+15550001")
        assert event.room_id != "r1"
        assert event.content.body == "••••••"
        assert bank.transfers == [{"amount": 40}]
        assert bank.web.texts()[-1] == "It is done."
        assert bank.vendor.sent[-1]["event"].content.body == "Thank you, you are verified."
        assert bank.code not in await bank.stored()


async def test_a_verification_holds_in_every_room_for_its_time_and_no_longer() -> None:
    bank = Bank(TRANSFER, "A code.", TRANSFER, "One.", TRANSFER, "Two.", TRANSFER, "A code.", ttl=600)
    async with bank.kit:
        await bank.open()
        await bank.open("r2")
        await bank.says("send")
        await bank.says(bank.code)
        await bank.says("again", room_id="r2")
        assert len(bank.transfers) == 2
        await asyncio.sleep(600)
        assert [str(each.status) for each in bank.seen] == ["pending", "verified", "expired"]
        assert await bank.status() == "expired"
        await bank.says("again")
        assert len(bank.transfers) == 2
        assert await bank.status() == "pending"
        assert len(bank.codes) == 2


async def test_only_named_tools_wait() -> None:
    """Others run for everyone."""
    bank = Bank(calls("balance"), "120 EUR.")
    async with bank.kit:
        await bank.open()
        await bank.says("balance?")
        assert (bank.codes, bank.web.texts()) == ([], ["120 EUR."])


# -- adversaries ----------------------------------------------------------------------------------


async def test_guessing_ends_after_so_many_attempts() -> None:
    """The right code is void then, and the agent knows that nothing comes of it."""
    bank = Bank(TRANSFER, "A code.", "I cannot do that.")
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        for number in (1, 2, 3):
            event = await bank.says(bank.wrong(number))
            assert event.content.body == "••••••"
        assert bank.web.texts() == [
            "A code.",
            "That code is not right. You can try 2 more.",
            "That code is not right. You can try 1 more.",
            "That code is not right, and it is no longer valid.",
            "I cannot do that.",
        ]
        event = await bank.says(bank.code)
        assert event.content.body == "••••••"
        assert (bank.transfers, await bank.status()) == ([], "expired")
        assert bank.code not in await bank.stored()


async def test_many_guesses_in_one_message_are_as_many_attempts() -> None:
    bank = Bank(TRANSFER, "A code.", "No.", "No.")
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        guesses = [bank.wrong(number) for number in range(1, 30)]
        await bank.says(" / ".join([*guesses[:3], bank.code, *guesses[3:]]))
        assert (bank.transfers, await bank.status()) == ([], "expired")


async def test_a_guess_beyond_the_attempts_that_are_left_is_not_compared() -> None:
    bank = Bank(TRANSFER, "A code.", "No.", max_attempts=1)
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        await bank.says(f"{bank.wrong()}; {bank.code}")
        assert await bank.status() == "expired"


async def test_another_participant_cannot_answer() -> None:
    """It is neither an attempt of the person's, nor an answer."""
    bank = Bank(TRANSFER, "A code.", "Bob, that is not for you.", TRANSFER, "Done.")
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        await bank.says(bank.code, "bob")
        assert (bank.transfers, await bank.status(), await bank.status("bob")) == (
            [],
            "pending",
            "unverified",
        )
        await bank.says(bank.code)
        assert len(bank.transfers) == 1


async def test_a_namesake_without_the_identity_cannot_answer() -> None:
    """A sender whose address is the identity's id is not that identity."""
    kit = RoomKit(clock=VirtualClock(), identity_resolver=MockIdentityResolver({"+15550001": ANN}))
    bank = Bank("Hello.", "Hello.", kit=kit)
    async with kit:
        await bank.open()
        await bank.verification.send_code("ann")
        await asyncio.sleep(1)
        await bank.says(bank.code, "ann")
        assert await bank.status() == "pending"


async def test_the_call_is_for_whom_the_agent_answers() -> None:
    """Ann is verified, Bob is not: what Bob asks for waits for Bob's code."""
    bank = Bank(TRANSFER, "A code.")
    async with bank.kit:
        await bank.open()
        await bank.verification.verify("ann", method="id-check")
        await bank.says("send it to me", "bob")
        assert bank.transfers == []
        assert [to for to, _ in bank.codes] == ["+15550002"]


@pytest.mark.parametrize("sender", ["ann", "+15550001"])
async def test_a_code_is_good_for_once(sender: str) -> None:
    """After the verification is revoked, the code neither verifies nor shows."""
    bank = Bank(TRANSFER, "A code.", TRANSFER, "Done.", "No.", "No.")
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        code = bank.code
        await bank.says(code)
        await bank.verification.revoke("ann")
        event = await bank.says(code, sender)
        assert (event.content.body, await bank.status()) == ("••••••", "revoked")
        assert code not in await bank.stored()


@pytest.mark.parametrize(
    "text",
    [
        "I did not ask for this.\n> Your code is {code}. It is valid",
        "I did not ask for this.\n\nOn Monday the bank wrote:\nYour code is {code}.",
        "Not me!\n-----Original Message-----\n{code}",
    ],
    ids=["marked", "introduced", "outlook"],
)
async def test_a_quoted_code_is_no_answer(text: str) -> None:
    """Who quotes the request in a refusal has not answered it; the quote is withheld all the same."""
    bank = Bank(TRANSFER, "A code.", "I see.")
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        event = await bank.says(text.format(code=bank.code))
        assert bank.code not in event.content.body
        assert "••••••" in event.content.body
        assert await bank.status() == "pending"
        assert bank.code not in await bank.stored()
        assert bank.web.texts() == ["A code.", "I see."]


async def test_words_beside_the_code_reach_the_agent() -> None:
    bank = Bank(TRANSFER, "A code.", TRANSFER, "Done.")
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        event = await bank.says(f"it's {bank.code}, and make it quick")
        assert event.content.body == "it's ••••••, and make it quick"
        assert len(bank.transfers) == 1
        assert "make it quick" in repr(bank.model.calls[-1].messages)
        assert bank.code not in await bank.stored()


@pytest.mark.parametrize("part", ["raw", "metadata", "number", "extra", "rich", "edit"])
async def test_a_code_is_withheld_wherever_it_is(part: str) -> None:
    """The vendor's payload goes; other fields lose the digits."""
    bank = Bank(TRANSFER, "A code.", TRANSFER, "Done.", "ok")
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        code = bank.code
        message: dict[str, Any] = {
            "raw": {"raw_payload": {"Body": code}},
            "metadata": {"metadata": {"original": f"my {code}"}},
            "number": {"metadata": {"pin": int("1" + code[1:])}},
            "extra": {"extra": {"text": [code]}},
            "rich": {"content": RichContent(body=f"<b>{code}</b>", format="html", plain_text=code)},
        }.get(part, {})
        if part == "edit":
            first = await bank.says("one moment")
            content = EditContent(target_event_id=first.id, new_content=TextContent(body=f"the code: {code}"))
            message = {"content": content, "event_type": EventType.EDIT}
        await bank.says(code, **message)
        assert await bank.status() == ("pending" if part == "edit" else "verified")
        stored = await bank.stored()
        assert code not in stored
        if part == "number":
            assert "1" + code[1:] not in stored


async def test_other_gates_and_observers_do_not_see_the_code() -> None:
    bank = Bank(TRANSFER, "A code.", TRANSFER, "Done.")
    seen: list[str] = []

    @bank.kit.hook(HookTrigger.BEFORE_BROADCAST, priority=-500)
    async def gate(event: Any, context: Any) -> HookResult:
        seen.append(repr(event))
        return HookResult.allow()

    @bank.kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
    async def observer(event: Any, context: Any) -> None:
        seen.append(repr(event))

    @bank.kit.on("*")
    async def framework(event: Any) -> None:
        seen.append(repr(event))

    async with bank.kit:
        await bank.open()
        await bank.says("send")
        await bank.says(bank.code)
        assert len(bank.transfers) == 1
        assert bank.code not in repr(seen)
        assert bank.codes[0][1] == bank.code


async def test_a_number_of_that_length_passes_where_no_code_is_expected() -> None:
    bank = Bank("Your order.")
    async with bank.kit:
        await bank.open()
        event = await bank.says("order 123456")
        assert event.content.body == "order 123456"


async def test_an_answer_while_the_agent_speaks_is_withheld_too() -> None:
    """The answer under way goes on; the agent that waits is asked after it."""
    bank = Bank(TRANSFER, "A code. " * 20, TRANSFER, "Done.", streaming=True)
    bank.model.chunk_delay = 0.1
    async with bank.kit:
        await bank.open()
        asking = asyncio.create_task(bank.says("send"))
        await asyncio.sleep(2)
        assert not asking.done() or bank.codes
        event = await bank.says(bank.code)
        await asking
        await asyncio.sleep(60)
        assert (event.content.body, len(bank.transfers)) == ("••••••", 1)
        assert bank.code not in await bank.stored()


# -- limits ---------------------------------------------------------------------------------------


async def test_a_code_expires() -> None:
    """The agents that wait are told, and the code is still withheld."""
    bank = Bank(TRANSFER, "A code.", "It took too long.", code_ttl=300)
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        await asyncio.sleep(300)
        assert [str(each.status) for each in bank.seen] == ["pending", "expired"]
        assert bank.seen[-1].reason == "code_expired"
        assert bank.web.texts()[-1] == "It took too long."
        event = await bank.says(bank.code)
        assert (event.content.body, await bank.status()) == ("••••••", "expired")


async def test_another_code_is_sent_only_after_a_while_and_not_too_often() -> None:
    """One under way serves all who ask; each hour has its number of codes."""
    bank = Bank(*[TRANSFER, "A code."] * 9, max_codes=3, resend_after=60)
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        await bank.says("send")
        assert len(bank.codes) == 1
        first = bank.code
        for expected in (2, 3, 3):
            await asyncio.sleep(61)
            await bank.says("I got none")
            assert len(bank.codes) == expected
        await bank.says(first)
        assert await bank.status() == "pending"
        await asyncio.sleep(700)
        await bank.says("send")
        assert "3 codes were sent within the hour" in repr(bank.model.calls[-1].messages)
        with pytest.raises(InvalidInputError, match="3 codes were sent within the hour"):
            await bank.verification.send_code("ann")
        await asyncio.sleep(3600)
        await bank.verification.send_code("ann")
        await asyncio.sleep(1)
        assert len(bank.codes) == 4


@pytest.mark.parametrize(
    ("rules", "sender", "reason"),
    [
        ({"send_by": None}, "ann", "no channel sends codes"),
        ({"send_by": "web"}, "ann", "it does not write to the address of one person"),
        ({"send_by": "pigeon"}, "ann", "no channel of that id is registered"),
        ({}, "eve", "it is not known who they are"),
        ({"address_of": True}, "ann", "no address of the person is known"),
    ],
)
async def test_who_cannot_be_verified_is_refused_with_the_reason(
    rules: dict[str, Any], sender: str, reason: str
) -> None:
    async def nowhere(identity_id: str, organization_id: str | None) -> str | None:
        return None

    if "address_of" in rules:
        rules = {"address_of": nowhere}
    bank = Bank(TRANSFER, "I cannot.", **rules)
    async with bank.kit:
        await bank.open()
        await bank.says("send", sender)
        assert (bank.transfers, bank.codes) == ([], [])
        assert reason in repr(bank.model.calls[-1].messages)
        assert bank.web.texts() == ["I cannot."]


# -- the program ----------------------------------------------------------------------------------


async def test_a_program_verifies_and_revokes() -> None:
    bank = Bank(TRANSFER, "A code.", TRANSFER, "Done.", TRANSFER, "No.")
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        made = await bank.verification.verify("ann", method="id-check", ttl="1h")
        await asyncio.sleep(1)
        assert (made.status, made.method, made.is_verified) == (VerificationStatus.VERIFIED, "id-check", True)
        assert len(bank.transfers) == 1
        assert (await bank.verification.revoke("ann", reason="stolen")).status == "revoked"
        await asyncio.sleep(1)
        await bank.says("again")
        assert len(bank.transfers) == 1
        assert [str(each.status) for each in bank.seen] == ["pending", "verified", "revoked", "pending"]
        assert bank.seen[2].reason == "stolen"


async def test_erasing_a_person_erases_their_verification() -> None:
    """And a copy of their data has it."""
    bank = Bank(TRANSFER, "A code.", TRANSFER, "Done.")
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        await bank.says(bank.code)
        export = (await bank.kit.export_person(identity_id="ann")).model_dump_json()
        assert "verified_at" in export
        await bank.kit.erase_person(identity_id="ann")
        assert await bank.status() == "unverified"
        await asyncio.sleep(4000)
        assert [str(each.status) for each in bank.seen] == ["pending", "verified"]


async def test_a_handover_does_not_lose_the_answer() -> None:
    """While a person has the conversation, the note waits in the history of the agent."""
    bank = Bank(TRANSFER, "A code.", "Hello again.")
    bot = bank.kit.get_channel("bot")
    handler = ConversationRouter(default_agent_id="bot").install(bank.kit, [bot])  # type: ignore[list-item]
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        await handler.handle("r1", "bot", {"target": "human"})
        await bank.says(bank.code)
        assert (await bank.status(), bank.web.texts()) == ("verified", ["A code."])
        await handler.release("r1", to="bot")
        await bank.says("hello?")
        assert "The person is verified now" in repr(bank.model.calls[-1].messages)


@pytest.mark.parametrize(
    "rules",
    [
        {"tools": []},
        {"tools": "transfer_*"},
        {"tools": [""]},
        {"tools": [3]},
        {"send_by": 3},
        {"ttl": 0},
        {"ttl": "soon"},
        {"ttl": None},
        {"code_length": 3},
        {"code_length": 13},
        {"code_length": "6"},
        {"code_length": True},
        {"code_ttl": -1},
        {"max_attempts": 0},
        {"max_attempts": 2.5},
        {"max_codes": 0},
        {"resend_after": "5m"},
        {"texts": "Your code is {code}"},
        {"address_of": "ann"},
    ],
    ids=repr,
)
def test_nonsense_is_refused_at_construction(rules: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        PersonVerification(RoomKit(), **{"tools": ["t"], **rules})


@pytest.mark.parametrize(
    "texts",
    [{"code": "no code"}, {"code": "{code} {x}"}, {"wrong": "{left"}, {"code": "{code.real.x}"}, {"x": ""}],
)
def test_texts_are_checked(texts: dict[str, Any]) -> None:
    """What cannot be filled in, or has no code, is refused at construction."""
    with pytest.raises(ValueError, match="VerificationTexts"):
        VerificationTexts(**texts)


async def test_one_kit_has_one() -> None:
    """Two of them would ask for two codes."""
    kit = RoomKit()
    PersonVerification(kit, tools=["a"])
    with pytest.raises(InvalidInputError, match="has a PersonVerification already"):
        PersonVerification(kit, tools=["b"])


@pytest.mark.parametrize(
    "call",
    [
        lambda it: it.verify("ann", method=""),
        lambda it: it.verify("", method="x"),
        lambda it: it.verify("ann", method="x", ttl=0),
        lambda it: it.status(None),
        lambda it: it.revoke(7),
        lambda it: it.send_code(""),
    ],
    ids=["no method", "no one", "no time", "None", "a number", "empty"],
)
async def test_wrong_arguments_are_refused(call: Callable[[PersonVerification], Awaitable[object]]) -> None:
    """With a typed error, before anything is stored."""
    bank = Bank()
    async with bank.kit:
        with pytest.raises(InvalidInputError):
            await call(bank.verification)


# -- workers --------------------------------------------------------------------------------------


async def test_two_workers_count_attempts_together() -> None:
    """However the guesses are spread, there are no more than the attempts."""
    make = worker_maker(identity_resolver=MockIdentityResolver(PEOPLE))
    one, two = Bank(TRANSFER, "A code.", *["ok"] * 9, kit=make()), Bank(*["ok"] * 20, kit=make())
    async with one.kit, two.kit:
        await one.open()
        await one.open("r2")
        await one.says("send")
        codes = one.codes or two.codes
        wrong = [f"{(int(codes[0][1]) + number) % 1_000_000:06d}" for number in range(1, 9)]
        await asyncio.gather(
            *(
                bank.says(guess, room_id=room)
                for guess, (bank, room) in zip(wrong, [(one, "r1"), (two, "r2")] * 4, strict=True)
            )
        )
        assert await one.status() == await two.status() == "expired"
        left = [each for bank in (one, two) for each in bank.web.texts() if each.startswith("That")]
        assert sum("no longer" in each for each in left) == 1
        assert sum("try" in each for each in left) == 2


async def test_a_worker_that_dies_with_the_code_leaves_it_to_another() -> None:
    """The next attempt sends another code, and that one counts; so does the first, should it have arrived."""
    vendor = MockSMSProvider(
        script=[ProviderError("no answer", error_code=ErrorCode.TIMEOUT)], idempotent=True
    )
    bank = Bank(TRANSFER, "A code.", TRANSFER, "Done.", vendor=vendor)
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        await asyncio.sleep(10)
        tried = [re.search(r"\d{6}", each["event"].content.body) for each in vendor.attempts]
        assert len(tried) == 2
        first = tried[0]
        assert first is not None
        await bank.says(first[0])
        assert len(bank.transfers) == 1


class _LosesCommits(InMemoryStore):
    """Refuses the next `failing` commits of entries."""

    failing = 0

    async def commit(self, commit: Commit) -> Committed:
        if self.failing and commit.entries:
            self.failing -= 1
            raise StoreError("the disk is full")
        return await super().commit(commit)


@pytest.mark.parametrize("is_sent_again", [True, False])
async def test_an_answer_that_was_judged_and_not_committed_still_counts(is_sent_again: bool) -> None:
    """The agent that waits is asked again: with the message as it comes again, else when the code expires."""
    store = _LosesCommits()
    kit = RoomKit(store, clock=VirtualClock(), identity_resolver=MockIdentityResolver(PEOPLE))
    bank = Bank(TRANSFER, "A code.", TRANSFER, "Done.", kit=kit)
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        code, store.failing = bank.code, 1
        with pytest.raises(StoreError):
            await bank.says(code, idempotency_key="m2")
        assert await bank.status() == "verified"
        if is_sent_again:
            assert (await bank.says(code, idempotency_key="m2")).content.body == "••••••"
        else:
            await asyncio.sleep(600)
        assert bank.transfers == [{"amount": 40}]
        assert (await bank.says(code)).content.body == "••••••"
        assert len(bank.model.calls) == 4
        assert code not in await bank.stored()
        await asyncio.sleep(1800)
        assert str(bank.seen[-1].status) == "expired"


async def test_the_last_wrong_answer_that_was_not_committed_is_refused_as_it_comes_again() -> None:
    store = _LosesCommits()
    kit = RoomKit(store, clock=VirtualClock(), identity_resolver=MockIdentityResolver(PEOPLE))
    bank = Bank(TRANSFER, "A code.", "No luck.", kit=kit, max_attempts=1)
    async with bank.kit:
        await bank.open()
        await bank.says("send")
        wrong, store.failing = bank.wrong(), 1
        with pytest.raises(StoreError):
            await bank.says(wrong, idempotency_key="m2")
        assert (await bank.says(wrong, idempotency_key="m2")).content.body == "••••••"
        assert "too many wrong codes" in repr(bank.model.calls[-1].messages[-1])
        assert (await bank.says(wrong, idempotency_key="m3")).content.body == wrong


class _FailsOnce(InMemoryStore):
    """Refuses one write of those that `is_failing` names, by what they are and what they are about."""

    failing = ""

    def _check(self, step: str) -> None:
        if step == self.failing:
            self.failing = ""
            raise StoreError("the disk is full")

    async def put_value(self, value: Any, **options: Any) -> Any:
        is_posted = (value.data.get("challenge") or {}).get("posted")
        self._check("posted" if is_posted else value.key[0])
        return await super().put_value(value, **options)

    async def set_timer(self, timer: Any) -> None:
        self._check(timer.kind.rpartition(".")[2])
        await super().set_timer(timer)

    async def create_room(self, room: Any, **options: Any) -> Any:
        self._check("room")
        return await super().create_room(room, **options)

    async def commit(self, commit: Commit) -> Committed:
        if commit.room_id.startswith("code-"):
            self._check("event" if any(is_code(each) for each in commit.entries) else "binding")
        return await super().commit(commit)


def is_code(entry: Any) -> bool:
    return bool(getattr(getattr(entry, "event", entry).content, "kind", "") == "verification_code")


@pytest.mark.parametrize("failing", ["code", "verification-expire", "room", "binding", "event", "posted"])
async def test_a_code_that_was_not_sent_is_sent_by_the_next_call(failing: str) -> None:
    """A call may break off, such as with its worker, between the challenge and its sending."""
    store = _FailsOnce()
    kit = RoomKit(store, clock=VirtualClock(), identity_resolver=MockIdentityResolver(PEOPLE))
    bank = Bank(TRANSFER, "Not now.", TRANSFER, "A code.", TRANSFER, "Done.", kit=kit)
    async with bank.kit:
        await bank.open()
        store.failing = failing
        await bank.says("send")
        assert store.failing == ""
        assert len(bank.codes) == (failing == "posted")
        await bank.says("again, please")
        assert len(bank.codes) == 1
        assert "A code was sent to them" in repr(bank.model.calls[3].messages[-1])
        assert await bank.status() == "pending"
        await bank.says(bank.code)
        assert bank.transfers == [{"amount": 40}]


@pytest.mark.parametrize("failing", ["room", "event"])
async def test_a_challenge_whose_code_was_sent_late_expires_in_time(failing: str) -> None:
    store = _FailsOnce()
    kit = RoomKit(store, clock=VirtualClock(), identity_resolver=MockIdentityResolver(PEOPLE))
    bank = Bank(TRANSFER, "Not now.", TRANSFER, "A code.", "It came too late.", kit=kit)
    async with bank.kit:
        await bank.open()
        store.failing = failing
        await bank.says("send")
        await bank.says("again, please")
        await asyncio.sleep(700)
        assert "no code came in time" in repr(bank.model.calls[-1].messages[-1])
        assert await bank.status() == "expired"


async def test_a_verification_is_of_one_organization() -> None:
    """An identity of that id in another organization, or in none, is another person."""
    ann = ANN.replace(organization_id="acme")
    kit = RoomKit(
        clock=VirtualClock(), identity_resolver=MockIdentityResolver({"ann": ann, "+15550001": ann})
    )
    bank = Bank(TRANSFER, "A code.", TRANSFER, "Done.", kit=kit)
    async with kit:
        await kit.store.create_identity(ann)
        await kit.create_room("r1", organization_id="acme")
        for channel_id in ("web", "bot"):
            await kit.attach_channel("r1", channel_id)
        await bank.verification.verify("ann", method="id-check")
        await bank.verification.verify("ann", method="id-check", organization_id="other")
        await bank.says("send")
        assert bank.transfers == []
        await bank.says(bank.code)
        assert len(bank.transfers) == 1
        assert (await bank.verification.status("ann", organization_id="acme")).method == "code"
        assert (await bank.verification.status("ann")).method == "id-check"


async def test_who_opted_out_of_messages_gets_no_code() -> None:
    """The delivery is skipped, as any other to that number."""

    class Asking(TransportChannel):
        def consent_purpose(self, event: Any, binding: Any) -> str | None:
            return "all"

    kit = RoomKit(clock=VirtualClock(), identity_resolver=MockIdentityResolver(PEOPLE))
    bank = Bank(kit=kit, send_by="asking")
    vendor = MockSMSProvider()
    kit.register_channel(Asking("asking", ChannelType.SMS, provider=vendor, recipient_key="phone_number"))
    async with kit:
        await bank.open()
        await kit.set_consent("phone", "+15550001", "revoked")
        await bank.verification.send_code("ann")
        await asyncio.sleep(1)
        assert vendor.attempts == []
        rows = [each for each in await kit.list_deliveries() if each.channel_id == "agent-codes"]
        assert [(str(each.state), each.reason) for each in rows] == [("skipped", "opted_out")]
