"""Gemini as an AI provider."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.log import get_logger
from roomkit_plugins.gemini import wire
from roomkit_plugins.gemini.answer import ContentStream
from roomkit_plugins.gemini.errors import ORIGIN, api_error
from roomkit_plugins.wire.answer import collect
from roomkit_plugins.wire.capture import Sender, capturing_client, written
from roomkit_plugins.wire.connection import check_base_url, plain_headers
from roomkit_plugins.wire.halves import Halves
from roomkit_plugins.wire.left_out import LeftOut
from roomkit_plugins.wire.model_probe import asking_for_model, model_found
from roomkit_plugins.wire.reading import counted
from roomkit_plugins.wire.sdk import LazyClient, Mask, needed
from roomkit_plugins.wire.sse import SSEDecoder
from roomkit_plugins.wire.structured import Structured
from roomkit_plugins.wire.tls import shared_context

if TYPE_CHECKING:
    import httpx2
    from google import genai

    from roomkit.models.ai import StreamEvent
    from roomkit.models.generation import AIContext, AIResponse
    from roomkit_plugins.gemini.config import GeminiConfig

__all__ = ["GeminiAIProvider"]

_log = get_logger("roomkit.gemini")


@dataclass(frozen=True, slots=True)
class _Client:
    """What writes requests, and what sends them."""

    sdk: genai.Client
    http: httpx2.AsyncClient
    library: ModuleType
    """The HTTP library of the SDK."""
    key: str = field(repr=False)


class GeminiAIProvider(AIProvider):
    """Gemini over the Gemini API. One provider serves any number of rooms at once.

    The SDK is imported at the first call, in a worker thread; it writes the requests, and the answers
    are read here. `http_client` replaces the connections, for a proxy or other certificates; its
    maker closes it.
    """

    def __init__(self, config: GeminiConfig, *, http_client: httpx2.AsyncClient | None = None) -> None:
        self._config = config
        self._http_client = http_client
        self._client = LazyClient(
            self._make_client, self._close_client, owner="GeminiAIProvider", provider=self.name
        )
        self._sender = Sender(ORIGIN, Mask(self._key), api_error, config.timeout)
        self._left_out = LeftOut(_log, config.model)

    @property
    def name(self) -> str:
        """The provider's component name."""
        return "gemini"

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
            answer = ContentStream(request)
            decoder, halves, structured = SSEDecoder(ORIGIN), Halves(), Structured(context, ORIGIN)
            async for chunk in response.aiter_bytes():
                for data in decoder.feed(chunk):
                    for item in answer.feed(data):
                        for event in halves.feed(item):
                            yield structured.seen(event)
            rest = [structured.seen(event) for event in halves.feed(answer.end())]
        for event in rest:
            yield event

    async def count_tokens(self, context: AIContext) -> int | None:
        """Return how many input tokens a request has, as Gemini counts them. Raises ProviderError."""
        client = await self._client.get()
        ready = await self._written(client, wire.request(self._config, context))
        asked = client.library.Request(
            "POST",
            str(ready.url).partition(":streamGenerateContent")[0] + ":countTokens",
            headers=[pair for pair in ready.headers.items() if pair[0].lower() != "content-length"],
            content=wire.counting(self._config.model, ready.content),
        )
        async with self._sender.answer(client.http, client.library, asked) as response:
            return counted(await response.aread(), "totalTokens", ORIGIN)

    async def probe(self) -> str:
        """Return that the vendor has the model, for this key. See `SupportsProbe`; a read costs nothing."""
        client = await self._client.get()
        model = self._config.model
        asked = await written(partial(client.sdk.aio.models.get, model=model))
        with asking_for_model(model, asked.url.host):
            async with self._sender.answer(client.http, client.library, asked) as response:
                return model_found(await response.aread(), model, asked.url.host, ORIGIN, field="name")

    async def close(self) -> None:
        """Close the connections; requests under way fail. Idempotent."""
        await self._client.close()

    async def _written(self, client: _Client, request: wire.GeminiRequest) -> httpx2.Request:
        """Let the SDK write the request. Raises ProviderError for what it refuses to."""
        config: Any = {
            **request.config,
            "automatic_function_calling": {"disable": True},
            "automatic_continuation": False,
            "http_options": {"extra_body": dict(self._config.extra_body)}
            if self._config.extra_body
            else None,
        }
        contents: Any = request.contents

        async def call() -> None:
            stream = await client.sdk.aio.models.generate_content_stream(
                model=self._config.model, contents=contents, config=config
            )
            async for _ in stream:
                pass

        try:
            ready: httpx2.Request = await written(call)
        except ValueError as error:
            raise ORIGIN.refused(f"the Gemini SDK refuses the request ({type(error).__name__})") from None
        return ready

    def _key(self) -> str | None:
        if self._config.api_key:
            return self._config.api_key.get_secret_value()
        return self._client.made.key if self._client.made else None

    def _make_client(self) -> _Client:
        """Import the SDK and make its client: two seconds and some files, so never on the loop."""
        with needed("google.genai", by="GeminiAIProvider", distribution="roomkit-gemini"):
            import google.genai as genai
        import httpx2

        config = self._config
        base_url = config.base_url or os.environ.get("GOOGLE_GEMINI_BASE_URL")
        try:
            check_base_url(base_url)
        except ValueError as error:
            raise ProviderError(
                f"GOOGLE_GEMINI_BASE_URL: {error}", error_code=ErrorCode.INVALID_REQUEST, provider=self.name
            ) from None
        key = (
            config.api_key.get_secret_value()
            if config.api_key
            else os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")
        )
        if not key:
            raise ProviderError(
                "there is no Gemini key: set GEMINI_API_KEY, or give GeminiConfig an api_key",
                error_code=ErrorCode.AUTH,
                provider=self.name,
            )
        options = genai.types.HttpOptions(
            base_url=base_url,
            api_version=config.api_version,
            headers=plain_headers(config.extra_headers),
            httpx_async_client=capturing_client(httpx2),
            httpx_client=httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(500))),
        )
        # No environment variable makes it ask another of Google's clouds.
        sdk = genai.Client(api_key=key, http_options=options, vertexai=False)
        verify = shared_context(httpx2.create_ssl_context)
        return _Client(sdk, self._http_client or httpx2.AsyncClient(verify=verify), httpx2, key)

    async def _close_client(self, client: _Client) -> None:
        if self._http_client is None:
            await client.http.aclose()
