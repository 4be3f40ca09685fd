"""Claude as an AI provider."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.log import get_logger
from roomkit_plugins.anthropic import wire
from roomkit_plugins.anthropic.answer import MessageStream, whole
from roomkit_plugins.anthropic.errors import ORIGIN, api_error
from roomkit_plugins.wire.connection import check_base_url, plain_headers
from roomkit_plugins.wire.halves import Halves
from roomkit_plugins.wire.left_out import LeftOut
from roomkit_plugins.wire.model_probe import asking_for_model, model_found
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import counted
from roomkit_plugins.wire.sdk import ClientErrors, LazyClient, Mask, connections_of, errors_of, needed
from roomkit_plugins.wire.sse import SSEDecoder
from roomkit_plugins.wire.structured import Structured

if TYPE_CHECKING:
    import httpx2

    import anthropic
    from roomkit.models.ai import StreamEvent
    from roomkit.models.generation import AIContext, AIResponse
    from roomkit_plugins.anthropic.config import AnthropicConfig

__all__ = ["AnthropicAIProvider"]

_log = get_logger("roomkit.anthropic")
_COUNTED = frozenset(
    {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control"}
)
"""The fields of a request that the counter takes."""


class AnthropicAIProvider(AIProvider):
    """Claude over the Messages API. One provider serves any number of rooms at once.

    The SDK is imported at the first call, in a worker thread. `http_client` replaces the SDK's own
    connections, for a proxy or other certificates; its maker closes it.
    """

    def __init__(self, config: AnthropicConfig, *, http_client: httpx2.AsyncClient | None = None) -> None:
        self._config = config
        self._http_client = http_client
        self._client = LazyClient(
            self._make_client,
            None if http_client else lambda client: client.close(),
            owner="AnthropicAIProvider",
            provider=self.name,
        )
        self._mask = Mask(self._key)
        self._left_out = LeftOut(_log, config.model)

    @property
    def name(self) -> str:
        """The provider's component name."""
        return "anthropic"

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
        """Return the whole answer. Raises ProviderError."""
        request = self._request(context)
        async with self._response(request, stream=False) as response:
            answer = whole(await response.read(), request.names, origin=_origin(response))
            return Structured(context, _origin(response)).whole(answer)

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield thinking, text and complete tool calls as they come, and one `StreamDone`, last.

        Raises ProviderError, before the first item or after any. Close the generator to stop the
        model: the connection is closed with it.
        """
        request = self._request(context)
        async with self._response(request, stream=True) as response:
            stream = MessageStream(request.names, origin=_origin(response))
            decoder, halves = SSEDecoder(stream.origin), Halves()
            structured = Structured(context, stream.origin)
            async for chunk in response.iter_bytes():
                for data in decoder.feed(chunk):
                    for item in stream.feed(data):
                        for event in halves.feed(item):
                            yield structured.seen(event)
            rest = [structured.seen(event) for event in halves.feed(stream.end())]
        for event in rest:
            yield event

    async def count_tokens(self, context: AIContext) -> int | None:
        """Return how many input tokens a request has, as Anthropic counts them. Raises ProviderError."""
        request = self._request(context)
        fields = {name: value for name, value in request.body.items() if name in _COUNTED}
        sdk = await self._client.get()
        opened = sdk.messages.with_streaming_response.count_tokens(**fields)
        async with self._opened(opened) as response:
            return counted(await response.read(), "input_tokens", _origin(response))

    async def probe(self) -> str:
        """Return that the vendor has the model, for this key. See `SupportsProbe`; a read costs nothing."""
        sdk = await self._client.get()
        model, host = self._config.model, sdk.base_url.host
        with asking_for_model(model, host):
            async with self._opened(sdk.models.with_streaming_response.retrieve(model)) as response:
                return model_found(await response.read(), model, host, _origin(response))

    async def close(self) -> None:
        """Close the connections; requests under way fail. Idempotent."""
        await self._client.close()

    def _request(self, context: AIContext) -> wire.AnthropicRequest:
        request = wire.request(self._config, context)
        self._left_out.warn(request.left_out)
        return request

    @contextlib.asynccontextmanager
    async def _response(
        self, request: wire.AnthropicRequest, *, stream: bool
    ) -> AsyncIterator[anthropic.AsyncAPIResponse[Any]]:
        """Send the request, and hold the answer open; failures until it is closed raise ProviderError."""
        sdk = await self._client.get()
        arguments = {**request.body, "stream": stream}
        untyped = {name: arguments.pop(name) for name in ("temperature",) if name in arguments}
        opened = sdk.messages.with_streaming_response.create(
            **arguments, extra_body={**untyped, **self._config.extra_body} or None
        )
        async with self._opened(opened) as response:
            yield response

    @contextlib.asynccontextmanager
    async def _opened(
        self, opened: contextlib.AbstractAsyncContextManager[anthropic.AsyncAPIResponse[Any]]
    ) -> AsyncIterator[anthropic.AsyncAPIResponse[Any]]:
        errors = _client_errors()
        try:
            async with opened as response:
                yield response
        except errors.kinds as error:
            raise self._failure(errors, error) from self._mask.cause(error)

    def _failure(self, errors: ClientErrors, error: Exception) -> ProviderError:
        import anthropic

        if isinstance(error, anthropic.APIStatusError):
            failure = api_error(error.status_code, error.body, error.response.headers)
            failure.args = (self._mask.hide(str(failure)),)
            return failure
        return errors.failure(error, ORIGIN, timeout=self._config.timeout)

    def _key(self) -> str | None:
        if self._config.api_key:
            return self._config.api_key.get_secret_value()
        return self._client.made.api_key if self._client.made else None

    def _make_client(self) -> anthropic.AsyncAnthropic:
        """Import the SDK and make its client: two seconds and some files, so never on the loop."""
        with needed("anthropic", by="AnthropicAIProvider", distribution="roomkit-anthropic"):
            import anthropic
        import httpx2

        config = self._config
        try:
            check_base_url(os.environ.get("ANTHROPIC_BASE_URL"))
        except ValueError as error:
            raise ProviderError(
                f"ANTHROPIC_BASE_URL: {error}", error_code=ErrorCode.INVALID_REQUEST, provider=self.name
            ) from None
        headers: dict[str, Any] = {
            **plain_headers(config.extra_headers),
            "anthropic-version": config.api_version,
        }
        if config.api_key and config.api_version == "2023-06-01":
            headers |= {"x-api-key": config.api_key.get_secret_value(), "Authorization": anthropic.Omit()}
        try:
            client = anthropic.AsyncAnthropic(
                api_key=config.api_key.get_secret_value() if config.api_key else None,
                base_url=config.base_url,
                timeout=config.timeout,
                max_retries=0,
                default_headers=headers,
                http_client=self._http_client or connections_of(anthropic, httpx2),
            )
        except anthropic.AnthropicError as error:
            raise self._no_key() from error
        if not (client.api_key or client.auth_token or client.credentials):
            raise self._no_key()
        return client

    def _no_key(self) -> ProviderError:
        return ProviderError(
            "there is no Anthropic key: set ANTHROPIC_API_KEY, or give AnthropicConfig an api_key",
            error_code=ErrorCode.AUTH,
            provider=self.name,
        )


def _origin(response: anthropic.AsyncAPIResponse[Any]) -> Origin:
    return replace(ORIGIN, request_id=response.request_id)


def _client_errors() -> ClientErrors:
    """Say what the SDK's exceptions mean, once it is imported."""
    import httpx2

    import anthropic

    return errors_of(anthropic, httpx2, anthropic.AnthropicError)
