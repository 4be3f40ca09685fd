"""The Bot Connector by the Bot Framework SDK, whose support ended in 2025."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, override

from roomkit_plugins.teams.connector import Connector, TokenSender, checked_id, read_answer
from roomkit_plugins.wire.sdk import needed

if TYPE_CHECKING:
    from roomkit_plugins.wire.caller import HTTPAnswer

__all__ = ["BotFrameworkConnector"]


class BotFrameworkConnector(Connector):
    """Calls the Bot Connector as the Bot Framework SDK does; imported at the first call, in a thread."""

    def __init__(self, sender: TokenSender, *, owner: str) -> None:
        self._sender = sender
        self._owner = owner
        self._sdk: Any = None

    @override
    async def send(self, service_url: str, conversation_id: str, activity: Mapping[str, Any]) -> str:
        operations = await self._operations(service_url)
        body = self._sdk.read(activity)
        return checked_id((await read_answer(operations.send_to_conversation(conversation_id, body))).id)

    @override
    async def update(
        self, service_url: str, conversation_id: str, activity_id: str, activity: Mapping[str, Any]
    ) -> None:
        operations = await self._operations(service_url)
        body = self._sdk.read(activity)
        await read_answer(operations.update_activity(conversation_id, activity_id, body))

    @override
    async def delete(self, service_url: str, conversation_id: str, activity_id: str) -> None:
        operations = await self._operations(service_url)
        await read_answer(operations.delete_activity(conversation_id, activity_id))

    @override
    async def create(self, service_url: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
        operations = await self._operations(service_url)
        body = self._sdk.parameters.deserialize(dict(parameters))
        made = await read_answer(operations.create_conversation(body))
        return checked_id(made.id), made.activity_id or ""

    @override
    async def members(self, service_url: str, conversation_id: str) -> Sequence[Mapping[str, Any]]:
        operations = await self._operations(service_url)
        found = await read_answer(operations.get_conversation_members(conversation_id))
        return [each.serialize() for each in found]

    @override
    async def close(self) -> None:
        await self._sender.close()

    async def _operations(self, service_url: str) -> Any:
        if self._sdk is None:
            self._sdk = await asyncio.to_thread(_imported, self._owner, self._sender)
        return self._sdk.client(service_url).conversations


class _SDK:
    """The classes of the SDK that are used, and what makes its client."""

    def __init__(self, schema: Any, client: Callable[[str], Any]) -> None:
        self._schema = schema
        self.parameters = schema.ConversationParameters
        self.client = client

    def read(self, activity: Mapping[str, Any]) -> Any:
        """Return an activity as the SDK has it; it would drop all of a mention but its type."""
        found = self._schema.Activity.deserialize(dict(activity))
        if found.entities:
            found.entities = [self._schema.Mention.deserialize(each) for each in activity["entities"]]
        return found


_MODULES = (
    "botbuilder.schema",
    "botframework.connector.aio",
    "botframework.connector.bot_framework_sdk_client_async",
    "msrest.authentication",
    "msrest.pipeline",
    "msrest.pipeline.universal",
    "msrest.universal_http.async_abc",
)


def _imported(owner: str, sender: TokenSender) -> _SDK:
    """Import the SDK, which has no types: a second and a half, so never on the loop."""
    with needed("botbuilder", by=owner, distribution="'roomkit-teams[botbuilder]'"):
        found: list[Any] = [import_module(name) for name in _MODULES]
    schema, aio, configuration, authentication, pipeline, universal, http = found
    response: Any = http.AsyncClientResponse
    end: Any = pipeline.AsyncHTTPSender
    whole: Any = pipeline.AsyncPipeline

    class Answer(response):  # type: ignore[misc]
        """An answer as the SDK reads it."""

        def __init__(self, request: Any, answer: HTTPAnswer) -> None:
            super().__init__(request, answer)
            self.status_code, self.headers, self.reason = answer.status, answer.headers, ""

        def body(self) -> bytes:
            content: bytes = self.internal_response.body
            return content

    class Sending(end):  # type: ignore[misc]
        """The end of the SDK's pipeline: sends by connections of ours."""

        async def __aexit__(self, *_: object) -> None:
            return None

        async def send(self, request: Any, **_: Any) -> Any:
            asked = request.http_request
            content = asked.data or b""
            body = content.encode() if isinstance(content, str) else bytes(content)
            answer = await sender.send(asked.method, asked.url, body, dict(asked.headers))
            return pipeline.Response(request, Answer(asked, answer))

    class Pipeline(whole):  # type: ignore[misc]
        """The SDK's pipeline without its log, which would have every message in it."""

        def __init__(self, config: Any) -> None:
            super().__init__([config.user_agent_policy, universal.RawDeserializer()], Sending())

    def client(service_url: str) -> Any:
        nobody = authentication.Authentication()
        settings = configuration.BotFrameworkConnectorConfiguration(
            nobody, service_url.rstrip("/"), pipeline_type=Pipeline
        )
        return aio.ConnectorClient(nobody, custom_configuration=settings)

    return _SDK(schema, client)
