"""Files as Telegram takes them: by their URL, which it fetches, or their bytes."""

from __future__ import annotations

import mimetypes
from typing import Any

from roomkit.authoring.data_url import inline_file
from roomkit_plugins.telegram.outgoing import TelegramCall, undecodable

__all__ = ["with_file"]


def with_file(call: TelegramCall) -> dict[str, Any]:
    """Return the parameter of a call that is its file; none for one without. Imports the library.

    Raises ProviderError for a file in no form that can be sent.
    """
    if call.file is None:
        return {}
    if call.url.lower().startswith(("http://", "https://")):
        return {call.file: call.url}
    from telegram import InputFile

    file = inline_file(call.url)
    if file is None:
        raise undecodable("it has neither an http(s) URL nor bytes that can be read")
    return {call.file: InputFile(file.data, filename=call.filename or _name(call))}


def _name(call: TelegramCall) -> str:
    """Return a name by which Telegram knows the type of a file."""
    extension = mimetypes.guess_extension(call.mime_type.partition(";")[0].strip()) or ".bin"
    return f"{call.file}{extension}"
