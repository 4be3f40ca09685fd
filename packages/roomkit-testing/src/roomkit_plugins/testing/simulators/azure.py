"""Azure's OpenAI service, simulated: its v1 API, and dated versions with deployments in the path.

https://learn.microsoft.com/azure/foundry/openai/reference (Nov 2026).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.testing.simulators.ai import Failure, Reply
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from roomkit_plugins.testing.simulators.openai import DEFAULT_MODELS, OpenAISimulator
from roomkit_plugins.testing.simulators.openai_deviations import sse
from roomkit_plugins.testing.simulators.openai_requests import openai_failure

_DEPLOYED = re.compile(r"/openai/deployments/([^/]+)(/chat/completions)")
_VERSIONS = ("2024-10-21", "2024-12-01-preview", "2025-04-01-preview")
_FILTERED = {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}


class AzureSimulator(OpenAISimulator):
    """A resource of Azure's: `/openai/v1/...`, and `/openai/deployments/{model}/...?api-version=...`.

    Deployments are called as their models. Keys come as `api-key` or as a bearer; `token` is what
    Microsoft Entra ID would have issued.
    """

    vendor = "Azure"

    def __init__(
        self,
        *,
        api_key: str = "sk-simulated",
        token: str = "entra-simulated",
        models: Sequence[str] = DEFAULT_MODELS,
        allow_unused: bool = False,
    ) -> None:
        super().__init__(api_key=api_key, models=models, allow_unused=allow_unused)
        self.token = token

    @property
    def base_url(self) -> str:
        """What to give the SDK as `azure_endpoint`."""
        return self.origin

    @property
    def failures(self) -> Mapping[ErrorCode, Failure]:
        """How Azure reports each class of error."""
        return _FAILURES

    def refusal(self, request: ReceivedRequest) -> Failure | None:
        """Check a request as the vendor would; None for a good one."""
        signed = request.headers.get("authorization", "").removeprefix("Bearer ")
        if request.headers.get("api-key") != self.api_key and signed not in (self.api_key, self.token):
            return self.failures[ErrorCode.AUTH]
        plain, failure = self._plain(request)
        if failure is not None:
            return failure
        plain.headers = {**plain.headers, "authorization": f"Bearer {self.api_key}"}
        return super().refusal(plain)

    async def handle_other(self, request: ReceivedRequest, exchange: Exchange) -> bool:
        """Answer the list of models."""
        return await super().handle_other(self._plain(request)[0], exchange)

    def events(self, request: ReceivedRequest, reply: Reply) -> Iterator[bytes | asyncio.Event]:
        """Write the answer as a stream, which begins with what the filter says of the prompt."""
        if not request.path.endswith("/responses"):
            yield sse({"id": "", "object": "", "model": "", "choices": [], **_FILTERED})
        yield from super().events(request, reply)

    def _plain(self, request: ReceivedRequest) -> tuple[ReceivedRequest, Failure | None]:
        """Return a request as OpenAI itself would get it, and why Azure refuses it."""
        version = request.query.get("api-version")
        if request.path.startswith("/openai/v1/"):
            path = request.path.removeprefix("/openai")
            wrong = version not in (None, "v1", "preview")
        else:
            found = _DEPLOYED.fullmatch(request.path)
            path = f"/v1{found[2]}" if found else request.path.replace("/openai/models", "/v1/models", 1)
            wrong = version not in _VERSIONS
            if found and found[1] not in self.models:
                return request, self.failures[ErrorCode.NOT_FOUND]
        plain = ReceivedRequest(request.method, path, request.query, request.headers, request.body)
        return plain, _azure_failure(404, "404", "Resource not found") if wrong else None


def _azure_failure(status: int, code: str, message: str) -> Failure:
    return Failure(status, {"error": {"code": code, "message": message}}, {"x-request-id": "req_simulated"})


_FAILURES = {
    ErrorCode.INVALID_REQUEST: openai_failure(400, "Invalid value", param="messages", code="invalid_value"),
    ErrorCode.CONTEXT_OVERFLOW: openai_failure(
        400,
        "This model's maximum context length is 128000 tokens.",
        param="messages",
        code="context_length_exceeded",
    ),
    ErrorCode.CONTENT_FILTER: Failure(
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering the content policy.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
            }
        },
        {"x-request-id": "req_simulated"},
    ),
    ErrorCode.AUTH: _azure_failure(401, "401", "Access denied due to invalid subscription key."),
    ErrorCode.PERMISSION: _azure_failure(403, "403", "Public access is disabled."),
    ErrorCode.NOT_FOUND: _azure_failure(404, "DeploymentNotFound", "The API deployment does not exist."),
    ErrorCode.RATE_LIMIT: _azure_failure(429, "429", "Requests have exceeded the token rate limit."),
    ErrorCode.QUOTA: openai_failure(429, "You exceeded your current quota", code="insufficient_quota"),
    ErrorCode.SERVER: _azure_failure(500, "500", "The server had an error."),
    ErrorCode.OVERLOADED: _azure_failure(
        503, "503", "The service is temporarily unable to process the request."
    ),
    ErrorCode.TIMEOUT: _azure_failure(504, "504", "The operation timed out."),
}
