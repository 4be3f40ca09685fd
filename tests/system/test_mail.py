"""Mail as a whole: a channel over a mail server and a mailbox, both ways, with what servers report."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Any

import pytest

from roomkit import InMemoryMediaStore, RoomKit, TextContent
from roomkit.models import Delivery, ReceiptState, RoomEvent
from roomkit.models.content import CompositeContent, MediaContent, RichContent
from roomkit_plugins.email import EmailChannel
from roomkit_plugins.smtp import IMAPConfig, IMAPSource, SMTPConfig, SMTPProvider
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.simulators import MailboxSimulator, MailServerSimulator

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100_000)


class Post:
    """A kit that mails, its mail server, and the mailbox that it reads."""

    def __init__(self, kit: RoomKit, server: MailServerSimulator, mailbox: MailboxSimulator) -> None:
        self.kit, self.server, self.mailbox = kit, server, mailbox

    async def rooms(self) -> list[str]:
        return [room.id for room in await self.kit.store.list_rooms()]

    async def said(self, room_id: str) -> list[RoomEvent]:
        return [each for each in await self.kit.get_timeline(room_id) if each.type == "message"]

    async def arrives(self, mail: EmailMessage | bytes) -> None:
        """Put a mail into the mailbox, and wait until it was read."""
        data = mail if isinstance(mail, bytes) else mail.as_bytes()
        before = self.mailbox.commands.count("IDLE")
        self.mailbox.deliver(data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        await until(lambda: self.mailbox.commands.count("IDLE") > before)

    async def rows(self, room_id: str) -> list[Delivery]:
        return list(await self.kit.list_deliveries(room_id, channel_id="email"))


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    users = {"desk@shop.example": "p"}
    async with (
        MailServerSimulator(users=users) as server,
        MailboxSimulator(users=users) as mailbox,
        RoomKit(media=InMemoryMediaStore()) as kit,
    ):
        common: dict[str, Any] = {"username": "desk@shop.example", "password": "p", "security": "none"}
        smtp = SMTPConfig(host=server.host, port=server.port, from_email="desk@shop.example", **common)
        imap = IMAPConfig(
            channel_id="email", host=mailbox.host, port=mailbox.port, begin="all", poll_seconds=600, **common
        )
        channel = EmailChannel(
            "email", provider=SMTPProvider(smtp), reply_address="reply@in.shop.example", secret="s"
        )
        kit.register_channel(channel)
        await kit.attach_source("email", IMAPSource(imap))
        await until(lambda: mailbox.commands.count("IDLE") == 1)
        yield Post(kit, server, mailbox)


def letter(text: str, sender: str = "ann@example.com", **headers: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = sender
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content(text)
    return mail


async def test_a_conversation_by_mail_stays_in_one_thread_and_one_room(post: Post) -> None:
    await post.arrives(letter("Where is my order?", Subject="Order 42", Message_ID="<a1@example.com>"))
    (room_id,) = await post.rooms()
    await post.kit.send_event(room_id, "system", RichContent(body="It is **on its way**."))
    answer = post.server.mails[-1].message
    assert (answer["Subject"], answer["In-Reply-To"]) == ("Re: Order 42", "<a1@example.com>")

    reply = letter(
        f"Thank you!\n\nOn 22 Nov 2026, Shop <desk@shop.example> wrote:\n> {post.server.mails[-1].text}\n",
        Subject="Re: Order 42",
        Message_ID="<a2@example.com>",
        In_Reply_To=answer["Message-ID"],
        References=f"<a1@example.com> {answer['Message-ID']}",
    )
    await post.arrives(reply)
    await post.arrives(reply)  # once more, by another way

    events = await post.said(room_id)
    assert await post.rooms() == [room_id]
    assert [each.content.body for each in events if isinstance(each.content, TextContent)] == [
        "Where is my order?",
        "Thank you!",
    ]
    assert events[-1].parent_event_id == events[1].id
    assert events[-1].channel_data.extra["quoted"].endswith("> It is on its way.")


async def test_a_colleague_who_answers_to_the_rooms_address_is_in_the_room(post: Post) -> None:
    await post.arrives(letter("Hello", Message_ID="<a1@example.com>"))
    (room_id,) = await post.rooms()
    await post.kit.send_event(room_id, "system", TextContent(body="Who can help?"))
    address = str(post.server.mails[-1].message["Reply-To"])
    await post.arrives(letter("I can", "ben@example.com", To=address, Message_ID="<b1@example.com>"))
    assert await post.rooms() == [room_id]
    assert (await post.said(room_id))[-1].source.participant_id == "ben@example.com"


async def test_a_bounce_is_the_receipt_of_its_delivery(post: Post) -> None:
    await post.arrives(letter("Hello", Message_ID="<a1@example.com>"))
    (room_id,) = await post.rooms()
    await post.kit.send_event(room_id, "system", TextContent(body="Hi"))
    (row,) = await post.rows(room_id)
    bounce = (
        "From: MAILER-DAEMON@example.com\nContent-Type: multipart/report; boundary=b\n\n--b\n"
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.com\n\n"
        "Final-Recipient: rfc822; ann@example.com\nAction: failed\nStatus: 5.2.2\n\n--b\n"
        f"Content-Type: text/rfc822-headers\n\nMessage-ID: {row.provider_message_id}\n\n--b--\n"
    )
    await post.arrives(bounce.encode())
    (row,) = await post.rows(room_id)
    assert row.receipt is ReceiptState.UNDELIVERED
    assert await post.rooms() == [room_id]


async def test_files_go_both_ways_through_the_media_store(post: Post) -> None:
    mail = letter("look", Message_ID="<a1@example.com>")
    mail.add_attachment(PNG, "image", "png", filename="meter.png")
    mail.add_attachment(b"%PDF-1.7", "application", "pdf", filename="offer.pdf")
    await post.arrives(mail)
    (room_id,) = await post.rooms()
    (event,) = await post.said(room_id)
    assert isinstance(event.content, CompositeContent)
    _, picture, _ = event.content.parts
    assert isinstance(picture, MediaContent)
    assert picture.url.startswith("media:")

    await post.kit.send_event(room_id, "system", event.content)

    files = {
        part.get_filename(): part.get_content()
        for part in post.server.mails[-1].message.walk()
        if part.get_filename()
    }
    assert files == {"meter.png": PNG, "offer.pdf": b"%PDF-1.7"}


async def test_our_own_mail_that_comes_back_opens_no_room(post: Post) -> None:
    await post.arrives(letter("Hello", Message_ID="<a1@example.com>"))
    (room_id,) = await post.rooms()
    await post.kit.send_event(room_id, "system", TextContent(body="Hi"))
    await post.arrives(post.server.mails[-1].content)
    assert await post.rooms() == [room_id]
    assert len(await post.said(room_id)) == 2
