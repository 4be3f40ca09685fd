"""Mails from outside: what a person said, what a server reports, and that nothing vanishes."""

from __future__ import annotations

from base64 import b64decode
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.models.content import CompositeContent, ConsentContent, MediaContent, RichContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ConsentState, EventType
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.wire.mail.inbound import MailReader, read_mail
from roomkit_plugins.wire.mail.outbound import LOOP_HEADER, loop_mark
from roomkit_plugins.wire.mail.quoted import cut_text, cut_tree
from roomkit_plugins.wire.markup import parse, to_text

READER = MailReader(channel_id="mail", provider="smtp", own=("desk@shop.example",))
HEAD = """\
From: Ann Diaz <Ann@Example.com>
To: desk@shop.example
Subject: Re: Order 42
Message-ID: <a2@example.com>
In-Reply-To: <m1@shop.example>
References: <m0@shop.example> <m1@shop.example>
"""
QUOTED = "On Sun, 22 Nov 2026 at 15:04, Shop <desk@shop.example>\nwrote:\n> Which colour?"


def read(text: str | bytes, **facts: Any) -> Any:  # Any: each test looks at one kind of part
    """Return the one part of a mail, given as text with bare line feeds."""
    data = text if isinstance(text, bytes) else text.encode().replace(b"\n", b"\r\n")
    (part,) = read_mail(data, READER, **facts)
    return part


def test_a_reply_says_what_the_person_wrote() -> None:
    part = read(HEAD + "Content-Type: text/plain; charset=utf-8\n\nSo blue, please.\n\n-- \nAnn\n\n" + QUOTED)
    assert isinstance(part, InboundMessage)
    assert (part.channel_id, part.sender_id) == ("mail", "ann@example.com")
    assert part.content == TextContent(body="So blue, please.")
    assert part.external_id == part.idempotency_key == part.provider_message_id == "<a2@example.com>"
    assert part.in_reply_to == ("<m1@shop.example>", "<m0@shop.example>")
    assert part.thread_id == "<m0@shop.example>"
    assert part.addressed_to is None
    assert part.extra == {
        "subject": "Re: Order 42",
        "from_name": "Ann Diaz",
        "to": ["desk@shop.example"],
        "references": ["<m0@shop.example>", "<m1@shop.example>"],
        "quoted": f"-- \nAnn\n\n{QUOTED}",
    }
    assert part.raw_payload["From"] == "Ann Diaz <Ann@Example.com>"


def test_a_mail_with_form_keeps_it_without_scripts_and_pictures() -> None:
    mail = EmailMessage()
    mail["From"], mail["Message-ID"] = "ann@example.com", "<x@example.com>"
    mail.set_content("Very blue.")
    mail.add_alternative(
        "<p>Very <b>blue</b>.<script>x</script><img src='https://spy.example/p' alt='A logo'></p>"
        "<div>On 22 Nov 2026, Shop wrote:<br></div><blockquote>Which?</blockquote>",
        subtype="html",
    )
    part = read(mail.as_bytes())
    assert part.content == RichContent(
        body="<p>Very <strong>blue</strong>.A logo</p>", format="html", plain_text="Very blue.A logo"
    )
    assert part.extra["quoted"] == "On 22 Nov 2026, Shop wrote:\n\n> Which?"
    assert "spy.example" in part.raw_payload["html"]


def test_files_and_pictures_are_parts_of_the_message() -> None:
    mail = EmailMessage()
    mail["From"] = "ann@example.com"
    mail.set_content("both")
    mail.add_attachment(b"\x89PNG", "image", "png", filename="../a.png")
    mail.add_attachment("text", filename="b.txt")
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("inside")
    mail.add_attachment(inner)
    part = read(mail.as_bytes())
    assert isinstance(part.content, CompositeContent)
    said, *files = part.content.parts
    assert said == TextContent(body="both")
    assert [file.filename for file in files] == ["a.png", "b.txt", "message-3.eml"]
    assert [file.mime_type for file in files] == ["image/png", "text/plain", "message/rfc822"]
    assert b64decode(files[0].url.partition(",")[2]) == b"\x89PNG"
    assert b"Subject: inner" in b64decode(files[2].url.partition(",")[2])


def test_a_file_alone_has_the_text_as_its_caption() -> None:
    mail = EmailMessage()
    mail["From"] = "ann@example.com"
    mail.set_content("my cat")
    mail.add_attachment(b"\x89PNG", "image", "png", filename="cat.png")
    content = read(mail.as_bytes()).content
    assert isinstance(content, MediaContent)
    assert (content.caption, content.filename) == ("my cat", "cat.png")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"Content-Type: text/plain; charset=iso-8859-1\n\n\xfcn\xef", "ünï"),
        (b"Content-Type: text/plain; charset=no-such\n\n\xc3\xbc", "ü"),
        (b"Content-Type: text/plain\n\n\xfc", "ü"),
        (b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n!!!w7w=", "ü"),
        (
            b"Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC=",
            "ü",
        ),
        (b"Content-Type: text/plain; format=flowed; delsp=yes\n\nlong \nline", "longline"),
        (b"Content-Type: text/plain; format=flowed\n\nlong \nline\n  in", "long line\n in"),
        (b"Content-Type: nonsense\n\nhi", "hi"),
        (b"Content-Type: multipart/mixed\n\nno boundary", "no boundary"),
        (b"Content-Type: text/html\n\n<p>hi", "hi"),
    ],
)
def test_a_text_in_any_encoding_is_read(body: bytes, text: str) -> None:
    content = read(b"From: ann@example.com\n" + body).content
    assert isinstance(content, TextContent)
    assert content.body == text


def test_headers_in_any_encoding_are_read() -> None:
    part = read(b"From: =?utf-8?q?Diaz=2C_Ana?= <ana@example.com>\nSubject: caf\xc3\xa9 =?bad?x?=\n\nhi")
    assert (part.sender_id, part.extra["from_name"]) == ("ana@example.com", "Diaz, Ana")
    assert part.extra["subject"].startswith("café")


@pytest.mark.parametrize(
    ("head", "sign"),
    [
        ("Auto-Submitted: auto-replied (vacation)", "Auto-Submitted: auto-replied (vacation)"),
        ("Precedence: bulk", "Precedence: bulk"),
        ("X-Auto-Response-Suppress: OOF", "X-Auto-Response-Suppress: OOF"),
        ("List-Id: <news.example.com>", "List-Id: <news.example.com>"),
    ],
)
def test_what_a_program_wrote_asks_no_agent(head: str, sign: str) -> None:
    part = read(f"From: ann@example.com\n{head}\n\nI am away")
    assert part.content == TextContent(body="I am away")
    assert (part.addressed_to, part.metadata["automatic"]) == ((), sign)
    assert read("From: ann@example.com\nAuto-Submitted: no\n\nhi").addressed_to is None


def test_the_null_sender_and_daemons_are_programs() -> None:
    assert read("From: ann@example.com\n\nhi", envelope_from="").metadata["automatic"] == "the null sender"
    assert read("From: MAILER-DAEMON@x.example\n\nhi").addressed_to == ()


@pytest.mark.parametrize(
    "head",
    [
        "From: Desk@Shop.example",
        f"From: ann@example.com\n{LOOP_HEADER}: {loop_mark('desk@shop.example')}",
        "From: ann@example.com" + "\nReceived: by x" * 51,
    ],
)
def test_our_own_mail_does_not_come_back_in(head: str) -> None:
    part = read(f"{head}\n\nhi")
    assert isinstance(part, UnparsedPart)
    assert part.reason.startswith("a mail in a loop: ")


def test_a_person_may_use_another_roomkit() -> None:
    assert isinstance(
        read(f"From: a@b.example\n{LOOP_HEADER}: {loop_mark('c@d.example')}\n\nhi"), InboundMessage
    )


def test_what_the_receiving_server_found_is_said_and_nothing_else_is_believed() -> None:
    theirs = "Authentication-Results: evil.example; spf=pass"
    ours = "Authentication-Results: mx.shop.example 1;\n spf=fail smtp.mailfrom=a; dkim=pass (x)"
    reader = MailReader(channel_id="mail", provider="smtp", authserv_id="mx.shop.example")

    def found(head: str) -> Any:
        (part,) = read_mail(f"Return-Path: <>\n{head}\nFrom: a@b.example\n\nhi".encode(), reader)
        assert isinstance(part, InboundMessage)
        return part.extra.get("authentication")

    assert found(f"{ours}\n{theirs}") == {"spf": "fail", "dkim": "pass"}
    assert found(f"{theirs}\n{ours}") is None
    assert read(f"{ours}\nFrom: a@b.example\n\nhi").extra.get("authentication") is None


def test_the_envelope_is_read_from_the_head_that_the_server_wrote() -> None:
    part = read("Return-Path: <>\nDelivered-To: reply+x@in.shop.example\nFrom: a@b.example\n\nhi")
    assert part.extra["envelope_to"] == ["reply+x@in.shop.example"]
    assert part.metadata["automatic"] == "the null sender"


# -- reports --------------------------------------------------------------------------------------

BOUNCE = """\
From: MAILER-DAEMON@example.com
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

Sorry.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com

Final-Recipient: rfc822; ann@example.com
Action: {action}
Status: {status}
Diagnostic-Code: smtp; 550 5.1.1 user unknown

--b
Content-Type: text/rfc822-headers

Message-ID: <m1@shop.example>
To: ann@example.com

--b--
"""


@pytest.mark.parametrize(
    ("action", "status", "state", "code"),
    [
        ("failed", "5.1.1", "undelivered", "5.1.1"),
        ("Failed", "", "undelivered", "5.1.1"),
        ("delayed", "4.4.1", "sending", "4.4.1"),
        ("delivered", "2.0.0", "delivered", None),
        ("relayed", "2.0.0", "sent", None),
    ],
)
def test_a_bounce_is_a_receipt(action: str, status: str, state: str, code: str | None) -> None:
    part = read(BOUNCE.format(action=action, status=status))
    assert isinstance(part, DeliveryStatus)
    assert (part.provider, part.message_id, part.status) == ("smtp", "<m1@shop.example>", state)
    assert (part.recipient, part.error_code) == ("ann@example.com", code)
    assert part.error_message == ("550 5.1.1 user unknown" if code else None)
    assert part.raw["text"] == "Sorry."


def test_a_report_that_names_no_mail_is_reported() -> None:
    part = read(BOUNCE.format(action="failed", status="5.0.0").replace("Message-ID", "X-Id"))
    assert isinstance(part, UnparsedPart)
    assert "names no mail" in part.reason


def test_a_reading_is_a_receipt() -> None:
    part = read(
        "From: ann@example.com\nContent-Type: multipart/report; report-type=disposition-notification;"
        " boundary=b\n\n--b\nContent-Type: text/plain\n\nread\n--b\n"
        "Content-Type: message/disposition-notification\n\nFinal-Recipient: rfc822;ann@example.com\n"
        "Original-Message-ID: <m1@shop.example>\n"
        "Disposition: manual-action/MDN-sent-manually; displayed\n\n--b--\n"
    )
    assert (part.message_id, part.status, part.recipient) == ("<m1@shop.example>", "read", "ann@example.com")


def test_a_complaint_ends_the_consent_of_its_author() -> None:
    part = read(
        "From: fbl@isp.example\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n"
        "--b\nContent-Type: text/plain\n\nabuse\n--b\nContent-Type: message/feedback-report\n\n"
        "Feedback-Type: abuse\nVersion: 1\n\n--b\nContent-Type: message/rfc822\n\n"
        "From: desk@shop.example\nTo: Ann <Ann@example.com>\nMessage-ID: <m1@shop.example>\n\nbuy\n--b--\n"
    )
    assert part.event_type is EventType.CONSENT
    assert isinstance(part.content, ConsentContent)
    assert (part.content.state, part.content.address) == (ConsentState.REVOKED, "ann@example.com")
    assert (part.sender_id, part.content.source) == ("ann@example.com", "complaint")


# -- quotations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("yes\n\n> no", "yes"),
        ("yes\n\nAm 22.11.26 um 15:04 schrieb Shop <d@s.example>:\n> was?", "yes"),
        ("oui\n\nLe 22 nov. 2026 à 15:04, Shop a écrit :\n> quoi ?", "oui"),
        ("yes\n\n-----Original Message-----\nFrom: Shop\nwhat?", "yes"),
        ("yes\n\nFrom: Shop <d@s.example>\nSent: Sunday\nTo: Ann\nSubject: x\n\nwhat?", "yes"),
        ("On 22 Nov 2026 Shop wrote:\n> what?\n\nyes, below", "yes, below"),
        (
            "On 22 Nov 2026 Shop wrote:\n> a?\nyes\n> b?\nno",
            "On 22 Nov 2026 Shop wrote:\n> a?\nyes\n> b?\nno",
        ),
        ("> only quoted", "> only quoted"),
        ("yes\nSent from my iPhone", "yes"),
        ("yes\n--\nAnn\nShop 7", "yes"),
        ("-- \nAnn", "-- \nAnn"),
        ("On Monday I met Ann, who wrote:\nhello", "On Monday I met Ann, who wrote:\nhello"),
        ("From: me to you\nis all I say", "From: me to you\nis all I say"),
        ("a\n\nb", "a\n\nb"),
        ("", ""),
    ],
)
def test_an_answer_is_without_what_it_quotes(text: str, own: str) -> None:
    kept, cut = cut_text(text)
    assert kept == own
    assert sorted("".join((kept + cut).split())) == sorted("".join(text.split()))


@pytest.mark.parametrize(
    ("html", "own"),
    [
        ("<p>yes</p><blockquote>no</blockquote>", "yes"),
        ("<p>yes</p><div>On 22 Nov 2026 Shop wrote:</div><blockquote>a</blockquote><p>Ann</p>", "yes\n\nAnn"),
        ("<div>On 22 Nov Shop wrote:</div><blockquote>a</blockquote><p>yes</p>", "yes"),
        ("<p>yes</p><p><b>From:</b> Shop<br><b>Sent:</b> Sunday</p><p>what?</p>", "yes"),
        ("<blockquote>all</blockquote>", "> all"),
        ("<p>yes</p><div>-- <br>Ann</div>", "yes"),
    ],
)
def test_an_answer_with_form_is_without_what_it_quotes(html: str, own: str) -> None:
    assert to_text(cut_tree(parse(html, "html"))[0]) == own


def test_a_forwarded_mail_is_kept_whole() -> None:
    part = read("From: ann@example.com\nSubject: Fwd: x\n\nsee\n\nFrom: Ben\nSent: Sunday\n\nhello")
    assert part.content.body == "see\n\nFrom: Ben\nSent: Sunday\n\nhello"


# -- hostile mails --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(500)) + "\nword",
        "X: y\n" * 2_000 + "\nword",
        f"X: {'y' * 200_000}\n\nword",
        "Content-Type: multipart/mixed; boundary=b\n\n"
        + "--b\nContent-Disposition: attachment; filename=a\n\nx\n" * 200,
    ],
)
def test_a_mail_beyond_measure_is_kept_as_a_file(body: str) -> None:
    part = read(f"From: ann@example.com\nMessage-ID: <h@example.com>\n{body}")
    assert isinstance(part, InboundMessage)
    assert isinstance(part.content, CompositeContent)
    notice, file = part.content.parts
    assert notice.body.startswith("A mail that cannot be read: ")
    assert b64decode(file.url.partition(",")[2]).endswith(body[-20:].replace("\n", "\r\n").encode())
    assert (part.external_id, part.addressed_to) == ("<h@example.com>", ())


def test_a_mail_from_no_sender_is_reported() -> None:
    assert isinstance(read("Subject: x\n\nhi"), UnparsedPart)


def test_a_copy_is_known_without_an_id() -> None:
    first, again, other = (read(f"From: a@b.example\n\n{text}") for text in ("hi", "hi", "ho"))
    assert first.idempotency_key == again.idempotency_key != other.idempotency_key


LINES = [
    *("From: ann@example.com", "--b", "--b--", "", "", "word", "<p>x", "=?utf-8?b?w?=", "\0\ufffd", " "),
    *("Content-Type: multipart/mixed; boundary=b", "Content-Type: multipart/report; boundary=b"),
    *("Content-Type: text/html; charset=utf-16", "Content-Type: text/plain; format=flowed"),
    *("Content-Type: message/delivery-status", "Action: failed", "Content-Type: message/rfc822"),
    *("Content-Transfer-Encoding: base64", "Content-Disposition: attachment; filename*=utf-8''%ff"),
    *("Subject: =?x?q?=", "Message-ID: <a", "References: <a> <b> c"),
]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(lines=st.lists(st.sampled_from(LINES), max_size=30), tail=st.binary(max_size=20))
def test_any_bytes_make_a_part(lines: list[str], tail: bytes) -> None:
    """One message, receipt or unparsed part at least: nothing raises, nothing vanishes."""
    assert read_mail("\n".join(lines).encode() + tail, READER)
