"""The time after a person's message in which a vendor lets us answer freely."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.models.content import TemplateContent
from roomkit.models.enums import EventType

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent
    from roomkit.models.delivery import InboundMessage

__all__ = ["ReplyWindow"]

_KEY = "reply_window"
_OPENING = frozenset({EventType.MESSAGE, EventType.REACTION})


class ReplyWindow:
    """Lets free messages out for `seconds` after the recipient last wrote; templates at any time.

    WhatsApp and Messenger have such a window, of 24 hours. The state of each binding keeps when its person
    last wrote, by the kit's clock, so every worker knows it; what they wrote to another room counts, too.
    Outside the window a message fails for good as `window_closed`; with a `template` that goes out in its
    place, once for a message in several parts, and the delivery's `rendered` says so.
    """

    def __init__(self, seconds: float = 86_400.0, template: TemplateContent | None = None) -> None:
        if not seconds > 0:
            raise InvalidInputError(f"a reply window of {seconds!r} s cannot be: give more than 0 seconds")
        if template is not None and not isinstance(template, TemplateContent):
            raise InvalidInputError(
                f"the template of a reply window is a {type(template).__name__}: give a TemplateContent"
            )
        self.seconds = seconds
        self.template = template

    def opened_by(self, message: InboundMessage, at: datetime) -> Mapping[str, Any]:
        """Return what the binding's state keeps of a message that came in at `at`."""
        if message.event_type not in _OPENING:
            return {}
        return {_KEY: {"by": message.sender_id, "at": at.isoformat()}}

    def merged(self, kept: ChannelBinding, other: ChannelBinding) -> Mapping[str, Any]:
        """Return what a binding that stands for two keeps: of one recipient's, the last message counts."""
        mine, theirs = _opened_at(kept), _opened_at(other)
        is_later = theirs is not None and (mine is None or theirs > mine)
        if is_later and kept.address == other.address:
            return {_KEY: other.state[_KEY]}
        return {_KEY: kept.state[_KEY]} if _KEY in kept.state else {}

    def closes_at(self, *bindings: ChannelBinding) -> datetime | None:
        """Return when the window closes, or closed; None if the bindings' person has not written.

        The bindings are those of one recipient, in whatever rooms: the last message counts. Of a person with
        several addresses the recipient's counts: another one's message opens nothing.
        """
        found = [at for each in bindings if (at := _opened_at(each)) is not None]
        try:
            return max(found) + timedelta(seconds=self.seconds) if found else None
        except OverflowError:
            return None

    def lets_out(self, content: EventContent, now: datetime, *bindings: ChannelBinding) -> bool:
        """Return whether a content may go out itself to the recipient of the bindings."""
        if isinstance(content, TemplateContent):
            return True
        closes_at = self.closes_at(*bindings)
        return closes_at is not None and now < closes_at

    def substitute(
        self, content: EventContent, now: datetime, *bindings: ChannelBinding, provider: str
    ) -> TemplateContent | None:
        """Return the template that goes out in place of a content; None if that may go out itself.

        The first of the bindings is the one that is written to. Raises ProviderError, `window_closed`, if
        neither may.
        """
        if self.lets_out(content, now, *bindings):
            return None
        if self.template is not None:
            return self.template
        closed_at, binding = self.closes_at(*bindings), bindings[0]
        since = (
            "the recipient has not written yet"
            if closed_at is None
            else f"it closed at {closed_at.astimezone(UTC).isoformat(timespec='seconds')}, "
            f"{self.seconds / 3600:g} h after the recipient last wrote"
        )
        raise ProviderError(
            f"the reply window of channel {binding.channel_id!r} in room {binding.room_id!r} is closed: "
            f"{since}; send a TemplateContent, or give the channel's ReplyWindow a template",
            error_code=ErrorCode.WINDOW_CLOSED,
            provider=provider,
        )


def _opened_at(binding: ChannelBinding) -> datetime | None:
    """Return when the person of a binding last wrote from the address that is written to."""
    kept = binding.state.get(_KEY)
    if not isinstance(kept, Mapping):
        return None
    by = kept.get("by")
    if by != binding.address and by in binding.also:
        return None
    try:
        at = datetime.fromisoformat(str(kept.get("at")))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None
