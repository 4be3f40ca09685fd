"""A mailbox that is read: the position, mails that come again, what becomes of them, failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from roomkit import InMemoryStore, RoomKit, TextContent
from roomkit.abc import ErrorCode, InvalidInputError, ProviderError
from roomkit.models.content import CompositeContent, MediaContent, SystemContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage, InboundResult
from roomkit.models.enums import SourceStatus
from roomkit_plugins.smtp import IMAPConfig, IMAPSource
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.simulators import MailboxSimulator

PASSWORD = "canary-of-the-password"
PATIENCE = 30.0
type Configure = Callable[..., IMAPConfig]


def mail(number: int, text: str = "hello", sender: str = "ann@example.com") -> bytes:
    head = f"From: {sender}\r\nMessage-ID: <m{number}@example.com>\r\nSubject: Order {number}\r\n"
    return f"{head}\r\n{text}\r\n".encode()


@pytest.fixture
async def mailbox() -> AsyncIterator[MailboxSimulator]:
    async with MailboxSimulator(users={"desk@shop.example": PASSWORD}) as simulator:
        yield simulator


@pytest.fixture
def configure(mailbox: MailboxSimulator) -> Configure:
    def make(**fields: Any) -> IMAPConfig:
        given = {
            "channel_id": "mail",
            "host": mailbox.host,
            "port": mailbox.port,
            "security": "none",
            "username": "desk@shop.example",
            "password": PASSWORD,
            "begin": "all",
        }
        return IMAPConfig(**{**given, **fields})

    return make


class Kit:
    """Takes what a source emits, and lets a test wait for it."""

    def __init__(self) -> None:
        self.taken: list[Any] = []  # bound: one test
        self._more = asyncio.Event()

    async def __call__(self, part: object) -> InboundResult | None:
        self.taken.append(part)
        self._more.set()
        return InboundResult() if isinstance(part, InboundMessage) else None

    async def have(self, count: int) -> list[Any]:
        async with asyncio.timeout(PATIENCE):
            while len(self.taken) < count:
                self._more.clear()
                await self._more.wait()
        return self.taken


@asynccontextmanager
async def running(source: IMAPSource, kit: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(source.start(kit))
    try:
        yield
    finally:
        await source.stop()
        async with asyncio.timeout(PATIENCE):
            await task


async def test_only_new_mails_are_read_from_the_first_start_on(
    mailbox: MailboxSimulator, configure: Configure
) -> None:
    mailbox.deliver(mail(1))
    source, kit = IMAPSource(configure(begin="new")), Kit()
    async with running(source, kit):
        await until(lambda: mailbox.idling == 1)
        mailbox.deliver(mail(2))
        (message,) = await kit.have(1)
    assert (message.external_id, message.sender_id) == ("<m2@example.com>", "ann@example.com")
    assert (message.channel_id, message.content) == ("mail", TextContent(body="hello"))
    assert (await source.healthcheck()).metadata == {"uid": 2, "unparsed": 0}
    assert not mailbox.mails[0].flags


@pytest.mark.parametrize("security", ["none", "tls"])
async def test_a_mail_that_comes_as_the_wait_begins_is_read_at_once(
    configure: Configure, security: Any
) -> None:
    """The server says so in one segment with its answer to IDLE."""
    async with MailboxSimulator(users={"desk@shop.example": PASSWORD}, security=security) as mailbox:
        mailbox.arriving.append(mail(1))
        ca_file = mailbox.ca_file if security == "tls" else None
        config = configure(port=mailbox.port, security=security, ca_file=ca_file, poll_seconds=600)
        kit = Kit()
        async with running(IMAPSource(config), kit):
            await kit.have(1)


async def test_a_broken_connection_is_made_again(mailbox: MailboxSimulator, configure: Configure) -> None:
    source, kit = IMAPSource(configure()), Kit()
    async with running(source, kit):
        await until(lambda: mailbox.idling == 1)
        mailbox.drop_connections()
        mailbox.deliver(mail(1))
        await kit.have(1)
    assert mailbox.connections == 2
    assert source.status is SourceStatus.STOPPED


async def test_mails_that_are_numbered_again_are_read_from_the_last_day_on(
    mailbox: MailboxSimulator, configure: Configure
) -> None:
    """Those of before are not; the kit knows the others by their Message-ID."""
    mailbox.deliver(mail(1), at=datetime(2026, 11, 20, tzinfo=UTC))
    mailbox.deliver(mail(2), at=datetime(2026, 11, 22, tzinfo=UTC))
    source, kit = IMAPSource(configure()), Kit()
    async with running(source, kit):
        await kit.have(2)
        await until(lambda: mailbox.idling == 1)
        mailbox.renumber()
        taken = await kit.have(3)
    assert [each.external_id for each in taken] == [
        "<m1@example.com>",
        "<m2@example.com>",
        "<m2@example.com>",
    ]
    assert source.uid == 102


async def test_a_mail_that_is_too_large_is_said_and_its_head_kept(
    mailbox: MailboxSimulator, configure: Configure
) -> None:
    mailbox.deliver(mail(1, "x" * 2_000))
    mailbox.deliver(mail(2))
    kit = Kit()
    async with running(IMAPSource(configure(max_bytes=1_000)), kit):
        large, whole = await kit.have(2)
    notice, head = large.content.parts
    assert isinstance(large.content, CompositeContent)
    assert isinstance(notice, SystemContent)
    assert isinstance(head, MediaContent)
    assert "more than 1000; it is in the mailbox" in notice.body
    assert (large.external_id, large.addressed_to) == ("<m1@example.com>", ())
    assert whole.content == TextContent(body="hello")


@pytest.mark.parametrize("processed", ["keep", "seen", "move", "delete"])
async def test_what_becomes_of_a_mail_is_as_configured(
    mailbox: MailboxSimulator, configure: Configure, processed: str
) -> None:
    mailbox.deliver(mail(1))
    fields = {"processed": processed, **({"move_to": "Done & gone"} if processed == "move" else {})}
    kit = Kit()
    async with running(IMAPSource(configure(**fields)), kit):
        await kit.have(1)
        await until(lambda: mailbox.idling == 1)
    assert [each.flags for each in mailbox.mails] == {"keep": [set()], "seen": [{"\\Seen"}]}.get(
        processed, []
    )
    assert [folder for folder, _ in mailbox.moved] == (["Done &- gone"] if processed == "move" else [])


async def test_a_mail_that_cannot_be_moved_was_taken_in_once(
    mailbox: MailboxSimulator, configure: Configure
) -> None:
    mailbox.refused.add("MOVE")
    for number in (1, 2):
        mailbox.deliver(mail(number))
    source, kit = IMAPSource(configure(processed="move", move_to="Done")), Kit()
    async with running(source, kit):
        await kit.have(2)
        await until(lambda: mailbox.idling == 1)
    assert (len(kit.taken), mailbox.connections, source.uid) == (2, 1, 2)


async def test_a_bounce_and_our_own_mail_are_no_messages(
    mailbox: MailboxSimulator, configure: Configure
) -> None:
    bounce = (
        b"From: MAILER-DAEMON@example.com\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n"
        b"Final-Recipient: rfc822; ann@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b\r\n"
        b"Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <d1@shop.example>\r\n\r\n--b--\r\n"
    )
    mailbox.deliver(mail(1, sender="desk@shop.example"))
    mailbox.deliver(bounce)
    source, kit = IMAPSource(configure(provider="ours")), Kit()
    async with running(source, kit):
        (status,) = await kit.have(1)
    assert isinstance(status, DeliveryStatus)
    assert (status.provider, status.message_id, status.status) == ("ours", "<d1@shop.example>", "undelivered")
    assert (await source.healthcheck()).metadata["unparsed"] == 1


async def test_a_wrong_password_is_not_tried_again(mailbox: MailboxSimulator, configure: Configure) -> None:
    source = IMAPSource(configure(password="wrong"))
    with pytest.raises(ProviderError, match="refused the login") as caught:
        await source.start(Kit())
    assert caught.value.error_code is ErrorCode.AUTH
    assert (source.status, mailbox.connections) == (SourceStatus.ERROR, 1)
    assert "wrong" not in source.name


async def test_a_folder_that_is_not_there_is_said(configure: Configure) -> None:
    with pytest.raises(ProviderError, match="the folder cannot be opened") as caught:
        await IMAPSource(configure(mailbox="Nowhere")).start(Kit())
    assert caught.value.error_code is ErrorCode.NOT_FOUND


async def test_a_mailbox_is_opened_by_a_token(mailbox: MailboxSimulator, configure: Configure) -> None:
    mailbox.tokens["desk@shop.example"] = "t1"

    async def token() -> str:
        return "t1"

    mailbox.deliver(mail(1))
    kit = Kit()
    async with running(IMAPSource(configure(password=None), token=token), kit):
        await kit.have(1)


async def test_a_mailbox_is_read_over_tls(configure: Configure) -> None:
    async with MailboxSimulator(users={"desk@shop.example": PASSWORD}, security="tls") as mailbox:
        mailbox.deliver(mail(1))
        fields = {"port": mailbox.port, "security": "tls"}
        kit = Kit()
        async with running(IMAPSource(configure(**fields, ca_file=mailbox.ca_file)), kit):
            await kit.have(1)
        assert mailbox.commands


async def test_another_start_continues_where_the_last_one_stopped(
    mailbox: MailboxSimulator, configure: Configure
) -> None:
    """On another worker too: the position is in the store."""
    store = InMemoryStore()
    seen: list[str] = []
    for number in (1, 2):
        mailbox.deliver(mail(number))
        async with RoomKit(store=store) as kit:
            kit.register_channel(RecordingChannel("mail"))
            source = IMAPSource(configure())
            await kit.attach_source("mail", source)
            await until(lambda number=number, source=source: source.uid == number)  # type: ignore[misc]
        fetched = [each for each in mailbox.commands if each.startswith("FETCH") and "BODY" in each]
        seen.append(fetched[-1].split()[1])
        assert len(fetched) == number
    assert seen == ["1", "2"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"username": None}, "set username"),
        ({"host": "mail.example"}, "show the password"),
        ({"processed": "move"}, "belong together"),
        ({"move_to": "Done"}, "belong together"),
        ({"own_addresses": ["desk"]}, "not a mail address"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    configure: Configure, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        configure(**fields)


def test_a_source_needs_a_password(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match="IMAP_PASSWORD"):
        IMAPSource(configure(password=None))
