"""The Gemini API, simulated: https://ai.google.dev/api/generate-content (Nov 2026)."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.testing.simulators.ai import (
    AISimulator,
    Failure,
    Finish,
    Reply,
    ScriptedThinking,
    ScriptedUsage,
)
from roomkit_plugins.testing.simulators.deviations import (
    COMMON,
    DONE,
    Deviation,
    changed,
    json_bytes,
    without,
)
from roomkit_plugins.testing.simulators.gemini_requests import (
    ContentBody,
    GeminiRefusedError,
    check_contents,
    check_generation,
    check_tools,
    counted_body,
    first_unknown,
    gemini_failure,
    invalid_argument,
)
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest

DEFAULT_MODELS = ("gemini-3.8-flash", "gemini-2.5-flash")
"""A current model, and one of before thinking levels."""

_PATH = re.compile(r"/v1(?:beta|alpha)?/models/([^/:]+):(generateContent|streamGenerateContent|countTokens)")
_LIST = re.compile(r"/v1(?:beta|alpha)?/models(?:/([^/:]+))?")
_FINISH: Mapping[Finish, str] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "PROHIBITED_CONTENT",
}
_ERROR_INFO = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}
_PER_DAY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
}
_RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12s"}


class GeminiSimulator(AISimulator):
    """`generateContent`, whole and streamed, and the list of models, on a free local port.

        async with GeminiSimulator() as sim:
            sim.reply("Hello!")
            options = types.HttpOptions(base_url=sim.base_url)
            client = genai.Client(api_key=sim.api_key, http_options=options)

    The first call of an answer is signed. Signatures are checked as the vendor does: they come back
    unchanged, and in the current turn none is missing.
    """

    vendor = "Gemini"

    def __init__(
        self,
        *,
        api_key: str = "sk-simulated",
        models: Sequence[str] = DEFAULT_MODELS,
        allow_unused: bool = False,
    ) -> None:
        super().__init__(api_key=api_key, allow_unused=allow_unused)
        self.models = tuple(models)
        self._signatures: dict[bytes, str] = {}  # bound: one test

    @property
    def base_url(self) -> str:
        """What to give the SDK as `base_url`."""
        return self.origin

    @property
    def failures(self) -> Mapping[ErrorCode, Failure]:
        """How Gemini reports each class of error."""
        return _FAILURES

    def streams(self, request: ReceivedRequest) -> bool:
        """Whether the request asks for a stream."""
        return request.path.endswith(":streamGenerateContent")

    def refusal(self, request: ReceivedRequest) -> Failure | None:
        """Check a request as the vendor would; None for a good one."""
        if request.headers.get("x-goog-api-key") != self.api_key:
            return self.failures[ErrorCode.AUTH]
        if request.method == "GET" and _LIST.fullmatch(request.path):
            return None
        found = _PATH.fullmatch(request.path)
        if request.method != "POST" or found is None:
            return gemini_failure(404, "NOT_FOUND", "Not Found")
        if self.streams(request) and request.query.get("alt") != "sse":
            return invalid_argument("the simulator streams server-sent events only: alt=sse")
        if found[1] not in self.models:
            return _not_found(found[1])
        try:
            counts = found[2] == "countTokens"
            body = counted_body(request.body) if counts else ContentBody.model_validate_json(request.body)
            check_generation(body, found[1])
            check_tools(body)
            check_contents(body.contents, self._signatures)
        except ValidationError as error:
            return first_unknown(error)
        except GeminiRefusedError as error:
            return error.failure
        return None

    async def handle_other(self, request: ReceivedRequest, exchange: Exchange) -> bool:
        """Answer the list of models and each of its entries."""
        if request.path.endswith(":countTokens"):
            await self.send_count(request, exchange, "totalTokens")
            return True
        found = _LIST.fullmatch(request.path)
        if found is None:
            return False
        known = {name: {"name": f"models/{name}", "displayName": name} for name in self.models}
        if found[1] is None:
            await exchange.send_json(200, {"models": list(known.values())})
        elif found[1] in known:
            await exchange.send_json(200, known[found[1]])
        else:
            failure = _not_found(found[1])
            await exchange.send_json(failure.status, failure.body)
        return True

    def document(self, request: ReceivedRequest, reply: Reply) -> object:
        """Write the whole answer."""
        text = [{"text": reply.whole_text}] if reply.whole_text else []
        parts = [*map(self._thought, reply.thinking), *text, *self._calls(reply)]
        return {**self._chunk(request, parts, reply.reason), "usageMetadata": _usage(reply.usage)}

    def events(self, request: ReceivedRequest, reply: Reply) -> Iterator[bytes | asyncio.Event]:
        """Write the answer as a stream."""
        prompt = {"promptTokenCount": _usage(reply.usage)["promptTokenCount"]}
        yield _sse({**self._chunk(request, []), "usageMetadata": prompt})
        for thought in reply.thinking:
            yield _sse(self._chunk(request, [self._thought(thought)]))
        for text in reply.chunks:
            yield text if isinstance(text, asyncio.Event) else _sse(self._chunk(request, [{"text": text}]))
        for call in self._calls(reply):
            yield _sse(self._chunk(request, [call]))
        last = self._chunk(request, [{"text": ""}], reply.reason)
        yield _sse({**last, "usageMetadata": _usage(reply.usage)})

    def deviations(self, request: ReceivedRequest) -> Mapping[str, Deviation]:
        """Return how servers of this API deviate in what means the same."""
        return {**COMMON, **_DEVIATIONS}

    def error_event(self, failure: Failure) -> bytes:
        """Write an error as it is reported inside a stream."""
        return _sse(failure.body)

    def _chunk(
        self, request: ReceivedRequest, parts: Sequence[Mapping[str, Any]], finish: Finish | None = None
    ) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
        if finish is not None:
            candidate["finishReason"] = _FINISH[finish]
        found = _PATH.fullmatch(request.path)
        model = found[1] if found else self.models[0]
        return {"candidates": [candidate], "modelVersion": model, "responseId": "resp-simulated"}

    def _thought(self, thought: ScriptedThinking) -> dict[str, Any]:
        part: dict[str, Any] = {"text": thought.text, "thought": True}
        if thought.signature is None:
            return part
        return {**part, "thoughtSignature": self._sign(thought.signature.encode())}

    def _calls(self, reply: Reply) -> Iterator[dict[str, Any]]:
        for place, call in enumerate(reply.tool_calls):
            given = call.arguments if isinstance(call.arguments, str) else dict(call.arguments)
            made = {"id": call.id or self.new_id("fc-"), "name": call.name, "args": given}
            if place:
                yield {"functionCall": made}
            else:
                token = self._sign(self.new_id("signature-").encode())
                yield {"functionCall": made, "thoughtSignature": token}

    def _sign(self, token: bytes) -> str:
        self._signatures[token] = token.decode()
        return base64.b64encode(token).decode()


_FAILURES = {
    ErrorCode.INVALID_REQUEST: invalid_argument("Request contains an invalid argument."),
    ErrorCode.CONTEXT_OVERFLOW: invalid_argument(
        "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."
    ),
    ErrorCode.UNSUPPORTED_CONTENT: invalid_argument("Unable to process input image. Please retry."),
    ErrorCode.AUTH: gemini_failure(400, "INVALID_ARGUMENT", "API key not valid.", _ERROR_INFO),
    ErrorCode.PERMISSION: gemini_failure(403, "PERMISSION_DENIED", "The caller does not have permission"),
    ErrorCode.NOT_FOUND: gemini_failure(404, "NOT_FOUND", "models/gemini-none is not found"),
    ErrorCode.QUOTA: gemini_failure(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", _PER_DAY),
    ErrorCode.RATE_LIMIT: gemini_failure(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted", _RETRY),
    ErrorCode.SERVER: gemini_failure(500, "INTERNAL", "An internal error has occurred"),
    ErrorCode.OVERLOADED: gemini_failure(503, "UNAVAILABLE", "The model is overloaded"),
    ErrorCode.TIMEOUT: gemini_failure(504, "DEADLINE_EXCEEDED", "Deadline expired before it could complete"),
}


def _not_found(model: str) -> Failure:
    return gemini_failure(404, "NOT_FOUND", f"models/{model} is not found for API version v1beta")


def _usage(usage: ScriptedUsage | None) -> dict[str, Any]:
    counted = usage or ScriptedUsage()
    prompt = counted.input + counted.cache_read + counted.cache_write
    return {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": counted.cache_read,
        "candidatesTokenCount": counted.output - counted.reasoning,
        "thoughtsTokenCount": counted.reasoning,
        "totalTokenCount": prompt + counted.output,
    }


def _sse(data: object) -> bytes:
    return b"data: " + json_bytes(data) + b"\r\n\r\n"


def _without_the_reason(value: Any) -> Any:
    return without("finishReason")(value)


_DEVIATIONS: Mapping[str, Deviation] = {
    "no usageMetadata": Deviation(without("usageMetadata")),
    "odd usageMetadata": Deviation(changed("usageMetadata", lambda usage: "many")),
    "null candidates": Deviation(before=_sse({"candidates": None})),
    "null content": Deviation(before=_sse({"candidates": [{"content": None, "finishReason": None}]})),
    "null parts": Deviation(
        before=_sse({"candidates": [{"content": {"parts": [None]}, "finishReason": ""}]})
    ),
    "no ids of calls": Deviation(without("id")),
    "ended by [DONE]": Deviation(_without_the_reason, after=DONE),
}
