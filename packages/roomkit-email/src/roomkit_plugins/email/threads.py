"""The thread of a conversation, as its binding keeps it: pure functions on the state."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["MailThread", "answered_thread", "answering", "begun_thread", "thread_of"]

_LONGEST = 2_000
"""Characters of all ids of a thread: the state of a binding has 4 KiB."""
_LONGEST_SUBJECT = 300
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,900}>")
_REPLY = re.compile(r"(?:re|aw|antw|sv|vs|ref|odp|回复|回覆|返信)\s*(?:\[\d+\])?\s*[:\uff1a]", re.IGNORECASE)
_ANSWERED, _BEGUN = "thread", "begun"


@dataclass(frozen=True, slots=True)
class MailThread:
    """The Message-IDs of a thread, oldest first, and the subject of the next mail in it."""

    references: tuple[str, ...] = ()
    subject: str | None = None


def thread_of(state: Mapping[str, Any]) -> MailThread:
    """Return the thread that an answer belongs to: the person's, else the one that was begun here."""
    kept = state.get(_ANSWERED)
    if isinstance(kept, Mapping):
        return MailThread(_ids(kept), reply_subject(_subject(kept)))
    begun = state.get(_BEGUN)
    return MailThread(_ids(begun), _subject(begun)) if isinstance(begun, Mapping) else MailThread()


def answering(thread: MailThread, answered: Sequence[str]) -> tuple[str, ...]:
    """Return the references of a mail that answers one of a thread: that one, by its ids, is the last."""
    ids = [each for each in answered if _MESSAGE_ID.fullmatch(each)][:1]
    return (*(each for each in thread.references if each not in ids), *ids)


def answered_thread(message_id: str | None, extra: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a mail from outside changes of the state: its thread, with itself as the newest."""
    said = extra.get("references")
    ids = [each for each in said if isinstance(each, str)] if isinstance(said, Sequence) else []
    return _kept(_ANSWERED, [*ids, message_id or ""], extra.get("subject"))


def begun_thread(message_ids: Sequence[str], subject: str | None) -> Mapping[str, Any]:
    """Return what the first mail that was sent changes of the state."""
    return _kept(_BEGUN, message_ids, subject)


def _kept(name: str, ids: Sequence[str], subject: object) -> Mapping[str, Any]:
    kept = _bounded([each for each in ids if _MESSAGE_ID.fullmatch(each)])
    if not kept:
        return {}
    said = _one_line(subject)
    return {name: {"ids": kept, **({"subject": said} if said else {})}}


def _bounded(ids: Sequence[str]) -> list[str]:
    """Return the ids that fit: the root of the thread and the newest ones."""
    unique = list(reversed(dict.fromkeys(reversed(ids))))
    if not unique:
        return []
    root, *others = unique
    kept: list[str] = []
    left = _LONGEST - len(root)
    for each in reversed(others):
        left -= len(each)
        if left < 0:
            break
        kept.append(each)
    return [root, *reversed(kept)]


def _one_line(subject: object) -> str:
    line = " ".join(subject.split()) if isinstance(subject, str) else ""
    line = "".join(each for each in line if each.isprintable())
    return line if len(line) <= _LONGEST_SUBJECT else f"{line[: _LONGEST_SUBJECT - 1]}…"


def reply_subject(subject: str | None) -> str | None:
    """Return the subject of an answer: with `Re:` before it, once."""
    if subject is None or _REPLY.match(subject):
        return subject
    return f"Re: {subject}"


def _ids(kept: Mapping[str, Any]) -> tuple[str, ...]:
    ids = kept.get("ids")
    return tuple(each for each in ids if isinstance(each, str)) if isinstance(ids, Sequence) else ()


def _subject(kept: Mapping[str, Any]) -> str | None:
    subject = kept.get("subject")
    return subject if isinstance(subject, str) and subject else None
