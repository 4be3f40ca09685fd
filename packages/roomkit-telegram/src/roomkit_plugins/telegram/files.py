"""The bytes of files that people send, in the place of their references."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.content import AudioContent, CompositeContent, EventContent, MediaContent, VideoContent
from roomkit_plugins.telegram.contents import FILES, file_ids_of, with_files

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class TelegramFiles:
    """Gets files by their ids. `most` is how many bytes one may have."""

    def __init__(self, api: TelegramAPI, *, most: int) -> None:
        self._api = api
        self._most = most

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
