"""Which mails a program wrote, not a person: they are never answered by a program (RFC 3834, RFC 5321)."""

from __future__ import annotations

from collections.abc import Collection

from roomkit_plugins.wire.mail.mime import MimeMail, header_text
from roomkit_plugins.wire.mail.outbound import LOOP_HEADER, loop_mark

__all__ = ["came_back", "robot_sign"]

_MOST_HOPS = 50
_BULK = frozenset({"bulk", "junk", "list", "auto_reply"})
_PROGRAMS = ("mailer-daemon", "postmaster", "noreply", "no-reply", "donotreply", "do-not-reply")


def robot_sign(mail: MimeMail, sender: str, envelope_from: str | None) -> str | None:
    """Return what shows that a program wrote a mail, such as "Precedence: bulk"; None for nothing."""
    submitted = header_text(mail, "Auto-Submitted").partition(";")[0].strip().lower()
    if submitted and submitted != "no":
        return f"Auto-Submitted: {submitted}"
    precedence = header_text(mail, "Precedence").lower()
    if precedence in _BULK:
        return f"Precedence: {precedence}"
    for name in ("X-Auto-Response-Suppress", "X-Autoreply", "X-Autorespond", "List-Id", "Feedback-ID"):
        if (said := header_text(mail, name)) and said.lower() not in ("none", "no"):
            return f"{name}: {said}"[:200]
    if envelope_from == "":
        return "the null sender"
    local = sender.partition("@")[0].lower()
    return f"the address {sender}" if local in _PROGRAMS else None


def came_back(mail: MimeMail, sender: str, own: Collection[str]) -> str | None:
    """Return why a mail is taken for one of ours, or one that runs in circles; None if it is neither."""
    if sender.lower() in {each.lower() for each in own}:
        return f"it is from {sender}, which is our own address"
    if header_text(mail, LOOP_HEADER) in map(loop_mark, own):
        return "it has our own mark"
    hops = len(mail.get_all("Received") or ())
    return f"it passed {hops} servers" if hops > _MOST_HOPS else None
