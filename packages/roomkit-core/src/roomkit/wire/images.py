"""Images of a conversation: their type, and the note that stands for one a model cannot take."""

from __future__ import annotations

import re
from dataclasses import dataclass

from roomkit.models.ai import AIImagePart, AITextPart

__all__ = ["InlineImage", "image_note", "inline_image", "is_fetched"]

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*?;base64,(.+)", re.DOTALL | re.IGNORECASE)
_OTHER_NAMES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
"""Names in use that no registry has, and their right ones."""


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image that is in the conversation itself."""

    media_type: str
    """Lower case, under its registered name, without parameters."""
    data: str
    """In base64."""

    @property
    def url(self) -> str:
        """The image as a data: URL."""
        return f"data:{self.media_type};base64,{self.data}"


def is_fetched(part: AIImagePart) -> bool:
    """Whether the vendor fetches the image itself."""
    return part.url.startswith(("http://", "https://"))


def inline_image(part: AIImagePart) -> InlineImage | None:
    """Return the image that a part's data: URL holds; None when it is no such URL.

    The part's own `mime_type` goes before the URL's.
    """
    found = _DATA_URL.fullmatch(part.url)
    if found is None:
        return None
    return InlineImage(_registered(part.mime_type or found[1]), found[2])


def image_note(part: AIImagePart) -> AITextPart:
    """Return what stands in a conversation for an image that the model cannot take."""
    inline = inline_image(part)
    known = inline is not None and inline.media_type
    return AITextPart(text=f"[image: {known}]" if known else "[image]")


def _registered(media_type: str) -> str:
    name = media_type.partition(";")[0].strip().lower()
    return _OTHER_NAMES.get(name, name)
