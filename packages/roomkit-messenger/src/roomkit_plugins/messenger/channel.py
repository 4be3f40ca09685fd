"""Facebook Messenger as a channel of rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.transport import TransportChannel
from roomkit.authoring.window import ReplyWindow
from roomkit.models.base import utcnow
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType, ChannelType
from roomkit_plugins.messenger.rich import (
    LONGEST_BODY,
    LONGEST_LABEL,
    LONGEST_LINE,
    MOST_BUTTONS,
    MOST_CARDS,
    MOST_REPLIES,
)
from roomkit_plugins.messenger.wire import LONGEST_TEXT

if TYPE_CHECKING:
    from roomkit.abc.messenger import MessengerProvider
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

__all__ = ["CAPABILITIES", "MessengerChannel"]

_WINDOW = 86_400.0
_HUMAN_WINDOW = 7 * _WINDOW
_HUMAN_AGENT = "HUMAN_AGENT"
CAPABILITIES = ChannelCapabilities(
    media_types=(
        ChannelMediaType.TEXT,
        ChannelMediaType.RICH,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
        ChannelMediaType.TEMPLATE,
    ),
    max_length=LONGEST_TEXT,
    max_caption_length=0,
    max_rich_length=LONGEST_BODY,
    supports_composite=False,
    supports_threading=True,
    supports_reactions=True,
    supports_read_receipts=True,
    supports_delivery_receipts=True,
    supports_typing=True,
    supports_templates=True,
    supports_rich_text=True,
    supports_buttons=True,
    max_buttons=MOST_BUTTONS,
    max_button_text_length=LONGEST_LABEL,
    supports_cards=True,
    max_cards=MOST_CARDS,
    max_card_title_length=LONGEST_LINE,
    max_card_description_length=LONGEST_LINE,
    max_card_buttons=MOST_BUTTONS,
    supports_text_with_cards=False,
    supports_quick_replies=True,
    max_quick_replies=MOST_REPLIES,
    supports_media=True,
    max_media_size_bytes=25_000_000,
    supports_audio=True,
    supports_video=True,
)
"""What the Send API carries. A person's edits come in; a page has no edit and no deletion of its own."""


class MessengerChannel(TransportChannel):
    """Carries text, files, buttons, quick replies and cards to people on Messenger.

    The recipient is the binding's `metadata["facebook_user_id"]`, the page-scoped id. For `window_seconds`
    after a person wrote, anything may be sent to them; later only templates, and other content fails as
    `window_closed`: see `ReplyWindow`. With `human_agent` people answer, not a program, and the page has the
    permission for it: then it is seven days, with the tag HUMAN_AGENT after the first. With None the channel
    keeps no window, and Messenger itself refuses. `purpose` and `providers` are as of `SMSChannel`.
    """

    def __init__(
        self,
        channel_id: str,
        *,
        provider: MessengerProvider | None = None,
        providers: Sequence[MessengerProvider] = (),
        human_agent: bool = False,
        window_seconds: float | None = _WINDOW,
        purpose: str | None = None,
    ) -> None:
        if human_agent and window_seconds is None:
            raise InvalidInputError(
                f"channel {channel_id!r} has human_agent and no window: give window_seconds, after which the "
                "tag goes along"
            )
        seconds = _HUMAN_WINDOW if human_agent else window_seconds
        super().__init__(
            channel_id,
            ChannelType.MESSENGER,
            provider=provider,
            providers=providers,
            capabilities=CAPABILITIES,
            recipient_key="facebook_user_id",
            window=None if seconds is None else ReplyWindow(seconds),
        )
        self.purpose = purpose
        self._untagged = ReplyWindow(window_seconds) if human_agent and window_seconds else None

    @override
    def hints(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> Mapping[str, Any]:
        if self._untagged is None:
            return {}
        closes_at = self._untagged.closes_at(binding)
        now = utcnow() if self.services is None else self.services.clock.now()
        is_open = closes_at is not None and now < closes_at
        return {} if is_open else {"tag": _HUMAN_AGENT}

    @override
    def consent_purpose(self, event: RoomEvent, binding: ChannelBinding) -> str | None:
        said = event.metadata.get("purpose")
        return said if isinstance(said, str) and said else self.purpose
