"""WhatsApp Business as a channel of rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, override

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.transport import TransportChannel
from roomkit.authoring.window import ReplyWindow
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.content import TemplateContent
from roomkit.models.enums import ChannelMediaType, ChannelType
from roomkit_plugins.whatsapp.rich import LONGEST_BODY, LONGEST_LABEL, MOST_OPTIONS
from roomkit_plugins.whatsapp.wire import LONGEST_CAPTION, LONGEST_TEXT, is_user_id

if TYPE_CHECKING:
    from roomkit.abc.whatsapp import WhatsAppProvider
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

__all__ = ["CAPABILITIES", "WhatsAppChannel"]

_WINDOW = 86_400.0
CAPABILITIES = ChannelCapabilities(
    media_types=(
        ChannelMediaType.TEXT,
        ChannelMediaType.RICH,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
        ChannelMediaType.LOCATION,
        ChannelMediaType.TEMPLATE,
        ChannelMediaType.CUSTOM,
    ),
    max_length=LONGEST_TEXT,
    max_caption_length=LONGEST_CAPTION,
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
    max_buttons=MOST_OPTIONS,
    max_button_text_length=LONGEST_LABEL,
    supports_quick_replies=True,
    max_quick_replies=MOST_OPTIONS,
    supports_media=True,
    max_media_size_bytes=100_000_000,
    supports_audio=True,
    supports_video=True,
)
"""What the Cloud API carries. A person's edits and deletions come in; a business has none of its own."""


class WhatsAppChannel(TransportChannel):
    """Carries text, files, places, buttons and templates to people on WhatsApp.

    The recipient is the binding's `metadata["phone_number"]`: a number in E.164, or a business-scoped user
    id. For `window_seconds` after a person wrote, anything may be sent to them; later only templates. Then
    other content goes out as `template`, if that is given, or fails as `window_closed`: see `ReplyWindow`.
    With None the channel keeps no window, and WhatsApp itself refuses.
    Deliveries need consent for the `purpose` of their event's metadata, else for that of the channel, if it
    has one; people stop and resume "marketing" in WhatsApp itself. Of several `providers` the first is
    preferred, see `TransportChannel`.
    """

    def __init__(
        self,
        channel_id: str,
        *,
        provider: WhatsAppProvider | None = None,
        providers: Sequence[WhatsAppProvider] = (),
        template: TemplateContent | str | None = None,
        template_language: str = "en",
        window_seconds: float | None = _WINDOW,
        purpose: str | None = None,
    ) -> None:
        if template is not None and window_seconds is None:
            raise InvalidInputError(
                f"channel {channel_id!r} has a template and no window: give window_seconds, after which it "
                "goes out"
            )
        if isinstance(template, str):
            template = TemplateContent(template_id=template, language=template_language)
        super().__init__(
            channel_id,
            ChannelType.WHATSAPP,
            provider=provider,
            providers=providers,
            capabilities=CAPABILITIES,
            recipient_key="phone_number",
            window=None if window_seconds is None else ReplyWindow(window_seconds, template),
        )
        self.purpose = purpose

    @override
    def normalize(self, address: str) -> str:
        """Return a number without marks; a user id or a group's id as it is."""
        return address.strip() if is_user_id(address.strip()) else super().normalize(address)

    @override
    def consent_purpose(self, event: RoomEvent, binding: ChannelBinding) -> str | None:
        said = event.metadata.get("purpose")
        return said if isinstance(said, str) and said else self.purpose
