"""Meta's Graph API, for WhatsApp and Messenger: calls, errors, webhooks.

https://developers.facebook.com/docs/graph-api/guides/error-handling, .../webhooks/getting-started,
.../guides/secure-requests (Nov 2026).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pydantic import SecretStr

from roomkit.abc.errors import ErrorCode, ProviderError, WebhookRejected, code_for_status
from roomkit.models.webhook import WebhookAnswer
from roomkit_plugins.wire.caller import HTTPAnswer
from roomkit_plugins.wire.json_api import JSONAPI
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import count, json_value

if TYPE_CHECKING:
    import httpx2

    from roomkit.models.webhook import WebhookRequest

__all__ = [
    "GRAPH",
    "SIGNATURE",
    "GraphAPI",
    "GraphApp",
    "GraphCodes",
    "answer_challenge",
    "check_signature",
    "graph_error",
    "regained_in",
]

GRAPH = "https://graph.facebook.com"
SIGNATURE = "X-Hub-Signature-256"
_USAGE = ("x-business-use-case-usage", "x-app-usage")
_LONGEST_CHALLENGE = 200

_COMMON: Mapping[int, ErrorCode] = {
    0: ErrorCode.AUTH,
    1: ErrorCode.SERVER,
    2: ErrorCode.OVERLOADED,
    3: ErrorCode.PERMISSION,
    4: ErrorCode.RATE_LIMIT,
    10: ErrorCode.PERMISSION,
    17: ErrorCode.RATE_LIMIT,
    32: ErrorCode.RATE_LIMIT,
    100: ErrorCode.INVALID_REQUEST,
    102: ErrorCode.AUTH,
    190: ErrorCode.AUTH,
    368: ErrorCode.PERMISSION,
    463: ErrorCode.AUTH,
    613: ErrorCode.RATE_LIMIT,
    80006: ErrorCode.RATE_LIMIT,
    80007: ErrorCode.RATE_LIMIT,
}


@dataclass(frozen=True, slots=True)
class GraphCodes:
    """What a product's error codes mean, beside those that every product of the Graph API has.

    `subcodes` go before the codes. `waits` are seconds to wait for a code whose answer names no time.
    """

    codes: Mapping[int, ErrorCode] = field(default_factory=dict)
    subcodes: Mapping[int, ErrorCode] = field(default_factory=dict)
    waits: Mapping[int, float] = field(default_factory=dict)

    def meaning(self, code: int | None, subcode: int | None = None) -> ErrorCode | None:
        """Return the class of a code; None for one that is not known."""
        if subcode is not None and subcode in self.subcodes:
            return self.subcodes[subcode]
        if code is None:
            return None
        found = self.codes.get(code, _COMMON.get(code))
        return ErrorCode.PERMISSION if found is None and 200 <= code <= 299 else found


@dataclass(frozen=True, slots=True)
class GraphApp:
    """How an app of Meta's is reached: the URL of the API with its version, and the app's secrets.

    With the app's secret each call carries `appsecret_proof`, so that a stolen token is of no use alone.
    """

    url: str
    token: SecretStr
    timeout: float
    secret: SecretStr | None = None

    @property
    def proof(self) -> str:
        """The proof that the caller has the app's secret too; "" without it."""
        if self.secret is None:
            return ""
        key, token = self.secret.get_secret_value().encode(), self.token.get_secret_value().encode()
        return hmac.new(key, token, "sha256").hexdigest()


class GraphAPI:
    """Calls the Graph API for one provider, for any number of rooms at once. See `JSONAPI`."""

    def __init__(
        self,
        origin: Origin,
        app: GraphApp,
        codes: GraphCodes,
        *,
        owner: str,
        distribution: str,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        self._app = app
        self._proof = app.proof
        self._api = JSONAPI(
            origin,
            owner=owner,
            distribution=distribution,
            timeout=app.timeout,
            headers=lambda: {"Authorization": f"Bearer {app.token.get_secret_value()}"},
            refusal=_refusal(origin, codes),
            secrets=lambda: [app.token.get_secret_value(), *filter(None, [self._proof])],
            http_client=http_client,
        )

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return an object. Raises ProviderError."""
        return await self._api.call("GET", self._url(path, query))

    async def post(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Post a JSON document; return the answer. Raises ProviderError."""
        return await self._api.call("POST", self._url(path, {}), document)

    async def post_form(self, path: str, form: tuple[str, bytes]) -> dict[str, Any]:
        """Post a form with a file, see `multipart`; return the answer. Raises ProviderError."""
        return await self._api.call("POST", self._url(path, {}), encoded=form)

    async def close(self) -> None:
        """Close the connections; calls under way fail. Idempotent."""
        await self._api.close()

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        proof = {"appsecret_proof": self._proof} if self._proof else {}
        asked = urlencode({**query, **proof})
        return f"{self._app.url}{path}?{asked}" if asked else f"{self._app.url}{path}"


# -- errors -------------------------------------------------------------------------------------


def _refusal(origin: Origin, codes: GraphCodes) -> Callable[[HTTPAnswer], ProviderError]:
    def refuse(answer: HTTPAnswer) -> ProviderError:
        return graph_error(answer, origin, codes)

    return refuse


def graph_error(answer: HTTPAnswer, origin: Origin, codes: GraphCodes) -> ProviderError:
    """Classify an error answer: by Meta's subcode, its code, its mark of what passes, else the status."""
    said = _said(answer.body)
    code, subcode = count(said, "code"), count(said, "error_subcode")
    found = codes.meaning(code, subcode)
    if found is None:
        found = ErrorCode.OVERLOADED if said.get("is_transient") is True else code_for_status(answer.status)
    error = origin.answered(
        answer.status,
        found,
        _words(said),
        headers=answer.headers,
        codes=[f"graph_{each}" for each in (code, subcode) if each is not None],
        request_id=_text(said, "fbtrace_id") or None,
    )
    if error.retryable and error.retry_after is None:
        error.retry_after = regained_in(answer.headers) or codes.waits.get(code if code is not None else -1)
    return error


def regained_in(headers: Mapping[str, str]) -> float | None:
    """Return in how many seconds calls are taken again, by Meta's usage headers; None if they do not say."""
    minutes = [each for name in _USAGE for each in _minutes(headers.get(name, ""))]
    return max(minutes) * 60.0 if minutes else None


def _minutes(header: str) -> list[int]:
    """Return each business's time to regain access: a list of uses by the business's id, or one use."""
    try:
        said = json_value(header) if header else {}
    except ValueError:
        return []
    if not isinstance(said, dict):
        return []
    uses = [use for listed in said.values() if isinstance(listed, list) for use in listed]
    found = [count(use, "estimated_time_to_regain_access") for use in [*uses, said]]
    return [each for each in found if each]


def _said(body: bytes) -> Mapping[str, Any]:
    try:
        said = json_value(body)
    except ValueError:
        return {}
    found = said.get("error") if isinstance(said, dict) else None
    return found if isinstance(found, dict) else {}


def _words(said: Mapping[str, Any]) -> str:
    data = said.get("error_data")
    details = _text(data, "details") if isinstance(data, dict) else ""
    words = _text(said, "message") or "no message"
    return f"{words}: {details}" if details and details not in words else words


def _text(holder: Mapping[str, Any], name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""


# -- webhooks -----------------------------------------------------------------------------------


def answer_challenge(request: WebhookRequest, verify_token: SecretStr | None) -> WebhookAnswer:
    """Return the answer to Meta's GET for a webhook's URL. Raises WebhookRejected."""
    if verify_token is None:
        raise WebhookRejected(
            "the URL cannot be confirmed: set verify_token, and enter the same in Meta's console",
            status_code=403,
        )
    asked = request.query()
    given, expected = asked.get("hub.verify_token", "").encode(), verify_token.get_secret_value().encode()
    if asked.get("hub.mode") != "subscribe" or not hmac.compare_digest(given, expected):
        raise WebhookRejected(
            "the verify token is not ours: enter in Meta's console what verify_token says", status_code=403
        )
    challenge = asked.get("hub.challenge", "")
    if not (challenge.isascii() and challenge.isprintable() and 0 < len(challenge) <= _LONGEST_CHALLENGE):
        raise WebhookRejected("the request has no challenge to answer", status_code=400)
    return WebhookAnswer(body=challenge)


def check_signature(request: WebhookRequest, app_secret: SecretStr | None) -> None:
    """Raise WebhookRejected for a request that Meta did not sign with the app's secret."""
    if app_secret is None:
        raise WebhookRejected(
            "the webhook cannot be verified: set app_secret, from Meta's console, App settings > Basic"
        )
    key = app_secret.get_secret_value().encode()
    expected = "sha256=" + hmac.new(key, request.body, "sha256").hexdigest()
    if not hmac.compare_digest((request.header(SIGNATURE) or "").encode(), expected.encode()):
        raise WebhookRejected(
            "the signature is not Meta's: check that app_secret is of the app whose webhook this is"
        )
