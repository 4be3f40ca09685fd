"""Telegram's Bot API by python-telegram-bot: https://core.telegram.org/bots/api (Bot API 10.0)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.telegram.errors import ORIGIN, TelegramError, api_error
from roomkit_plugins.wire.caller import HTTPAnswer, HTTPCaller
from roomkit_plugins.wire.reading import JSONReader
from roomkit_plugins.wire.sdk import LazyClient, Mask, needed

if TYPE_CHECKING:
    import httpx2

    from roomkit_plugins.telegram.config import TelegramBotConfig

__all__ = ["TelegramAPI"]


_LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes of a hundred updates, of which the longest have some ten thousand."""


@dataclass(slots=True)
class _Client:
    caller: HTTPCaller
    bot: Any
    """A `telegram.Bot`: its methods are called by name."""
    failed: type[Exception]


class TelegramAPI:
    """One bot's API, for any number of rooms at once."""

    def __init__(
        self, config: TelegramBotConfig, *, owner: str, http_client: httpx2.AsyncClient | None = None
    ) -> None:
        self._config = config
        self._owner = owner
        self._http_client = http_client
        self._reader = JSONReader(ORIGIN)
        self._mask = Mask(partial(str, self._token))
        self._client = LazyClient(self._make, self._close, owner=owner, provider=ORIGIN.provider)
        self._me: Mapping[str, Any] | None = None

    @property
    def _token(self) -> str:
        return self._config.bot_token.get_secret_value()

    async def call(self, method: str, fields: Mapping[str, Any]) -> Any:
        """Call a method of the library's `Bot`, such as `send_message`; return what it returns.

        Raises ProviderError, of type TelegramError for a refusal.
        """
        client = await self._client.get()
        try:
            return await getattr(client.bot, method)(**fields)
        except (client.failed, KeyError, TypeError, ValueError, AttributeError) as error:
            failure = _ours(error)  # of the builtin ones: the library's, for an answer of another shape
        raise _unchained(failure)

    async def updates(self, *, offset: int, limit: int, seconds: int, kinds: list[str]) -> list[Any]:
        """Return the updates from an offset on, as Telegram sent them, waiting up to `seconds` for one.

        Not by the library: it fails as a whole for one update that it cannot read, and so for ever.
        """
        wanted = {"offset": offset, "limit": limit, "timeout": seconds, "allowed_updates": kinds}
        answer = await self._ask("getUpdates", wanted, seconds=self._config.timeout + seconds)
        return self._reader.as_list(answer, "result")

    async def file(self, file_id: str, *, most: int) -> bytes:
        """Return the bytes of a file. The URL that they are at has the token, and is never shown.

        Raises ProviderError, TOO_LONG for a file of more than `most` bytes.
        """
        found = self._reader.as_object(await self._ask("getFile", {"file_id": file_id}), "result")
        size, path = found.get("file_size"), self._reader.as_text(found.get("file_path"), "file_path")
        if isinstance(size, int) and size > most:
            raise ORIGIN.refused(f"the file has {size} bytes", error_code=ErrorCode.TOO_LONG)
        answer = await self._asked("GET", f"file/bot{self._token}/{path}", largest=most)
        return answer.body

    async def me(self) -> Mapping[str, Any]:
        """Return the bot as Telegram knows it: asked once. Raises ProviderError."""
        if self._me is None:
            self._me = self._reader.as_object(await self._ask("getMe", {}), "result")
        return self._me

    async def probe(self) -> str:
        """Return in one line that the token is accepted. Raises ProviderError."""
        try:
            name = (await self.me()).get("username", "")
            hook = self._reader.as_object(await self._ask("getWebhookInfo", {}), "result")
        except ProviderError as error:
            error.args = (f"{error}{_remedy(error, self._config)}",)
            raise
        url, said = str(hook.get("url") or ""), hook.get("last_error_message")
        how = "updates come by polling" if not url else f"its webhook is {url.partition('?')[0]}"
        late = f"; Telegram's last error there: {said}" if isinstance(said, str) else ""
        return f"bot @{name} is accepted by {self._config.base_url}; {how}{self._mask.hide(late)}"

    async def close(self) -> None:
        """Close the connections; requests under way fail. Idempotent."""
        await self._client.close()

    async def _ask(self, method: str, fields: Mapping[str, Any], *, seconds: float | None = None) -> Any:
        answer = await self._asked(
            "POST",
            f"bot{self._token}/{method}",
            headers={"Content-Type": "application/json"},
            body=json.dumps(fields).encode(),
            timeout=seconds,
            largest=_LARGEST_ANSWER,
        )
        said = self._reader.parse(answer.body)
        if said.get("ok") is not True:
            raise api_error(answer, self._token)
        return said.get("result")

    async def _asked(self, method: str, path: str, **options: Any) -> HTTPAnswer:
        """Make a request that the library does not make. Raises ProviderError."""
        client = await self._client.get()
        url = f"{self._config.base_url.rstrip('/')}/{path}"
        try:
            answer = await client.caller.call(method, url, **{"headers": {}, **options})
        except ProviderError as error:
            failure = error
        else:
            if answer.status < 400:
                return answer
            failure = api_error(answer, self._token)
        raise _unchained(failure)

    async def _close(self, client: _Client) -> None:
        await client.caller.close()

    def _make(self) -> _Client:
        """Import the libraries and read the certificates: never on the loop."""
        with needed("httpx2", by=self._owner, distribution="roomkit-telegram"):
            import httpx2
        with needed("telegram", by=self._owner, distribution="roomkit-telegram"):
            import telegram

        from roomkit_plugins.telegram.transport import Requests

        timeout = self._config.timeout
        caller = HTTPCaller(ORIGIN, httpx2, timeout=timeout, client=self._http_client)
        requests = Requests(
            caller, httpx2, timeout=timeout, base_url=self._config.base_url.rstrip("/"), token=self._token
        )
        # The library logs the URL that it is made with, so it never gets the token.
        bot = telegram.Bot(f"{self._config.bot_id}:hidden", request=requests, get_updates_request=requests)
        return _Client(caller, bot, telegram.error.TelegramError)


def _ours(failed: Exception) -> ProviderError:
    error = getattr(failed, "error", None)
    if isinstance(error, ProviderError):
        return error
    return ORIGIN.bad_response(f"the library cannot read it ({type(failed).__name__})")


def _unchained(error: ProviderError) -> ProviderError:
    """Return an error without its causes: the request that they keep has the token in its URL."""
    error.__cause__ = error.__context__ = None
    return error


def _remedy(error: ProviderError, config: TelegramBotConfig) -> str:
    if error.error_code is ErrorCode.AUTH:
        return "; copy the token again from BotFather (/mybots, API Token)"
    if isinstance(error, TelegramError):
        return ""
    return f"; check that {config.base_url} is the Bot API and can be reached from here"
