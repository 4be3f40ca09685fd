"""Mistral as an AI provider."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.log import get_logger
from roomkit_plugins.mistral import wire
from roomkit_plugins.mistral.answer import ChatStream
from roomkit_plugins.mistral.errors import ORIGIN, api_error
from roomkit_plugins.wire.answer import collect
from roomkit_plugins.wire.capture import Sender, capturing_client, written
from roomkit_plugins.wire.connection import plain_headers
from roomkit_plugins.wire.halves import Halves
from roomkit_plugins.wire.left_out import LeftOut
from roomkit_plugins.wire.model_probe import asking_for_model, model_found
from roomkit_plugins.wire.sdk import LazyClient, Mask, needed
from roomkit_plugins.wire.sse import SSEDecoder
from roomkit_plugins.wire.structured import Structured
from roomkit_plugins.wire.tls import shared_context

if TYPE_CHECKING:
    import httpx2
    from mistralai.client import Mistral

    from roomkit.models.ai import StreamEvent
    from roomkit.models.generation import AIContext, AIResponse
    from roomkit_plugins.mistral.config import MistralConfig

__all__ = ["MistralAIProvider"]

_log = get_logger("roomkit.mistral")


@dataclass(frozen=True, slots=True)
class _Client:
    """What writes requests, and what sends them."""

    sdk: Mistral
    http: httpx2.AsyncClient
    library: ModuleType
    """The HTTP library of the SDK."""
    sdk_error: type[Exception]
    """What the SDK raises for an answer that it cannot read."""
    key: str = field(repr=False)


class MistralAIProvider(AIProvider):
    """Mistral over its chat API. One provider serves any number of rooms at once.

    The SDK is imported at the first call, in a worker thread; it writes the requests, and the answers
    are read here. `http_client` replaces the connections, for a proxy or other certificates; its
    maker closes it.
    """

    def __init__(self, config: MistralConfig, *, http_client: httpx2.AsyncClient | None = None) -> None:
        self._config = config
        self._http_client = http_client
        self._client = LazyClient(
            self._make_client, self._close_client, owner="MistralAIProvider", provider=self.name
        )
        self._sender = Sender(ORIGIN, Mask(self._key), api_error, config.timeout)
        self._left_out = LeftOut(_log, config.model)

    @property
    def name(self) -> str:
        """The provider's component name."""
        return "mistral"

    @property
    def model_name(self) -> str:
        """The model asked."""
        return self._config.model

    @property
    def supports_vision(self) -> bool:
        """Whether image parts are sent to the model."""
        return self._config.vision

    @property
    def supports_streaming(self) -> bool:
        """Whether `generate_stream` is implemented."""
        return True

    @property
    def supports_structured_streaming(self) -> bool:
        """Whether `generate_structured_stream` streams for real."""
        return True

    @property
    def supports_response_schema(self) -> bool:
        """Whether a context's `response_schema` is honoured."""
        return True

    async def generate(self, context: AIContext) -> AIResponse:
        """Return the whole answer, which is streamed all the same. Raises ProviderError."""
        stream = self.generate_structured_stream(context)
        return collect([event async for event in stream])

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield thinking, text and complete tool calls as they come, and one `StreamDone`, last.

        Raises ProviderError, before the first item or after any. Close the generator to stop the
        model: the connection is closed with it.
        """
        request = wire.request(self._config, context)
        self._left_out.warn(request.left_out)
        client = await self._client.get()
        ready = await self._written(client, request)
        async with self._sender.answer(client.http, client.library, ready) as response:
            answer = ChatStream(request)
            decoder, halves, structured = SSEDecoder(ORIGIN), Halves(), Structured(context, ORIGIN)
            async for chunk in response.aiter_bytes():
                for data in decoder.feed(chunk):
                    for item in answer.feed(data):
                        for event in halves.feed(item):
                            yield structured.seen(event)
            rest = [structured.seen(event) for event in halves.feed(answer.end())]
        for event in rest:
            yield event

    async def probe(self) -> str:
        """Return that the vendor has the model, for this key. See `SupportsProbe`; a read costs nothing."""
        client = await self._client.get()
        model, headers = self._config.model, plain_headers(self._config.extra_headers)

        async def call() -> None:
            with suppress(client.sdk_error):  # of the empty answer: the request is what is wanted
                await client.sdk.models.retrieve_async(model_id=model, http_headers=headers)

        asked = await written(call)
        with asking_for_model(model, asked.url.host):
            async with self._sender.answer(client.http, client.library, asked) as response:
                return model_found(await response.aread(), model, asked.url.host, ORIGIN)

    async def close(self) -> None:
        """Close the connections; requests under way fail. Idempotent."""
        await self._client.close()

    async def _written(self, client: _Client, request: wire.MistralRequest) -> httpx2.Request:
        """Let the SDK write the request. Raises ProviderError for what it refuses to."""
        body: Any = request.body
        headers = plain_headers(self._config.extra_headers)

        async def call() -> None:
            async with await client.sdk.chat.stream_async(**body, http_headers=headers) as events:
                async for _ in events:
                    pass

        try:
            ready: httpx2.Request = await written(call)
        except ValueError as error:
            raise ORIGIN.refused(f"the Mistral SDK refuses the request ({type(error).__name__})") from None
        return ready

    def _key(self) -> str | None:
        if self._config.api_key:
            return self._config.api_key.get_secret_value()
        return self._client.made.key if self._client.made else None

    def _make_client(self) -> _Client:
        """Import the SDK and make its client: a second and some files, so never on the loop."""
        with needed("mistralai", by="MistralAIProvider", distribution="roomkit-mistral"):
            import mistralai.client
        import httpx2

        config = self._config
        key = config.api_key.get_secret_value() if config.api_key else os.environ.get("MISTRAL_API_KEY")
        if not key:
            raise ProviderError(
                "there is no Mistral key: set MISTRAL_API_KEY, or give MistralConfig an api_key",
                error_code=ErrorCode.AUTH,
                provider=self.name,
            )
        sdk = mistralai.client.Mistral(
            api_key=key,
            server_url=config.base_url,
            client=httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(500))),
            async_client=capturing_client(httpx2),
        )
        verify = shared_context(httpx2.create_ssl_context)
        http = self._http_client or httpx2.AsyncClient(verify=verify)
        return _Client(sdk, http, httpx2, mistralai.client.errors.MistralError, key)

    async def _close_client(self, client: _Client) -> None:
        if self._http_client is None:
            await client.http.aclose()
