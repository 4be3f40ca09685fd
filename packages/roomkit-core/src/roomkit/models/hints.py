"""What a send takes beside the event and the address, by the role of the provider."""

from __future__ import annotations

from roomkit._dataclasses import dataclass

__all__ = [
    "EmailHints",
    "HTTPHints",
    "Hints",
    "MessengerHints",
    "RCSHints",
    "ReplyHints",
    "SMSHints",
    "TeamsHints",
    "TelegramHints",
    "WhatsAppHints",
]


@dataclass(slots=True, frozen=True, kw_only=True)
class Hints:
    """What every role's hints are; a provider may ignore one that its vendor has no way to say.

    `about` are the vendor's ids, of every part in order, of the message that an edit, a deletion or a
    reaction is about, as that vendor knows it in that conversation; the kit fills it, see
    `Channel.needs_vendor_ids`.
    """

    about: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True, kw_only=True)
class ReplyHints(Hints):
    """`reply_to` is the vendor's id of the message that is answered.

    Where nothing else is said, the kit fills it with that of the event's `parent_event_id`, if the channel
    `supports_threading`.
    """

    reply_to: str | None = None


@dataclass(slots=True, frozen=True, kw_only=True)
class SMSHints(Hints):
    """`from_` is the number or name to send from; None for the configured sender."""

    from_: str | None = None


@dataclass(slots=True, frozen=True, kw_only=True)
class RCSHints(Hints):
    """`fallback` allows an SMS when the phone has no RCS."""

    fallback: bool = True


@dataclass(slots=True, frozen=True, kw_only=True)
class EmailHints(Hints):
    """`from_` and `subject` are the configured ones when None.

    `references` are the Message-IDs of the thread, oldest first; the last is the one that is answered.
    `unsubscribe_url` is where a POST revokes the recipient's consent (RFC 8058).
    """

    from_: str | None = None
    subject: str | None = None
    cc: tuple[str, ...] = ()
    reply_to: str | None = None
    references: tuple[str, ...] = ()
    unsubscribe_url: str | None = None


@dataclass(slots=True, frozen=True, kw_only=True)
class WhatsAppHints(ReplyHints):
    """`reply_to` is the vendor's id of the message that is quoted."""


@dataclass(slots=True, frozen=True, kw_only=True)
class MessengerHints(ReplyHints):
    """`tag` allows a message beyond 24 hours."""

    tag: str | None = None


@dataclass(slots=True, frozen=True, kw_only=True)
class TeamsHints(ReplyHints):
    """`reply_to` is the vendor's id of the message that is answered."""


@dataclass(slots=True, frozen=True, kw_only=True)
class TelegramHints(ReplyHints):
    """`silent` sends without a sound."""

    silent: bool = False


@dataclass(slots=True, frozen=True, kw_only=True)
class HTTPHints(Hints):
    """No hints yet: an endpoint gets the event and the recipient."""
