"""The Bot Connector by Microsoft's Agents SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, override
from urllib.parse import quote, urlencode

from roomkit_plugins.teams.connector import Connector, TokenSender, checked_id, read_answer
from roomkit_plugins.wire.sdk import needed

if TYPE_CHECKING:
    from roomkit_plugins.wire.caller import HTTPAnswer

__all__ = ["AgentsConnector"]

_LONGEST_ID = 100_000
"""The SDK cuts conversation ids at 150 characters unless it is given another length."""


class _Exchange:
    """One request of the SDK's, as it awaits one of its HTTP library's."""

    def __init__(self, sender: TokenSender, method: str, url: str, document: Any) -> None:
        self._sender, self._method, self._url = sender, method, url
        self._body = b"" if document is None else json.dumps(document).encode()
        self._answer: HTTPAnswer | None = None

    async def __aenter__(self) -> Self:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        self._answer = await self._sender.send(self._method, self._url, self._body, headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    def status(self) -> int:
        assert self._answer is not None
        return self._answer.status

    async def text(self, encoding: str = "utf-8") -> str:
        assert self._answer is not None
        return self._answer.body.decode(encoding, "replace")

    async def json(self) -> Any:
        return json.loads(await self.text())


class _Session:
    """What the SDK sends by, in place of its HTTP library's session."""

    def __init__(self, sender: TokenSender, base_url: str) -> None:
        self._sender = sender
        self._base_url = base_url
        self.headers: dict[str, str] = {}

    def _ask(self, method: str, path: str, json: Any, params: Mapping[str, str] | None) -> _Exchange:
        query = f"?{urlencode(params)}" if params else ""
        return _Exchange(self._sender, method, f"{self._base_url.rstrip('/')}/{path}{query}", json)

    def get(self, path: str, *, params: Any = None, **_: Any) -> _Exchange:
        return self._ask("GET", path, None, params)

    def post(self, path: str, *, json: Any = None, params: Any = None, **_: Any) -> _Exchange:
        return self._ask("POST", path, json, params)

    def put(self, path: str, *, json: Any = None, params: Any = None, **_: Any) -> _Exchange:
        return self._ask("PUT", path, json, params)

    def delete(self, path: str, *, params: Any = None, **_: Any) -> _Exchange:
        return self._ask("DELETE", path, None, params)


class AgentsConnector(Connector):
    """Calls the Bot Connector as the Agents SDK does; imported at the first call, in a worker thread."""

    def __init__(self, sender: TokenSender, *, owner: str) -> None:
        self._sender = sender
        self._owner = owner
        self._sdk: Any = None

    @override
    async def send(self, service_url: str, conversation_id: str, activity: Mapping[str, Any]) -> str:
        operations = await self._operations(service_url)
        body = self._activity(activity)
        return checked_id(
            (await read_answer(operations.send_to_conversation(_quoted(conversation_id), body))).id
        )

    @override
    async def update(
        self, service_url: str, conversation_id: str, activity_id: str, activity: Mapping[str, Any]
    ) -> None:
        operations = await self._operations(service_url)
        body = self._activity(activity)
        await read_answer(operations.update_activity(_quoted(conversation_id), _quoted(activity_id), body))

    @override
    async def delete(self, service_url: str, conversation_id: str, activity_id: str) -> None:
        operations = await self._operations(service_url)
        await read_answer(operations.delete_activity(_quoted(conversation_id), _quoted(activity_id)))

    @override
    async def create(self, service_url: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
        operations = await self._operations(service_url)
        body = self._sdk.parameters.model_validate(dict(parameters))
        made = await read_answer(operations.create_conversation(body))
        return checked_id(made.id), made.activity_id or ""

    @override
    async def members(self, service_url: str, conversation_id: str) -> Sequence[Mapping[str, Any]]:
        operations = await self._operations(service_url)
        found = await read_answer(operations.get_conversation_members(_quoted(conversation_id)))
        return [each.model_dump(by_alias=True, exclude_none=True, mode="json") for each in found]

    @override
    async def close(self) -> None:
        await self._sender.close()

    def _activity(self, activity: Mapping[str, Any]) -> Any:
        return self._sdk.activity.model_validate(dict(activity))

    async def _operations(self, service_url: str) -> Any:
        if self._sdk is None:
            self._sdk = await asyncio.to_thread(_imported, self._owner)
        return self._sdk.operations(
            _Session(self._sender, service_url), max_conversation_id_length=_LONGEST_ID
        )


class _SDK:
    """The classes of the SDK that are used."""

    def __init__(self, activity: Any, parameters: Any, operations: Any) -> None:
        self.activity, self.parameters, self.operations = activity, parameters, operations


def _imported(owner: str) -> _SDK:
    with needed("microsoft_agents", by=owner, distribution="'roomkit-teams[agents]'"):
        from microsoft_agents.activity import Activity, ConversationParameters
        from microsoft_agents.hosting.core.connector.client.connector_client import ConversationsOperations

    return _SDK(Activity, ConversationParameters, ConversationsOperations)


def _quoted(part: str) -> str:
    """Return an id as a part of a path: the SDK puts it there as it is."""
    return quote(part, safe="")
