"""OpenAI's models on Azure as an AI provider.

https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle (Nov 2026): the v1 API is OpenAI's
under another address; a dated version has the deployment in the path and itself in the query.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, override
from urllib.parse import quote

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.openai.provider import OpenAIAIProvider
from roomkit_plugins.wire.connection import plain_headers
from roomkit_plugins.wire.reading import JSONReader
from roomkit_plugins.wire.sdk import connections_of, needed

if TYPE_CHECKING:
    import httpx2

    import openai
    from roomkit.models.generation import AIContext
    from roomkit_plugins.openai.config import AzureAIConfig

__all__ = ["AzureAIProvider"]

type TokenProvider = Callable[[], Awaitable[str]]
"""Returns a token of Microsoft Entra ID; asked for each request, so it keeps a token while that is valid."""


class AzureAIProvider(OpenAIAIProvider):
    """A deployment on Azure, over its v1 API or a dated one. One provider serves any number of rooms.

    Requests are signed with the key of the configuration, or with the tokens of `token_provider`, such as
    azure-identity's `get_bearer_token_provider`. `http_client` replaces the SDK's own connections; its maker
    closes it.
    """

    def __init__(
        self,
        config: AzureAIConfig,
        *,
        token_provider: TokenProvider | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        if token_provider is not None and config.api_key is not None:
            raise ValueError("AzureAIProvider got a token_provider and an api_key; pass one of them")
        super().__init__(config.to_openai(), http_client=http_client, name="azure")
        self._azure = config
        self._token_provider = token_provider
        self._secret: str | None = None
        """The key, or the token of the last request."""

    @override
    async def count_tokens(self, context: AIContext) -> int | None:
        """Return None: Azure has no counter."""
        return None

    @override
    async def probe(self) -> str:
        """Return that the resource takes the key. See `SupportsProbe`; a read costs nothing.

        Azure has no free look-up of deployments, so whether there is one of this name is not known.
        """
        return await super().probe()

    @override
    async def _found(self, sdk: openai.AsyncOpenAI) -> str:
        listing = sdk.with_options(base_url=f"{self._azure.azure_endpoint}/openai")
        body = await self._list(listing if self._azure.api_version else sdk)
        JSONReader(self._origin()).parse(body)
        deployed = f"whether it has a deployment {self._config.model} shows at the first message"
        return f"{sdk.base_url.host} takes the key; {deployed}"

    @override
    def _key(self) -> str | None:
        return self._secret

    @override
    def _request_headers(self) -> dict[str, Any] | None:
        if self._token_provider is not None:
            return None
        import openai

        return {"Authorization": openai.Omit()}

    @override
    async def _sign(self, client: openai.AsyncOpenAI) -> None:
        # Not through the SDK, which would write the token into the local variables of its frames.
        if self._token_provider is None:
            return
        try:
            client.api_key = self._secret = await self._token_provider()
        except Exception as error:
            raise ProviderError(
                f"the token_provider of AzureAIProvider failed ({type(error).__name__}); see its cause",
                error_code=ErrorCode.AUTH,
                provider=self.name,
            ) from error

    @override
    def _make_client(self) -> openai.AsyncOpenAI:
        with needed("openai", by="AzureAIProvider", distribution="roomkit-openai"):
            import openai
        import httpx2

        config = self._azure
        headers: dict[str, Any] = plain_headers(config.extra_headers)
        if self._token_provider is None:
            headers["api-key"] = self._stored_key()
        return openai.AsyncOpenAI(
            api_key="of each request",
            base_url=self._address(),
            default_query={"api-version": config.api_version} if config.api_version else None,
            timeout=config.timeout,
            max_retries=0,
            default_headers=headers,
            http_client=self._http_client or connections_of(openai, httpx2),
        )

    def _address(self) -> str:
        config = self._azure
        if config.api_version is None:
            return f"{config.azure_endpoint}/openai/v1"
        deployed = f"/deployments/{quote(config.model, safe='')}" if config.api == "chat" else ""
        return f"{config.azure_endpoint}/openai{deployed}"

    def _stored_key(self) -> str:
        key = self._azure.api_key
        self._secret = key.get_secret_value() if key else os.environ.get("AZURE_OPENAI_API_KEY")
        if not self._secret:
            raise ProviderError(
                "there is no Azure key: set AZURE_OPENAI_API_KEY, give AzureAIConfig an api_key, or pass a "
                "token_provider",
                error_code=ErrorCode.AUTH,
                provider=self.name,
            )
        return self._secret
