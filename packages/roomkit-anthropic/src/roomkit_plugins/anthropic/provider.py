"""Claude as an AI provider."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.anthropic import wire
from roomkit_plugins.anthropic.answer import MessageStream, whole
from roomkit_plugins.anthropic.errors import api_error, bad_response
from roomkit_plugins.anthropic.sse import SSEDecoder

if TYPE_CHECKING:
    import httpx2

    import anthropic
    from roomkit.models.ai import AIContext, AIResponse, StreamEvent
    from roomkit_plugins.anthropic.config import AnthropicConfig

__all__ = ["AnthropicAIProvider"]

_log = logging.getLogger(__name__)


class AnthropicAIProvider(AIProvider):
    """Claude over the Messages API. One provider serves any number of rooms at once.

    The SDK is imported at the first call, in a worker thread. `http_client` replaces the SDK's own
    connections, for a proxy or other certificates; whoever made it closes it.
    """

    def __init__(self, config: AnthropicConfig, *, http_client: httpx2.AsyncClient | None = None) -> None:
        self._config = config
        self._http_client = http_client
        self._sdk: anthropic.AsyncAnthropic | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        self._warned: set[str] = set()  # bound: the parameters of AIContext

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

    async def generate(self, context: AIContext) -> AIResponse:
        """Return the whole answer. Raises ProviderError."""
        request = self._request(context)
        async with self._response(request, stream=False) as response:
            return whole(await response.read(), request.names, request_id=response.request_id)

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield thinking, text and complete tool calls as they come, and one `StreamDone`, last.

        Raises ProviderError, before the first item or after any. Close the generator to stop the
        model: the connection is closed with it.
        """
        request = self._request(context)
        async with self._response(request, stream=True) as response:
            stream = MessageStream(request.names, request_id=response.request_id)
            decoder = SSEDecoder()
            async for chunk in response.iter_bytes():
                for data in _decoded(decoder, chunk, response.request_id):
                    for item in stream.feed(data):
                        yield item
            done = stream.end()
        yield done

    async def close(self) -> None:
        """Close the connections; what is under way fails. Idempotent."""
        self._closed = True
        sdk, self._sdk = self._sdk, None
        if sdk is not None and self._http_client is None:
            await sdk.close()

    def _request(self, context: AIContext) -> wire.Request:
        request = wire.request(self._config, context)
        for parameter in request.left_out:
            if parameter not in self._warned:
                self._warned.add(parameter)
                _log.warning(
                    "%s takes no %s: it is left out of this request and all later ones",
                    self._config.model,
                    parameter,
                )
        return request

    @contextlib.asynccontextmanager
    async def _response(
        self, request: wire.Request, *, stream: bool
    ) -> AsyncIterator[anthropic.AsyncAPIResponse[Any]]:
        """Ask, and hold the answer open; what goes wrong until it is closed is a ProviderError."""
        sdk = await self._connect()
        import httpx2

        import anthropic

        arguments = {**request.body, "stream": stream}
        untyped = {name: arguments.pop(name) for name in ("temperature",) if name in arguments}
        opened = sdk.messages.with_streaming_response.create(
            **arguments, extra_body={**untyped, **self._config.extra_body} or None
        )
        try:
            async with opened as response:
                yield response
        except (anthropic.AnthropicError, httpx2.HTTPError, httpx2.StreamError) as error:
            failure = self._failure(error)
            raise failure from (None if self._shows_key(error) else error)

    def _failure(self, error: Exception) -> ProviderError:
        import httpx2

        import anthropic

        if isinstance(error, anthropic.APIStatusError):
            failure = api_error(error.status_code, error.body, error.response.headers)
            failure.args = (self._without_key(str(failure)),)
            return failure
        if isinstance(error, anthropic.APIResponseValidationError | httpx2.DecodingError):
            return bad_response(type(error).__name__)
        if isinstance(error, anthropic.APITimeoutError | httpx2.TimeoutException):
            code, said = ErrorCode.TIMEOUT, f"did not answer within {self._config.timeout:g} s"
        elif isinstance(error, anthropic.APIConnectionError | httpx2.HTTPError | httpx2.StreamError):
            code, said = ErrorCode.CONNECTION, f"cannot be reached, or broke off ({type(error).__name__})"
        else:
            code, said = ErrorCode.AUTH, f"got no credentials from the SDK ({type(error).__name__})"
        return ProviderError(f"Anthropic {said}", error_code=code, provider=self.name)

    def _without_key(self, text: str) -> str:
        given = self._config.api_key
        key = given.get_secret_value() if given else self._sdk.api_key if self._sdk else None
        # A server without keys is given a short word for one, which may stand in any message.
        return text.replace(key, "***") if key and len(key) >= 8 else text

    def _shows_key(self, error: BaseException | None) -> bool:
        while error is not None:
            if self._without_key(str(error)) != str(error):
                return True
            error = error.__cause__ or error.__context__
        return False

    async def _connect(self) -> anthropic.AsyncAnthropic:
        async with self._connecting:
            if self._closed:
                raise ProviderError(
                    "this AnthropicAIProvider is closed; make another one",
                    error_code=ErrorCode.CANCELED,
                    provider=self.name,
                )
            if self._sdk is None:
                self._sdk = await asyncio.to_thread(self._make_client)
            return self._sdk

    def _make_client(self) -> anthropic.AsyncAnthropic:
        """Import the SDK and make its client: two seconds and some files, so never on the loop."""
        try:
            import anthropic
        except ModuleNotFoundError as error:
            if error.name != "anthropic":
                raise
            raise ImportError(
                "AnthropicAIProvider needs the anthropic SDK: pip install roomkit-anthropic",
                name="anthropic",
            ) from error
        config = self._config
        headers: dict[str, Any] = {**config.extra_headers, "anthropic-version": config.api_version}
        if config.api_key and config.api_version == "2023-06-01":
            headers |= {"x-api-key": config.api_key.get_secret_value(), "Authorization": anthropic.Omit()}
        try:
            client = anthropic.AsyncAnthropic(
                api_key=config.api_key.get_secret_value() if config.api_key else None,
                base_url=config.base_url,
                timeout=config.timeout,
                max_retries=0,
                default_headers=headers,
                http_client=self._http_client,
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


def _decoded(decoder: SSEDecoder, chunk: bytes, request_id: str | None) -> list[str]:
    """Return the data of each event that `chunk` completes."""
    try:
        return list(decoder.feed(chunk))
    except ValueError as error:
        raise bad_response(str(error), request_id=request_id) from error
