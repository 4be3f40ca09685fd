"""Telegram chats as a channel of rooms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, override

from roomkit.authoring.transport import TransportChannel
from roomkit.models.channel import ChannelCapabilities, RateLimit
from roomkit.models.enums import ChannelMediaType, ChannelType, MediaForm
from roomkit_plugins.telegram.entities import utf16_length
from roomkit_plugins.telegram.intake import moved_binding
from roomkit_plugins.telegram.outgoing import LONGEST, LONGEST_CAPTION, MOST_BUTTONS

if TYPE_CHECKING:
    from roomkit.abc.telegram import TelegramProvider
    from roomkit.models.channel import ChannelBinding, ChannelOutput
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

__all__ = ["CAPABILITIES", "TelegramChannel"]

CAPABILITIES = ChannelCapabilities(
    media_types=(
        ChannelMediaType.TEXT,
        ChannelMediaType.RICH,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
        ChannelMediaType.LOCATION,
        ChannelMediaType.CUSTOM,
    ),
    max_length=LONGEST,
    max_caption_length=LONGEST_CAPTION,
    max_rich_length=LONGEST,
    supports_composite=False,
    supports_threading=True,
    supports_reactions=True,
    supports_edit=True,
    supports_delete=True,
    supports_typing=True,
    supports_rich_text=True,
    supports_buttons=True,
    max_buttons=MOST_BUTTONS,
    supports_quick_replies=True,
    supports_media=True,
    supports_audio=True,
    supports_video=True,
    max_media_size_bytes=50 * 1024 * 1024,
)


class TelegramChannel(TransportChannel):
    """Carries messages to Telegram chats; the recipient is the binding's `metadata["telegram_chat_id"]`.

    A private chat has its person's id. A group, a channel and a business chat have one room for all who write
    there. Text of more than 4,096 UTF-16 code units goes out in several messages. `CustomContent` of the
    kinds `telegram.poll`, `telegram.contact` and `telegram.dice` is shown as such, of other kinds as its
    body. Of several `providers` the first is preferred, see `TransportChannel`. Deliveries to a person who
    blocked the bot are skipped as `opted_out`, until they start it again.
    """

    media_form = MediaForm.BYTES
    rate_limit = RateLimit(max_per_second=30)

    def __init__(
        self,
        channel_id: str,
        *,
        provider: TelegramProvider | None = None,
        providers: Sequence[TelegramProvider] = (),
        silent: bool | None = None,
    ) -> None:
        super().__init__(
            channel_id,
            ChannelType.TELEGRAM,
            provider=provider,
            providers=providers,
            capabilities=CAPABILITIES,
            recipient_key="telegram_chat_id",
            defaults={"silent": silent},
        )

    @override
    def takes_text(self, text: str) -> bool:
        return utf16_length(text) <= LONGEST

    @override
    def consent_purpose(self, event: RoomEvent, binding: ChannelBinding) -> str | None:
        return "all"

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        output = await super().deliver(event, binding, context)
        result = output.provider_result
        moved = None if result is None else result.metadata.get("migrated_to")
        if isinstance(moved, str) and self.services is not None:
            old = str(binding.metadata.get(self.recipient_key))
            await moved_binding(self.services, self.channel_id, old, moved)
        return output
