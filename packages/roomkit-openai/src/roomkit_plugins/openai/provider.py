"""OpenAI's models, and those of compatible servers, as an AI provider."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.log import get_logger
from roomkit_plugins.openai import chat, responses
from roomkit_plugins.openai.errors import api_error
from roomkit_plugins.openai.wire import AnswerReader, OpenAIRequest
from roomkit_plugins.wire.answer import collect
from roomkit_plugins.wire.connection import plain_headers
from roomkit_plugins.wire.halves import Halves
from roomkit_plugins.wire.left_out import LeftOut
from roomkit_plugins.wire.model_probe import asking_for_model, model_found, model_listed
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import counted
from roomkit_plugins.wire.sdk import ClientErrors, LazyClient, Mask, connections_of, errors_of, needed
from roomkit_plugins.wire.sse import SSEDecoder
from roomkit_plugins.wire.structured import Structured

if TYPE_CHECKING:
    import httpx2

    import openai
    from roomkit.models.ai import StreamEvent
    from roomkit.models.generation import AIContext, AIResponse
    from roomkit_plugins.openai.config import OpenAIConfig, VLLMConfig

__all__ = ["OpenAIAIProvider", "create_vllm_provider"]

_log = get_logger("roomkit.openai")
_COUNTED = frozenset(
    {"model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text"}
)
"""The fields of a request that the counter of the Responses API takes."""


class _API(Protocol):
    """What `chat` and `responses` are: two ways to ask the same."""

    def request(self, config: OpenAIConfig, context: AIContext, origin: Origin) -> OpenAIRequest: ...

    def stream_fields(self, config: OpenAIConfig) -> dict[str, Any]: ...

    def answer(self, config: OpenAIConfig, request: OpenAIRequest, origin: Origin) -> AnswerReader: ...


class OpenAIAIProvider(AIProvider):
    """A model over the Responses or the Chat Completions API. One provider serves any number of rooms.

    The SDK is imported at the first call, in a worker thread. `http_client` replaces the SDK's own
    connections, for a proxy or other certificates; its maker closes it. `name` is what errors
    and telemetry call this provider.
    """

    def __init__(
        self,
        config: OpenAIConfig,
        *,
        http_client: httpx2.AsyncClient | None = None,
        name: str = "openai",
    ) -> None:
        self._config = config
        self._http_client = http_client
        self._name = name
        self._client = LazyClient(
            self._make_client,
            None if http_client else lambda client: client.close(),
            owner="OpenAIAIProvider",
            provider=name,
        )
        self._mask = Mask(self._key)
        self._left_out = LeftOut(_log, config.model)

    @property
    def name(self) -> str:
        """The provider's component name."""
        return self._name

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
        async with self._response(request.body) as response:
            origin = self._origin(response)
            answer = self._api.answer(self._config, request, origin)
            return Structured(context, origin).whole(collect(answer.whole(await response.read())))

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield thinking, text and complete tool calls as they come, and one `StreamDone`, last.

        Raises ProviderError, before the first item or after any. Close the generator to stop the
        model: the connection is closed with it.
        """
        request = self._request(context)
        body = {**request.body, **self._api.stream_fields(self._config)}
        async with self._response(body) as response:
            origin = self._origin(response)
            answer = self._api.answer(self._config, request, origin)
            decoder, halves, structured = SSEDecoder(origin), Halves(), Structured(context, origin)
            async for chunk in response.iter_bytes():
                for data in decoder.feed(chunk):
                    for item in answer.feed(data):
                        for event in halves.feed(item):
                            yield structured.seen(event)
            rest = [structured.seen(event) for item in answer.end() for event in halves.feed(item)]
        for event in rest:
            yield event

    async def count_tokens(self, context: AIContext) -> int | None:
        """Return how many input tokens a request has, as OpenAI counts them; None over the chat API.

        Raises ProviderError.
        """
        if self._config.spoken_api == "chat":
            return None
        request = self._request(context)
        fields = {name: value for name, value in request.body.items() if name in _COUNTED}
        sdk = await self._client.get()
        await self._sign(sdk)
        opened = sdk.responses.input_tokens.with_streaming_response.count(
            **fields, extra_headers=self._request_headers()
        )
        async with self._opened(opened) as response:
            return counted(await response.read(), "input_tokens", self._origin(response))

    async def probe(self) -> str:
        """Return that the server has the model, for this key. See `SupportsProbe`; a read costs nothing."""
        sdk = await self._client.get()
        await self._sign(sdk)
        with asking_for_model(self._config.model, sdk.base_url.host):
            return await self._found(sdk)

    async def _found(self, sdk: openai.AsyncOpenAI) -> str:
        """Read the model by its name, or from the list where a compatible server has only that."""
        model, host = self._config.model, sdk.base_url.host
        asked = sdk.models.with_streaming_response.retrieve(model, extra_headers=self._request_headers())
        try:
            async with self._opened(asked) as response:
                return model_found(await response.read(), model, host, self._origin(response))
        except ProviderError as error:
            if error.error_code is not ErrorCode.NOT_FOUND:
                raise
        return model_listed(await self._list(sdk), model, host, self._origin())

    async def _list(self, sdk: openai.AsyncOpenAI) -> bytes:
        """Read the list of models."""
        listed = sdk.models.with_streaming_response.list(extra_headers=self._request_headers())
        async with self._opened(listed) as response:
            return await response.read()

    async def close(self) -> None:
        """Close the connections; requests under way fail. Idempotent."""
        await self._client.close()

    @property
    def _api(self) -> _API:
        if self._config.spoken_api == "responses":
            return responses
        return chat

    def _origin(self, response: openai.AsyncAPIResponse[Any] | None = None) -> Origin:
        return Origin(self._name, request_id=response.request_id if response is not None else None)

    def _request(self, context: AIContext) -> OpenAIRequest:
        request = self._api.request(self._config, context, self._origin())
        self._left_out.warn(request.left_out)
        return request

    @contextlib.asynccontextmanager
    async def _response(self, body: dict[str, Any]) -> AsyncIterator[openai.AsyncAPIResponse[Any]]:
        """Send the request, and hold the answer open; failures until it is closed raise ProviderError."""
        sdk = await self._client.get()
        await self._sign(sdk)
        asked: Any = sdk.responses if self._config.spoken_api == "responses" else sdk.chat.completions
        opened = asked.with_streaming_response.create(
            **body, extra_body=self._config.extra_body or None, extra_headers=self._request_headers()
        )
        async with self._opened(opened) as response:
            yield response

    @contextlib.asynccontextmanager
    async def _opened(
        self, opened: contextlib.AbstractAsyncContextManager[openai.AsyncAPIResponse[Any]]
    ) -> AsyncIterator[openai.AsyncAPIResponse[Any]]:
        errors = _client_errors()
        try:
            async with opened as response:
                yield response
        except errors.kinds as error:
            raise self._failure(errors, error) from self._mask.cause(error)

    async def _sign(self, client: openai.AsyncOpenAI) -> None:
        """Give the client what signs the next request, where that changes."""

    def _request_headers(self) -> dict[str, Any] | None:
        """Return headers of one request that the client cannot have, in the SDK's words; no secrets."""
        return None

    def _failure(self, errors: ClientErrors, error: Exception) -> ProviderError:
        import openai

        if isinstance(error, openai.APIStatusError):
            failure = api_error(self._origin(), error.status_code, error.body, error.response.headers)
            failure.args = (self._mask.hide(str(failure)),)
            return failure
        return errors.failure(error, self._origin(), timeout=self._config.timeout)

    def _key(self) -> str | None:
        if self._config.api_key:
            return self._config.api_key.get_secret_value()
        return self._client.made.api_key if self._client.made else None

    def _make_client(self) -> openai.AsyncOpenAI:
        """Import the SDK and make its client: a second and some files, so never on the loop."""
        with needed("openai", by="OpenAIAIProvider", distribution="roomkit-openai"):
            import openai
        import httpx2

        config = self._config
        try:
            return openai.AsyncOpenAI(
                api_key=config.api_key.get_secret_value() if config.api_key else None,
                base_url=config.base_url,
                organization=config.organization,
                project=config.project,
                timeout=config.timeout,
                max_retries=0,
                default_headers=plain_headers(config.extra_headers),
                http_client=self._http_client or connections_of(openai, httpx2),
            )
        except openai.OpenAIError as error:
            raise ProviderError(
                "there is no OpenAI key: set OPENAI_API_KEY, or give OpenAIConfig an api_key",
                error_code=ErrorCode.AUTH,
                provider=self._name,
            ) from error


def create_vllm_provider(
    config: VLLMConfig, *, http_client: httpx2.AsyncClient | None = None
) -> OpenAIAIProvider:
    """Make a provider for a model served by vLLM, or by Ollama, LM Studio, llama.cpp and the like."""
    return OpenAIAIProvider(config.to_openai(), http_client=http_client, name="vllm")


def _client_errors() -> ClientErrors:
    """Say what the SDK's exceptions mean, once it is imported."""
    import httpx2

    import openai

    return errors_of(openai, httpx2, openai.OpenAIError)
