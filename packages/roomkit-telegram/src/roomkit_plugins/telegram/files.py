"""The bytes of files that people send, in the place of their references."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode, MediaNotConfiguredError, ProviderError
from roomkit.models.content import AudioContent, CompositeContent, EventContent, MediaContent, VideoContent
from roomkit_plugins.telegram.contents import FILES, file_ids_of, with_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roomkit.abc.services import MediaService
    from roomkit_plugins.telegram.client import TelegramAPI

__all__ = ["TelegramFiles"]

_LASTING = frozenset(
    {
        ErrorCode.INVALID_REQUEST,
        ErrorCode.UNSUPPORTED_CONTENT,
        ErrorCode.TOO_LONG,
        ErrorCode.NOT_FOUND,
        ErrorCode.BAD_RESPONSE,
    }
)
"""Failures that another try ends in as well."""
MOST_WITHOUT_STORE = 1_048_576
"""Bytes of a file in an event itself, which is where it is without a media store."""


class TelegramFiles:
    """Gets files by their ids, of at most `most` bytes, and as many as the kit keeps."""

    def __init__(self, api: TelegramAPI, *, most: int) -> None:
        self._api = api
        self._wanted = self._most = most

    def keep_in(self, media: MediaService) -> None:
        """Take the kit's media store: what it would refuse is not fetched."""
        try:
            kept = media.limit
        except MediaNotConfiguredError:
            kept = MOST_WITHOUT_STORE
        self._most = min(self._wanted, kept)

    async def fetched(self, content: EventContent) -> EventContent:
        """Return a content with its files in it, as `data:` URLs, which the kit keeps in its media store.

        A file that is too large, or that Telegram does not have any more, is named by a line of text. Raises
        ProviderError for what may succeed later: the update is to come again.
        """
        wanted = dict.fromkeys(file_ids_of(content))
        if not wanted:
            return content
        types = {_id(each): each for each in _files(content)}
        found = {each: await self._data_url(each, types[each]) for each in wanted}
        return with_files(content, found)

    async def _data_url(self, file_id: str, file: MediaContent | AudioContent | VideoContent) -> str | None:
        size = file.size_bytes if isinstance(file, MediaContent) else None
        if size is not None and size > self._most:
            return None
        try:
            data = await self._api.file(file_id, most=self._most)
        except ProviderError as error:
            if error.error_code in _LASTING:
                return None
            raise
        mime_type = "".join(file.mime_type.split())
        return f"data:{mime_type};base64,{b64encode(data).decode()}"


def _files(content: EventContent) -> Iterator[MediaContent | AudioContent | VideoContent]:
    match content:
        case CompositeContent():
            for part in content.parts:
                yield from _files(part)
        case MediaContent() | AudioContent() | VideoContent() if content.url.startswith(FILES):
            yield content


def _id(file: MediaContent | AudioContent | VideoContent) -> str:
    return next(file_ids_of(file))
