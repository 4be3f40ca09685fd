"""Mails as they are written: read back by the stdlib's strict parser."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest

from roomkit.abc import ErrorCode, ProviderError
from roomkit.models import RoomEvent
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    EventContent,
    MediaContent,
    RichContent,
    TextContent,
)
from roomkit.models.event import EventSource
from roomkit.models.hints import EmailHints
from roomkit_plugins.wire.mail.addresses import Mailbox, mailbox_of, mailboxes
from roomkit_plugins.wire.mail.outbound import LOOP_HEADER, outbound_mail
from roomkit_plugins.wire.mail.threads import bounded_references
from roomkit_plugins.wire.origin import Origin

ORIGIN = Origin("smtp", "the mail server")
US = Mailbox("desk@shop.example", "Shop, the")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def data_url(data: bytes, mime_type: str) -> str:
    return f"data:{mime_type};base64,{b64encode(data).decode()}"


def mail_of(
    content: EventContent | str,
    *,
    to: str = "ann@example.com",
    kind: str = "websocket",
    key: str | None = "d1",
    **hints: Any,
) -> EmailMessage:
    """Return the mail of a content, as a strict parser reads what is sent."""
    event = RoomEvent(
        id="e1",
        room_id="r",
        source=EventSource(channel_id="web", channel_type=kind),  # type: ignore[arg-type]
        content=TextContent(body=content) if isinstance(content, str) else content,
        created_at=datetime(2026, 11, 22, 15, 4, 5, tzinfo=UTC),
    )
    mail = outbound_mail(event, to, sender=US, hints=EmailHints(**hints), key=key, origin=ORIGIN)
    read = message_from_bytes(mail.mime().as_bytes(), policy=default)
    assert isinstance(read, EmailMessage)
    assert not any(part.defects for part in read.walk())
    return read


def parts_of(mail: EmailMessage) -> list[str]:
    return [part.get_content_type() for part in mail.walk()]


def text_in(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    text: str = part.get_content()
    return text.replace("\r\n", "\n")


def test_a_text_is_sent_as_text_and_as_html() -> None:
    mail = mail_of("Hello & welcome, Ünï\n\nsee https://shop.example/?a=1&b=2.")
    assert parts_of(mail) == ["multipart/alternative", "text/plain", "text/html"]
    assert text_in(mail, "plain") == "Hello & welcome, Ünï\n\nsee https://shop.example/?a=1&b=2.\n"
    html = text_in(mail, "html")
    assert "<p>Hello &amp; welcome, Ünï</p>" in html
    assert '<a href="https://shop.example/?a=1&amp;b=2">https://shop.example/?a=1&amp;b=2</a>.' in html


def test_the_head_says_who_when_and_which_message() -> None:
    mail = mail_of("hi", cc=("Ben <ben@example.com>",), reply_to="reply+x@shop.example", subject="Änderung")
    assert {name: str(mail[name]) for name in ("From", "To", "Cc", "Reply-To", "Subject", "Date")} == {
        "From": '"Shop, the" <desk@shop.example>',
        "To": "ann@example.com",
        "Cc": "Ben <ben@example.com>",
        "Reply-To": "reply+x@shop.example",
        "Subject": "Änderung",
        "Date": "Sun, 22 Nov 2026 15:04:05 +0000",
    }
    assert mail["Message-ID"] == mail_of("again")["Message-ID"]
    assert mail["Message-ID"] != mail_of("hi", key="d2")["Message-ID"]
    assert mail["Message-ID"].endswith("@shop.example>")
    assert mail["In-Reply-To"] is mail["References"] is mail["Auto-Submitted"] is None


def test_a_reply_names_its_thread() -> None:
    mail = mail_of("hi", references=("<a@x.example>", "<b@x.example>"))
    assert (mail["In-Reply-To"], mail["References"]) == ("<b@x.example>", "<a@x.example> <b@x.example>")


def test_a_long_thread_keeps_its_root_and_its_newest() -> None:
    ids = [f"<{number}@x>" for number in range(100)]
    assert bounded_references([*ids, "<5@x>"]) == ["<0@x>", *ids[81:], "<5@x>"]


@pytest.mark.parametrize(("kind", "is_automatic"), [("ai", True), ("system", True), ("websocket", False)])
def test_what_no_person_wrote_says_so(kind: str, is_automatic: bool) -> None:
    mail = mail_of("hi", kind=kind)
    assert (mail["Auto-Submitted"] == "auto-generated") is is_automatic
    assert (mail["X-Auto-Response-Suppress"] == "All") is is_automatic
    assert len(mail[LOOP_HEADER]) == 16


def test_a_mail_can_be_unsubscribed_from_by_one_click() -> None:
    mail = mail_of("offer", unsubscribe_url="https://shop.example/u?t=1")
    assert mail["List-Unsubscribe"] == "<https://shop.example/u?t=1>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_formatted_text_keeps_its_form_and_has_a_text_form() -> None:
    content = RichContent(
        body="**Ready** <b>now</b>",
        buttons=({"text": "See", "type": "url", "url": "https://shop.example"}, {"text": "Yes"}),
        cards=({"title": "Tea", "description": "green", "media_url": "https://shop.example/t.png"},),
        quick_replies=("Thanks",),
    )
    mail = mail_of(content)
    assert text_in(mail, "plain") == (
        "Ready <b>now</b>\n\nTea\n\n[Tea]\n\ngreen\n\n1. See (https://shop.example)\n2. Yes\n\n- Thanks\n"
    )
    html = text_in(mail, "html")
    assert "<strong>Ready</strong> &lt;b&gt;now&lt;/b&gt;" in html
    assert '<img src="https://shop.example/t.png" alt="Tea">' in html
    assert '<li><a href="https://shop.example">See</a></li>' in html


def test_a_picture_is_shown_in_the_text_and_a_file_is_beside_it() -> None:
    content = CompositeContent(
        parts=(
            TextContent(body="look"),
            MediaContent(url=data_url(PNG, "image/png"), mime_type="image/png", caption="a map"),
            MediaContent(
                url=data_url(b"%PDF-", "application/pdf"),
                mime_type="application/pdf",
                filename="b\r\nX: y.pdf",
            ),
            AudioContent(url="https://shop.example/a.ogg", transcript="hello"),
        )
    )
    mail = mail_of(content)
    assert parts_of(mail) == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
    ]
    picture, file = list(mail.walk())[-2:]
    assert picture.get_content() == PNG
    assert f'<img src="cid:{picture["Content-ID"].strip("<>")}" alt="image-2">' in text_in(mail, "html")
    assert (file.get_filename(), file.get_content()) == ("b__X: y.pdf", b"%PDF-")
    assert text_in(mail, "plain") == "look\n\na map\n\nhello\n\naudio-4: https://shop.example/a.ogg\n"


@pytest.mark.parametrize(
    ("to", "address"),
    [
        ("ann@example.com", "ann@example.com"),
        ('"Diaz, Ana" <ana@example.com>', "ana@example.com"),
        ("ana@bücher.example", "ana@xn--bcher-kva.example"),
    ],
)
def test_an_address_is_sent_as_servers_take_it(to: str, address: str) -> None:
    assert mailbox_of(to).address == address
    assert address in str(mail_of("hi", to=to)["To"])


NO_ADDRESSES = [
    "",
    "ann",
    "@example.com",
    "ann@",
    "a@b.example, c@d.example",
    "a@b.example\r\nBcc: x@y.example",
]
NO_DOMAINS = ["a b@c.example", "a@b..example", "a@b c.example", "a@exa\u202emple.com", "a@\u2028.example"]


@pytest.mark.parametrize("text", [*NO_ADDRESSES, *NO_DOMAINS, "x" * 400 + "@a.example"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ProviderError) as caught:
        mail_of("hi", to=text)
    assert caught.value.error_code in (ErrorCode.INVALID_RECIPIENT, ErrorCode.MISSING_RECIPIENT)


@pytest.mark.parametrize(
    "hints",
    [
        {"subject": "a\r\nBcc: x@y.example"},
        {"subject": "a\x00"},
        {"from_": "a@b.example\nBcc: x@y.example"},
        {"reply_to": "a@b.example\rX: y"},
        {"cc": ("a@b.example\nX: y",)},
        {"references": ("<a@b>\r\nX: y",)},
        {"references": ("a@b",)},
        {"unsubscribe_url": "https://a.example/>\r\nX: y"},
        {"unsubscribe_url": "javascript:alert(1)"},
    ],
)
def test_a_header_cannot_be_added(hints: dict[str, Any]) -> None:
    with pytest.raises(ProviderError) as caught:
        mail_of("hi", **hints)
    assert caught.value.error_code is ErrorCode.INVALID_REQUEST


def test_a_subject_beyond_measure_is_refused() -> None:
    with pytest.raises(ProviderError, match="at most 900"):
        mail_of("hi", subject="x" * 901)


def test_addresses_in_headers_are_read_with_groups_and_without_rubbish() -> None:
    found = mailboxes(
        ["team: Ann <ann@x.example>, ben@x.example;", "=?utf-8?q?J=C3=BCrgen?= <j@x.example>, no"]
    )
    assert found == [
        Mailbox("ann@x.example", "Ann"),
        Mailbox("ben@x.example"),
        Mailbox("j@x.example", "Jürgen"),
    ]
