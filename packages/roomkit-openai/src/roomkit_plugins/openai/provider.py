"""OpenAI's models, and those of compatible servers, as an AI provider."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.openai import chat, responses
from roomkit_plugins.openai.errors import Origin
from roomkit_plugins.openai.sse import SSEDecoder
from roomkit_plugins.openai.wire import Answer, Request, collect

if TYPE_CHECKING:
    import httpx2

    import openai
    from roomkit.models.ai import AIContext, AIResponse, StreamEvent
    from roomkit_plugins.openai.config import OpenAIConfig, VLLMConfig

__all__ = ["OpenAIAIProvider", "create_vllm_provider"]

_log = logging.getLogger(__name__)


class _API(Protocol):
    """What `chat` and `responses` are: two ways to ask the same."""

    def request(self, config: OpenAIConfig, context: AIContext, origin: Origin) -> Request: ...

    def stream_fields(self, config: OpenAIConfig) -> dict[str, Any]: ...

    def answer(self, config: OpenAIConfig, request: Request, origin: Origin) -> Answer: ...


class OpenAIAIProvider(AIProvider):
    """A model over the Responses or the Chat Completions API. One provider serves any number of rooms.

    The SDK is imported at the first call, in a worker thread. `http_client` replaces the SDK's own
    connections, for a proxy or other certificates; whoever made it closes it. `name` is what errors
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
        self._sdk: openai.AsyncOpenAI | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        self._warned: set[str] = set()  # bound: the parameters of AIContext

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

    async def generate(self, context: AIContext) -> AIResponse:
        """Return the whole answer. Raises ProviderError."""
        request = self._request(context)
        async with self._response(request.body) as response:
            answer = self._api.answer(self._config, request, self._origin(response))
            return collect(answer.whole(await response.read()))

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield thinking, text and complete tool calls as they come, and one `StreamDone`, last.

        Raises ProviderError, before the first item or after any. Close the generator to stop the
        model: the connection is closed with it.
        """
        request = self._request(context)
        body = {**request.body, **self._api.stream_fields(self._config)}
        async with self._response(body) as response:
            answer = self._api.answer(self._config, request, self._origin(response))
            decoder = SSEDecoder()
            async for chunk in response.iter_bytes():
                for data in _decoded(decoder, chunk, self._origin(response)):
                    for item in answer.feed(data):
                        yield item
            rest = list(answer.end())
        for item in rest:
            yield item

    async def close(self) -> None:
        """Close the connections; what is under way fails. Idempotent."""
        self._closed = True
        sdk, self._sdk = self._sdk, None
        if sdk is not None and self._http_client is None:
            await sdk.close()

    @property
    def _api(self) -> _API:
        if self._config.spoken_api == "responses":
            return responses
        return chat

    def _origin(self, response: openai.AsyncAPIResponse[Any] | None = None) -> Origin:
        return Origin(self._name, response.request_id if response is not None else None)

    def _request(self, context: AIContext) -> Request:
        request = self._api.request(self._config, context, self._origin())
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
    async def _response(self, body: dict[str, Any]) -> AsyncIterator[openai.AsyncAPIResponse[Any]]:
        """Ask, and hold the answer open; what goes wrong until it is closed is a ProviderError."""
        sdk = await self._connect()
        import httpx2

        import openai

        asked: Any = sdk.responses if self._config.spoken_api == "responses" else sdk.chat.completions
        opened = asked.with_streaming_response.create(**body, extra_body=self._config.extra_body or None)
        try:
            async with opened as response:
                yield response
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError) as error:
            failure = self._failure(error)
            raise failure from (None if self._shows_key(error) else error)

    def _failure(self, error: Exception) -> ProviderError:
        import httpx2

        import openai

        if isinstance(error, openai.APIStatusError):
            failure = self._origin().api_error(error.status_code, error.body, error.response.headers)
            failure.args = (self._without_key(str(failure)),)
            return failure
        if isinstance(error, openai.APIResponseValidationError | httpx2.DecodingError):
            return self._origin().bad_response(type(error).__name__)
        if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException):
            code, said = ErrorCode.TIMEOUT, f"did not answer within {self._config.timeout:g} s"
        elif isinstance(error, openai.APIConnectionError | httpx2.HTTPError | httpx2.StreamError):
            code, said = ErrorCode.CONNECTION, f"cannot be reached, or broke off ({type(error).__name__})"
        else:
            code, said = ErrorCode.AUTH, f"got no credentials from the SDK ({type(error).__name__})"
        return ProviderError(f"{self._name} {said}", error_code=code, provider=self._name)

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

    async def _connect(self) -> openai.AsyncOpenAI:
        async with self._connecting:
            if self._closed:
                raise ProviderError(
                    "this OpenAIAIProvider is closed; make another one",
                    error_code=ErrorCode.CANCELED,
                    provider=self._name,
                )
            if self._sdk is None:
                self._sdk = await asyncio.to_thread(self._make_client)
            return self._sdk

    def _make_client(self) -> openai.AsyncOpenAI:
        """Import the SDK and make its client: a second and some files, so never on the loop."""
        try:
            import openai
        except ModuleNotFoundError as error:
            if error.name != "openai":
                raise
            raise ImportError(
                "OpenAIAIProvider needs the openai SDK: pip install roomkit-openai", name="openai"
            ) from error
        config = self._config
        try:
            return openai.AsyncOpenAI(
                api_key=config.api_key.get_secret_value() if config.api_key else None,
                base_url=config.base_url,
                organization=config.organization,
                project=config.project,
                timeout=config.timeout,
                max_retries=0,
                default_headers=config.extra_headers,
                http_client=self._http_client,
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


def _decoded(decoder: SSEDecoder, chunk: bytes, origin: Origin) -> list[str]:
    """Return the data of each event that `chunk` completes."""
    try:
        return list(decoder.feed(chunk))
    except ValueError as error:
        raise origin.bad_response(str(error)) from error
