"""Images that the kit keeps, in what a model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roomkit.models.ai import AIImagePart, AIMessage, AIPart, AITextPart
from roomkit.models.content import MediaContent, text_of
from roomkit.models.enums import MediaForm

if TYPE_CHECKING:
    from roomkit.abc.services import Services

__all__ = ["with_images"]

_KEPT = "media:"


async def with_images(messages: Sequence[AIMessage], services: Services | None) -> list[AIMessage]:
    """Return the messages with images that the kit keeps as bytes; those that are gone as text."""
    return [await _shown(message, services) if _refers(message) else message for message in messages]


def _refers(message: AIMessage) -> bool:
    return not isinstance(message.content, str) and any(
        isinstance(part, AIImagePart) and part.url.startswith(_KEPT) for part in message.content
    )


async def _shown(message: AIMessage, services: Services | None) -> AIMessage:
    parts = [await _part(part, services) for part in message.content if not isinstance(part, str)]
    return message.replace(content=tuple(parts))


async def _part(part: AIPart, services: Services | None) -> AIPart:
    if services is None or not isinstance(part, AIImagePart) or not part.url.startswith(_KEPT):
        return part
    image = MediaContent(url=part.url, mime_type=part.mime_type or "image/png")
    shown = await services.media.shown(image, MediaForm.BYTES)
    if isinstance(shown, MediaContent):
        return part.replace(url=shown.url, mime_type=shown.mime_type)
    return AITextPart(text=text_of(shown))
