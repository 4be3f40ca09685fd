"""The contract suites of the providers behind text channels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from roomkit.abc.email import EmailProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.http import HTTPProvider
from roomkit.abc.messenger import MessengerProvider
from roomkit.abc.provider import Provider, ReceivesWebhooks
from roomkit.abc.rcs import RCSDeliveryResult, RCSProvider
from roomkit.abc.sms import SMSProvider
from roomkit.abc.teams import TeamsProvider
from roomkit.abc.telegram import TelegramProvider
from roomkit.abc.whatsapp import WhatsAppProvider
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    DeleteContent,
    EditContent,
    EventContent,
    LocationContent,
    MediaContent,
    RichContent,
    SystemContent,
    TemplateContent,
    TextContent,
    VideoContent,
)
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import EventType
from roomkit.models.hints import EmailHints, Hints, RCSHints, SMSHints
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing.blocking import assert_loop_stays_free
from roomkit_plugins.testing.cancellation import Cancellation, cancel_at_every_await
from roomkit_plugins.testing.contracts.base import PATIENCE, close, event, make, unsaid
from roomkit_plugins.testing.contracts.provider_signals import ProviderSignalsContract
from roomkit_plugins.testing.contracts.webhooks import WebhookContract
from roomkit_plugins.testing.leaks import assert_nothing_leaks

__all__ = [
    "EVERY_CONTENT",
    "EmailProviderContract",
    "HTTPProviderContract",
    "MessengerProviderContract",
    "ProviderContract",
    "RCSProviderContract",
    "SMSProviderContract",
    "TeamsProviderContract",
    "TelegramProviderContract",
    "WhatsAppProviderContract",
    "each_content",
]

_URL = "https://example.com/file"
EVERY_CONTENT: Sequence[EventContent] = (
    TextContent(body="hello"),
    RichContent(
        body="**hello**",
        buttons=({"text": "Yes", "type": "reply", "payload": "y"},),
        cards=({"title": "A card", "description": "of sorts"},),
        quick_replies=("Yes", "No"),
    ),
    RichContent(body="<b>hello</b>", format="html", plain_text="hello"),
    MediaContent(url=f"{_URL}.jpg", mime_type="image/jpeg", caption="a picture"),
    MediaContent(url="data:text/plain;base64,aGVsbG8=", mime_type="text/plain", filename="a.txt"),
    LocationContent(latitude=52.5, longitude=13.4, label="Berlin"),
    AudioContent(url=f"{_URL}.ogg", transcript="hello"),
    VideoContent(url=f"{_URL}.mp4"),
    CompositeContent(
        parts=(TextContent(body="look"), MediaContent(url=f"{_URL}.png", mime_type="image/png"))
    ),
    TemplateContent(template_id="welcome", parameters={"name": "Ann"}, body="Welcome, Ann"),
    SystemContent(body="Ann joined", code="joined"),
    EditContent(target_event_id="event", new_content=TextContent(body="corrected")),
    DeleteContent(target_event_id="event"),
)
"""One content of every type, and of the shapes that are easily forgotten."""

each_content = pytest.mark.parametrize(
    "content",
    [pytest.param(each, id=f"{each.type}-{number}") for number, each in enumerate(EVERY_CONTENT)],
)
"""Runs a test with each of them as `content`."""

_LENGTHS = (1, 160, 161, 459, 1000)
_HARD_TEXTS = ("", " ", "\n\n", "日本語 👩‍👩‍👧 e\u0301", "<b>&amp;</b> *_`[]()", "\"\\'%s {0}", "\u202eevil")


class ProviderContract(ProviderSignalsContract):
    """What every provider promises: an id or an error for each message, and nothing in silence.

    The factory's providers talk to the vendor's simulator, which accepts everything. A subclass
    says who the recipient is and what else is true of the vendor.
    """

    role: type[Provider] = Provider

    @pytest.fixture
    def provider(self, subject: Any) -> Any:
        """Return the provider under test."""
        return subject

    @property
    def recipient(self) -> str:
        """An address the vendor accepts."""
        return "+15551230001"

    @property
    def honours_idempotency(self) -> bool:
        """Whether the vendor takes an idempotency key: the same key then gives the same message."""
        raise unsaid(self, "honours_idempotency", "whether the vendor takes an idempotency key")

    async def sent_texts(self, provider: Any) -> Sequence[str]:
        """Return the texts of the messages that the vendor was given so far, oldest first.

        Ask the vendor's side (the simulator), not the provider. Segments of one message count as one text.
        """
        raise unsaid(self, "sent_texts", "what the vendor was given")

    @property
    def max_length(self) -> int:
        """How many characters the vendor takes in one message."""
        return 1600

    @property
    def webhook_contract(self) -> type[WebhookContract] | None:
        """The class of tests of this provider's `webhook`; None if it has none."""
        return None

    @property
    def reports_ids(self) -> bool:
        """Whether the vendor names what it sent."""
        return True

    @pytest.fixture
    def failing(self) -> Callable[[int], Any] | None:
        """Return a function from an HTTP status to a provider whose vendor answers with it.

        A vendor that does not speak HTTP leaves it at None.
        """
        return None

    @pytest.fixture
    def unreachable(self) -> Callable[[], Any] | None:
        """Return a function that makes a provider whose vendor takes no connections.

        A vendor that is not reached by a connection leaves it at None.
        """
        return None

    @pytest.fixture
    def breaking_off(self) -> Callable[[], Any] | None:
        """Return a function that makes a provider whose vendor reads the request, and closes the connection.

        A vendor that does not answer by a connection leaves it at None.
        """
        return None

    @property
    def amends(self) -> frozenset[EventType]:
        """Which of EDIT, DELETE and REACTION the vendor has, for messages that the provider sent."""
        return frozenset()

    async def shown(self, provider: Any, message_id: str) -> str | None:
        """Return the text of a message as the recipient sees it now, None if it was deleted.

        Ask the vendor's side. Needed for a provider that `amends`.
        """
        raise unsaid(self, "shown", "what the recipient sees of a message")

    async def reactions_to(self, provider: Any, message_id: str) -> Sequence[str]:
        """Return the emoji that the provider has put on a message; asked where `amends` has REACTION."""
        raise unsaid(self, "reactions_to", "what reactions a message has")

    @pytest.fixture
    def returning_key(self) -> Callable[[], Any] | None:
        """Return a function that makes a provider whose receipts bring the idempotency key back.

        A vendor whose receipts never do leaves it at None.
        """
        return None

    async def last_receipt(self, provider: Any) -> WebhookRequest:
        """Return a receipt of the vendor's for the last message; needed beside `returning_key`."""
        raise unsaid(self, "last_receipt", "how the vendor sends a receipt for its last message")

    async def send(self, provider: Any, content: EventContent, to: str | None = None, **options: Any) -> Any:
        """Send `content` to the recipient, or to `to`."""
        sent = event("room", content=content)
        return await provider.send(sent, self.recipient if to is None else to, **options)

    async def test_a_sent_message_has_the_vendors_id(self, provider: Provider) -> None:
        """By which a receipt will find it; each message has its own."""
        results = [await self.send(provider, TextContent(body=text)) for text in ("one", "two")]
        assert all(isinstance(result, ProviderResult) and result.success for result in results)
        assert all(result.error is None for result in results)
        if self.reports_ids:
            ids = [result.provider_message_id for result in results]
            assert all(ids)
            assert len(set(ids)) == 2

    async def test_a_message_goes_out_once_and_whole(self, provider: Provider) -> None:
        """Whatever its length: the vendor gets each text as it was given, and gets it once."""
        texts = [_text_of_length(length) for length in _LENGTHS if length <= self.max_length]
        texts.append(_text_of_length(self.max_length))
        for text in texts:
            before = len(await self.sent_texts(provider))
            await self.send(provider, TextContent(body=text))
            assert list(await self.sent_texts(provider))[before:] == [text]

    async def test_sending_does_not_block_the_loop(self, provider: Provider) -> None:
        """Not for any time: all rooms of the process would wait."""
        await self.send(provider, TextContent(body="first"))  # loading at first use may take long
        await assert_loop_stays_free(lambda: self.send(provider, TextContent(body="hello")))

    async def test_a_webhook_is_under_contract(self, provider: Provider) -> None:
        """A provider that receives webhooks is also tested as one: forged requests get messages in."""
        if not isinstance(provider, ReceivesWebhooks):
            pytest.skip("the provider receives no webhooks")
        assert self.webhook_contract is not None, (
            f"{provider.name} has a `webhook`: test it in a subclass of WebhookContract, and return that "
            f"class from `webhook_contract` of {type(self).__name__}"
        )
        assert issubclass(self.webhook_contract, WebhookContract)

    async def test_it_is_of_its_role(self, provider: Provider) -> None:
        """So that a channel of that role takes it."""
        assert isinstance(provider, self.role)

    async def test_its_hints_are_of_its_role(self, provider: Provider) -> None:
        """The role's, or a type derived from it; without a hint the message goes out as without any."""
        assert issubclass(provider.hints_type, self.role.hints_type)
        assert (await self.send(provider, TextContent(body="plain"), hints=provider.hints_type())).success

    async def test_it_has_a_name(self, provider: Provider) -> None:
        """By which the ledger knows the vendor; no secret is part of it."""
        assert provider.name
        assert provider.name.isprintable()
        assert not any(secret in provider.name for secret in self.secrets)

    @each_content
    async def test_every_content_is_sent_or_refused(self, provider: Provider, content: EventContent) -> None:
        """What the vendor cannot carry is `unsupported_content`, never half of it and never nothing."""
        try:
            result = await self.send(provider, content)
        except ProviderError as error:
            assert error.error_code is ErrorCode.UNSUPPORTED_CONTENT  # noqa: PT017
            assert not error.retryable  # noqa: PT017
        else:
            assert result.success or result.error == ErrorCode.UNSUPPORTED_CONTENT

    @pytest.mark.parametrize("text", _HARD_TEXTS, ids=ascii)
    async def test_hard_text_is_sent_or_refused(self, provider: Provider, text: str) -> None:
        """White space, wide characters and markup end in a result or a typed error."""
        try:
            result = await self.send(provider, TextContent(body=text))
        except ProviderError as error:
            assert not error.error_code.blames_provider  # noqa: PT017
        else:
            assert isinstance(result, ProviderResult)

    @pytest.mark.parametrize("to", ["", " "])
    async def test_nobody_is_no_recipient(self, provider: Provider, to: str) -> None:
        """A message without a recipient is refused for good, before the vendor sees it."""
        with pytest.raises(ProviderError) as caught:
            await self.send(provider, TextContent(body="hello"), to)
        assert caught.value.error_code in (ErrorCode.MISSING_RECIPIENT, ErrorCode.INVALID_RECIPIENT)
        assert not caught.value.retryable

    async def test_many_rooms_send_at_once(self, provider: Provider) -> None:
        async with asyncio.timeout(PATIENCE):
            results = await asyncio.gather(
                *(self.send(provider, TextContent(body=f"number {number}")) for number in range(20))
            )
        assert all(result.success for result in results)
        if self.reports_ids:
            assert len({result.provider_message_id for result in results}) == 20

    async def test_the_same_key_is_the_same_message(self, provider: Provider) -> None:
        """Where the vendor takes an idempotency key, a retry does not send twice; elsewhere it is taken.

        The provider says which in `idempotent`: by that the kit decides whether to send again.
        """
        honours = self.honours_idempotency
        assert provider.idempotent is honours
        content, before = TextContent(body="once"), len(await self.sent_texts(provider))
        first, again, other = [
            await self.send(provider, content, idempotency_key=key) for key in ("key", "key", "other")
        ]
        sent = list(await self.sent_texts(provider))[before:]
        assert sent == ["once"] * (2 if honours else 3)
        if honours and self.reports_ids:
            assert first.provider_message_id == again.provider_message_id
            assert first.provider_message_id != other.provider_message_id

    async def test_a_cancelled_send_leaves_the_provider_usable(
        self, factory: Callable[[], Provider | Awaitable[Provider]]
    ) -> None:
        """At whatever await it is cancelled: the next message goes out."""
        provider = await make(factory)

        async def check(cancellation: Cancellation) -> None:
            async with asyncio.timeout(PATIENCE):
                assert (await self.send(provider, TextContent(body="next"))).success

        await cancel_at_every_await(lambda: self.send(provider, TextContent(body="cancelled")), check)
        await close(provider)

    @pytest.mark.parametrize(
        ("status", "retryable"),
        [(400, False), (401, False), (403, False), (404, False), (429, True), (500, True), (503, True)],
    )
    async def test_a_failure_is_classified(
        self, failing: Callable[[int], Any] | None, status: int, retryable: bool
    ) -> None:
        """By its status or the vendor's code: what may be tried again is, and nothing else."""
        if failing is None:
            pytest.skip("the vendor does not answer with an HTTP status")
        provider = await make(lambda: failing(status))
        with pytest.raises(ProviderError) as caught:
            await self.send(provider, TextContent(body="hello"))
        error = caught.value
        assert error.retryable is retryable
        assert error.accepted is False
        assert error.error_code is not ErrorCode.UNKNOWN
        assert error.provider == provider.name
        assert not any(secret in f"{error!r} {error} {vars(error)}" for secret in self.secrets)
        await close(provider)

    async def test_a_vendor_that_is_not_reached_has_not_taken_the_message(
        self, unreachable: Callable[[], Any] | None
    ) -> None:
        """So another provider may send it: `accepted` is False, and the failure is the provider's."""
        if unreachable is None:
            pytest.skip("the vendor is not reached by a connection")
        provider = await make(unreachable)
        with pytest.raises(ProviderError) as caught:
            await self.send(provider, TextContent(body="hello"))
        error = caught.value
        assert error.accepted is False
        assert error.retryable
        assert error.error_code.blames_provider
        await close(provider)

    async def test_a_vendor_that_breaks_off_may_have_taken_the_message(
        self, breaking_off: Callable[[], Any] | None
    ) -> None:
        """Nothing else is known after the request was sent: `accepted` is None."""
        if breaking_off is None:
            pytest.skip("the vendor does not answer by a connection")
        provider = await make(breaking_off)
        with pytest.raises(ProviderError) as caught:
            await self.send(provider, TextContent(body="hello"))
        error = caught.value
        assert error.accepted is None
        assert error.error_code.blames_provider
        await close(provider)

    async def test_a_receipt_brings_the_key_of_its_message_back(
        self, provider: Provider, returning_key: Callable[[], Any] | None
    ) -> None:
        """Where the provider says so: it finds a message whose answer was lost."""
        if returning_key is None:
            assert not provider.returns_key, "it says that receipts bring keys back: give `returning_key`"
            pytest.skip("the vendor's receipts bring no key back")
        made = await make(returning_key)
        assert made.returns_key is True
        await self.send(made, TextContent(body="hello"), idempotency_key="event:channel")
        found = await made.webhook(await self.last_receipt(made), channel_id="channel")
        assert [each.reference for each in found] == ["event:channel"]
        await close(made)

    async def test_an_edit_changes_the_message_that_it_is_about(self, provider: Provider) -> None:
        """And sends no other."""
        about = await self._about(provider, EventType.EDIT)
        sent = len(await self.sent_texts(provider))
        edit = EditContent(target_event_id="event", new_content=TextContent(body="after"))
        await self.send(provider, edit, hints=about)
        assert await self.shown(provider, about.about[0]) == "after"
        assert len(await self.sent_texts(provider)) == sent

    async def test_a_deletion_removes_the_message_that_it_is_about(self, provider: Provider) -> None:
        about = await self._about(provider, EventType.DELETE)
        await self.send(provider, DeleteContent(target_event_id="event"), hints=about)
        assert await self.shown(provider, about.about[0]) is None

    async def test_a_reaction_is_put_on_a_message_and_taken_back(self, provider: Provider) -> None:
        about = await self._about(provider, EventType.REACTION)
        for action, emoji in (("add", ["👍"]), ("remove", [])):
            reaction = event(
                "room",
                "👍",
                type=EventType.REACTION,
                parent_event_id="event",
                metadata={"emoji": "👍", "action": action},
            )
            await provider.send(reaction, self.recipient, hints=about)  # type: ignore[attr-defined]
            assert list(await self.reactions_to(provider, about.about[0])) == emoji
        assert await self.shown(provider, about.about[0]) == "before"

    async def _about(self, provider: Provider, kind: EventType) -> Hints:
        """Send a message; return the hints of an act that is about it."""
        if kind not in self.amends:
            pytest.skip(f"the vendor has no {kind} of a message")
        result = await self.send(provider, TextContent(body="before"))
        return provider.hints_type(about=tuple(result.parts) or (result.provider_message_id,))

    async def test_nothing_leaks(self, factory: Callable[[], Provider | Awaitable[Provider]]) -> None:
        """Providers that are made, used and closed leave tasks, threads and descriptors flat."""

        async def cycle() -> None:
            provider = await make(factory)
            await self.send(provider, TextContent(body="hello"))
            await close(provider)

        await assert_nothing_leaks(cycle, cycles=10)

    async def test_a_send_leaves_nothing_behind(self, provider: Provider) -> None:
        """Not until `close` either: no task, thread or descriptor for each message."""
        await assert_nothing_leaks(lambda: self.send(provider, TextContent(body="hello")), cycles=10)


class SMSProviderContract(ProviderContract):
    """What every SMS provider promises."""

    role = SMSProvider

    async def test_the_sender_may_be_named(self, provider: SMSProvider) -> None:
        sent = event("room", "hello")
        assert (await provider.send(sent, self.recipient, hints=SMSHints(from_=self.sender))).success

    @property
    def sender(self) -> str:
        """A number the vendor lets us send from."""
        return "+15550001234"


class RCSProviderContract(ProviderContract):
    """What every RCS provider promises."""

    role = RCSProvider

    async def test_the_result_says_which_way_it_went(self, provider: RCSProvider) -> None:
        """As RCS, or as an SMS when that was allowed and needed; a vendor may know it only later."""
        result = await provider.send(event("room", "hello"), self.recipient)
        assert isinstance(result, RCSDeliveryResult)
        assert result.channel_used in ("rcs", "sms", "unknown")
        assert result.fallback == (result.channel_used == "sms")

    async def test_what_may_not_fall_back_does_not(self, provider: RCSProvider) -> None:
        try:
            result = await provider.send(
                event("room", "hello"), self.recipient, hints=RCSHints(fallback=False)
            )
        except ProviderError as error:
            assert not error.retryable  # noqa: PT017
        else:
            assert not result.fallback

    async def test_it_says_who_it_sends_as_and_who_can_receive(self, provider: RCSProvider) -> None:
        """The agent's id, and a plain answer for a number."""
        assert provider.sender_id
        assert isinstance(provider.supports_fallback, bool)
        assert isinstance(await provider.check_capability(self.recipient), bool)


class EmailProviderContract(ProviderContract):
    """What every e-mail provider promises."""

    role = EmailProvider

    @property
    def recipient(self) -> str:
        """An address the vendor accepts."""
        return "ann@example.com"

    async def test_sender_and_subject_may_be_named(self, provider: EmailProvider) -> None:
        """For this message; a line break in a subject cannot add a header."""
        sent = event("room", "hello")
        named = EmailHints(from_="us@example.com", subject="Hello, Ünï")
        assert (await provider.send(sent, self.recipient, hints=named)).success

    async def test_a_hint_cannot_add_a_header(self, provider: EmailProvider) -> None:
        """A line break in any of them is refused for good, or sent as something else."""
        evil = "Hello\r\nBcc: everybody@example.com"
        for hints in (
            EmailHints(subject=evil),
            EmailHints(from_=evil),
            EmailHints(reply_to=evil),
            EmailHints(cc=(evil,)),
            EmailHints(references=(evil,)),
        ):
            try:
                await provider.send(event("room", "hello"), self.recipient, hints=hints)
            except ProviderError as error:
                assert not error.retryable  # noqa: PT017

    async def test_copies_and_threads_are_taken(self, provider: EmailProvider) -> None:
        hints = EmailHints(
            cc=("ben@example.com",),
            reply_to="desk@example.com",
            references=("<first@example.com>", "<last@example.com>"),
        )
        assert (await provider.send(event("room", "hello"), self.recipient, hints=hints)).success


class MessengerProviderContract(ProviderContract):
    """What every Messenger provider promises."""

    role = MessengerProvider

    @property
    def recipient(self) -> str:
        """A page-scoped user id."""
        return "7788990011223344"


class TeamsProviderContract(ProviderContract):
    """What every Teams provider promises."""

    role = TeamsProvider

    @property
    def recipient(self) -> str:
        """A conversation id."""
        return "19:conversation@thread.tacv2"


class TelegramProviderContract(ProviderContract):
    """What every Telegram provider promises."""

    role = TelegramProvider

    @property
    def recipient(self) -> str:
        """A chat id."""
        return "123456789"


class WhatsAppProviderContract(ProviderContract):
    """What every WhatsApp provider promises."""

    role = WhatsAppProvider

    async def test_a_template_is_sent_or_refused(self, provider: WhatsAppProvider) -> None:
        """Where there are none, the error says so."""
        try:
            result = await provider.send_template(self.recipient, "welcome", {"1": "Ann"})
        except ProviderError as error:
            assert error.error_code is ErrorCode.UNSUPPORTED_CONTENT  # noqa: PT017
        else:
            assert result.success

    async def test_a_reaction_is_sent_or_refused(self, provider: WhatsAppProvider) -> None:
        """Where there are none, the error says so."""
        try:
            result = await provider.send_reaction(self.recipient, self.recipient, "wamid.1", "👍")
        except ProviderError as error:
            assert error.error_code is ErrorCode.UNSUPPORTED_CONTENT  # noqa: PT017
        else:
            assert result.success


class HTTPProviderContract(ProviderContract):
    """What every HTTP provider promises."""

    role = HTTPProvider

    @property
    def recipient(self) -> str:
        """A recipient id of the endpoint's own."""
        return "recipient-1"

    @property
    def reports_ids(self) -> bool:
        """An endpoint need not name what it took."""
        return False

    async def test_the_recipient_never_chooses_the_url(self, provider: HTTPProvider) -> None:
        """An address that looks like one goes to the endpoint as it is, or is refused."""
        for to in ("http://169.254.169.254/", "../../etc/passwd", json.dumps({"a": 1})):
            try:
                result = await provider.send(event("room", "hello"), to)
            except ProviderError as error:
                assert not error.retryable  # noqa: PT017
            else:
                assert result.success


def _text_of_length(length: int) -> str:
    """Return a text in which no two places look alike."""
    return "".join(f"{number} " for number in range(length))[: length - 1] + "."
