"""The requests of python-telegram-bot's `Bot`, made by connections of ours.

The library's own HTTP layer raises one error for a refused connection, a broken one and each 5xx, so that it
is not known whether Telegram may have the message; it drops descriptions, follows the environment's proxies,
and its HTTP library logs the URL, in which the token is. Import this module off the loop: it imports the
library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import ProviderError
from roomkit_plugins.telegram.errors import ORIGIN, api_error
from roomkit_plugins.wire.reading import json_value
from telegram.error import TelegramError as LibraryError
from telegram.request import BaseRequest, RequestData

if TYPE_CHECKING:
    from types import ModuleType

    from roomkit_plugins.wire.caller import HTTPCaller

__all__ = ["CallFailed", "Requests"]


class CallFailed(LibraryError):
    """Carries our own error through the library, which passes its kind of errors on."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__("the call failed")
        self.error = error


class Requests(BaseRequest):
    """Makes each request of a `Bot` by a caller; whatever is no success is a `CallFailed`.

    The `Bot` has another token: the method's name is all that is taken of the URL.
    """

    def __init__(
        self, caller: HTTPCaller, library: ModuleType, *, timeout: float, base_url: str, token: str
    ) -> None:
        self._caller = caller
        self._http: Any = library
        self._timeout = timeout
        self._api_url = f"{base_url}/bot{token}/"
        self._token = token

    @property
    @override
    def read_timeout(self) -> float:
        return self._timeout

    @override
    async def initialize(self) -> None:
        """Connections are made when they are needed."""

    @override
    async def shutdown(self) -> None:
        """The caller is closed by its owner."""

    @override
    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Any = None,
        write_timeout: Any = None,
        connect_timeout: Any = None,
        pool_timeout: Any = None,
    ) -> tuple[int, bytes]:
        headers, body = self._encoded(request_data)
        asked = self._api_url + url.rpartition("/")[2]
        try:
            answer = await self._caller.call(method, asked, headers=headers, body=body)
        except ProviderError as error:
            raise CallFailed(error) from None
        if answer.status >= 400 or not _is_success(answer.body):
            raise CallFailed(api_error(answer, self._token))
        return answer.status, answer.body

    def _encoded(self, data: RequestData | None) -> tuple[dict[str, str], bytes]:
        """Return the headers and the body of a request: a form of files, or JSON."""
        if data is None:
            return {}, b""
        if not data.contains_files:
            return {"Content-Type": "application/json"}, data.json_payload
        fields, files = data.json_parameters, data.multipart_data
        made = self._http.Request("POST", "https://localhost", data=fields, files=files)
        return {"Content-Type": made.headers["content-type"]}, made.read()


def _is_success(body: bytes) -> bool:
    """Whether an answer says that it is one. Raises CallFailed for one that cannot be read."""
    try:
        found = json_value(body)
    except ValueError as error:
        raise CallFailed(ORIGIN.bad_response(f"not JSON ({error})")) from error
    if not isinstance(found, dict) or "ok" not in found or (found["ok"] is True and "result" not in found):
        raise CallFailed(ORIGIN.bad_response("an answer without ok, or without its result"))
    return found["ok"] is True
