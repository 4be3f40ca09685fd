"""The Bot Connector, as a provider calls it; each SDK has one behind it.

https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-api-reference (Nov 2026).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.teams.errors import ORIGIN, connector_error
from roomkit_plugins.wire.caller import HTTPAnswer, HTTPCaller
from roomkit_plugins.wire.sdk import LazyClient, Mask, needed

if TYPE_CHECKING:
    import httpx2

    from roomkit_plugins.teams.config import TeamsConfig
    from roomkit_plugins.teams.tokens import Tokens

__all__ = ["Connector", "TokenSender", "checked_id", "read_answer"]


class Connector(ABC):
    """Writes the requests of the Bot Connector, and reads its answers; all by their JSON.

    `service_url` is that of the conversation. Each raises ProviderError: `accepted` is False if the service
    was not reached or refused, None if it did not answer.
    """

    @abstractmethod
    async def send(self, service_url: str, conversation_id: str, activity: Mapping[str, Any]) -> str:
        """Send an activity to a conversation; return its id."""

    @abstractmethod
    async def update(
        self, service_url: str, conversation_id: str, activity_id: str, activity: Mapping[str, Any]
    ) -> None:
        """Put an activity in place of one that was sent."""

    @abstractmethod
    async def delete(self, service_url: str, conversation_id: str, activity_id: str) -> None:
        """Delete an activity that was sent."""

    @abstractmethod
    async def create(self, service_url: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
        """Begin a conversation; return its id, and that of its first activity ("" without one)."""

    @abstractmethod
    async def members(self, service_url: str, conversation_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the members of a conversation."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections; requests under way fail. Idempotent."""


class TokenSender:
    """Sends what an SDK wrote, by connections of ours: with the bot's token, to hosts that may have it.

    The SDKs' own connections say neither whether the service was reached at all, by which it is decided
    whether another provider may be asked, nor how long to wait.
    """

    def __init__(
        self, config: TeamsConfig, tokens: Tokens, *, owner: str, http_client: httpx2.AsyncClient | None
    ) -> None:
        self._config = config
        self._tokens = tokens
        self._http_client = http_client
        self._owner = owner
        self._caller = LazyClient(self._make, self._close, owner=owner, provider=ORIGIN.provider)

    async def send(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> HTTPAnswer:
        """Send a request, and return an answer below 300. Raises ProviderError."""
        if not self._config.trusts(url):
            raise ORIGIN.refused(
                "the service URL is not Microsoft's, so it gets no token: add it to service_urls if it is "
                "yours",
                error_code=ErrorCode.PERMISSION,
            )
        caller = await self._caller.get()
        given = {**(headers or {}), "Authorization": f"Bearer {await self._tokens.get()}"}
        answer = await caller.call(method, url, headers=given, body=body)
        if answer.status >= 400:
            error = connector_error(answer)
            if error.error_code is ErrorCode.AUTH:
                self._tokens.forget()
            for secret in (*self._config.secrets, self._tokens.secret):
                error.args = (Mask(partial(str, secret)).hide(str(error)),)
            raise error
        return answer

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._caller.close()

    def _make(self) -> HTTPCaller:
        with needed("httpx2", by=self._owner, distribution="roomkit-teams"):
            import httpx2

        return HTTPCaller(ORIGIN, httpx2, timeout=self._config.timeout, client=self._http_client)

    async def _close(self, caller: HTTPCaller) -> None:
        await caller.close()


def checked_id(found: object) -> str:
    """Return the id of what was sent. Raises ProviderError."""
    if not isinstance(found, str) or not found:
        raise ORIGIN.bad_response("an activity without its id")
    return found


async def read_answer[Answer](work: Awaitable[Answer]) -> Answer:
    """Return what an SDK made of an answer. Raises ProviderError for one that it could not read."""
    try:
        return await work
    except ProviderError:
        raise
    except Exception as error:  # the SDK takes the answer apart, and checks nothing
        raise ORIGIN.bad_response(f"no resource ({type(error).__name__})") from error
