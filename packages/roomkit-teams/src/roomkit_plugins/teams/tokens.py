"""The bot's own tokens, and whether Microsoft sent a request.

https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-authentication (Nov 2026).
"""

from __future__ import annotations

import asyncio
import time
from base64 import urlsafe_b64encode
from binascii import unhexlify
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from roomkit.abc.errors import ErrorCode, ProviderError, WebhookRejected, code_for_status
from roomkit_plugins.teams.errors import ORIGIN
from roomkit_plugins.wire.json_api import JSONAPI
from roomkit_plugins.wire.reading import count, json_value
from roomkit_plugins.wire.sdk import needed

if TYPE_CHECKING:
    import httpx2

    from roomkit.models.webhook import WebhookRequest
    from roomkit_plugins.teams.config import TeamsConfig
    from roomkit_plugins.wire.caller import HTTPAnswer

__all__ = ["KeySet", "TokenProvider", "Tokens", "check_token", "login_api"]

type TokenProvider = Callable[[str], Awaitable[str]]
"""Returns a token for a scope, such as a managed identity's; it keeps it as long as it holds."""

_EARLY = 300
_LEEWAY = 300
_KEPT = 24 * 3600.0
_ASKED_AGAIN = 3600.0


def login_api(config: TeamsConfig, owner: str, http_client: httpx2.AsyncClient | None) -> JSONAPI:
    """Return what calls Microsoft's login and key servers."""
    return JSONAPI(
        ORIGIN,
        owner=owner,
        distribution="roomkit-teams",
        timeout=config.timeout,
        headers=lambda: {"Accept": "application/json"},
        refusal=_refusal,
        secrets=lambda: config.secrets,
        http_client=http_client,
    )


def _refusal(answer: HTTPAnswer) -> ProviderError:
    """Classify an error of the login server; what it says of a secret is masked by the caller."""
    try:
        said = json_value(answer.body)
    except ValueError:
        said = None
    found = said if isinstance(said, dict) else {}
    error, words = found.get("error"), found.get("error_description")
    is_ours = answer.status in (400, 401, 403)
    return ORIGIN.answered(
        answer.status,
        ErrorCode.AUTH if is_ours else code_for_status(answer.status),
        words if isinstance(words, str) else "the bot was not signed in",
        headers=answer.headers,
        codes=[f"login_{error}"] if isinstance(error, str) else [],
    )


class Tokens:
    """The bot's token, got when it is needed and kept until five minutes before its end."""

    def __init__(
        self,
        config: TeamsConfig,
        api: JSONAPI,
        provider: TokenProvider | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._api = api
        self._provider = provider
        self._now = now
        self._token = ""
        self._ends_at = 0.0
        self._asking = asyncio.Lock()

    async def get(self) -> str:
        """Return a token. Raises ProviderError, with `accepted` False: no message was sent yet."""
        config = self._config
        if self._provider is not None:
            self._token = await self._provider(config.addresses.scope)
            return self._token
        async with self._asking:
            if not self._token or self._now() >= self._ends_at:
                await self._ask()
            return self._token

    def forget(self) -> None:
        """Have the next one asked for: this one was refused."""
        self._token = ""

    @property
    def secret(self) -> str:
        """The token there is, to be kept out of messages."""
        return self._token

    async def _ask(self) -> None:
        config = self._config
        form = {
            "grant_type": "client_credentials",
            "client_id": config.app_id,
            "scope": config.addresses.scope,
            **await self._credentials(),
        }
        try:
            answer = await self._api.call("POST", config.token_url, form=form)
        except ProviderError as error:
            error.accepted = False
            raise
        token, seconds = answer.get("access_token"), count(answer, "expires_in") or 0
        if not isinstance(token, str) or not token:
            raise ORIGIN.bad_response("a sign-in without access_token")
        self._token, self._ends_at = token, self._now() + max(0, seconds - _EARLY)

    async def _credentials(self) -> Mapping[str, str]:
        config = self._config
        if config.app_password is not None:
            return {"client_secret": config.app_password.get_secret_value()}
        return {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": await asyncio.to_thread(_assertion, config),
        }


def _assertion(config: TeamsConfig) -> str:
    """Sign with the certificate's key that the app is the bot's. Raises ProviderError for no such key."""
    with needed("jwt", by="TeamsConfig", distribution="roomkit-teams"):
        import jwt

    thumbprint, key = config.certificate_thumbprint, config.certificate_private_key
    assert thumbprint is not None
    assert key is not None
    digest = urlsafe_b64encode(unhexlify(thumbprint.replace(":", ""))).rstrip(b"=").decode()
    chain = {} if config.certificate_public is None else {"x5c": _certificates(config.certificate_public)}
    now = int(time.time())
    claims = {
        "aud": config.token_url,
        "iss": config.app_id,
        "sub": config.app_id,
        "jti": str(uuid4()),
        "nbf": now,
        "exp": now + 600,
    }
    headers = {"x5t": digest, **chain}
    try:
        return jwt.encode(claims, key.get_secret_value(), algorithm="RS256", headers=headers)
    except (jwt.PyJWTError, TypeError, ValueError):
        raise ORIGIN.refused(
            "the bot cannot sign in by its certificate: certificate_private_key is no private key as PEM",
            error_code=ErrorCode.AUTH,
        ) from None


def _certificates(pem: str) -> list[str]:
    parts = pem.split("-----BEGIN CERTIFICATE-----")[1:]
    return ["".join(part.partition("-----END CERTIFICATE-----")[0].split()) for part in parts]


# -- inbound ------------------------------------------------------------------------------------


class KeySet:
    """The keys that Microsoft signs its requests with: kept for a day, asked again for an unknown one."""

    def __init__(self, url: str, api: JSONAPI, *, now: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._api = api
        self._now = now
        self._keys: dict[str, Mapping[str, Any]] = {}  # bound: the keys that Microsoft publishes
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    async def get(self, kid: str) -> Mapping[str, Any] | None:
        """Return the key of an id, None without one. Raises ProviderError."""
        async with self._asking:
            age = None if self._asked_at is None else self._now() - self._asked_at
            if age is None or age > _KEPT or (kid not in self._keys and age > _ASKED_AGAIN):
                await self._ask()
        return self._keys.get(kid)

    async def _ask(self) -> None:
        found = await self._api.call("GET", self._url)
        where = found.get("jwks_uri")
        if not isinstance(where, str) or not where.startswith(("https://", "http://127.0.0.1")):
            raise ORIGIN.bad_response("an OpenID configuration without jwks_uri")
        keys = (await self._api.call("GET", where)).get("keys")
        if not isinstance(keys, list):
            raise ORIGIN.bad_response("a key set without keys")
        self._keys = {each["kid"]: each for each in keys if isinstance(each, dict) and "kid" in each}
        self._asked_at = self._now()


async def check_token(request: WebhookRequest, config: TeamsConfig, keys: KeySet) -> None:
    """Raise WebhookRejected for an activity that Microsoft did not send to this bot, or not just now."""
    with needed("jwt", by="TeamsConfig", distribution="roomkit-teams"):
        import jwt

    scheme, _, token = (request.header("Authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise WebhookRejected("the activity has no token: have the bot's messaging endpoint lead here")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = await keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise WebhookRejected("the token is signed by a key that is not Microsoft's")
        claims = jwt.decode(
            token,
            jwt.PyJWK.from_dict(dict(key)).key,
            algorithms=["RS256"],
            audience=config.app_id,
            issuer=config.addresses.issuer,
            options={
                "require": ["exp", "iss", "aud"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.PyJWTError as error:
        raise WebhookRejected(f"the token is not Microsoft's to this bot: {error}") from error
    _check_times(claims, request.received_at)
    try:
        activity = request.json()
    except ValueError:
        activity = None
    if not isinstance(activity, dict) or "serviceUrl" not in activity:
        return  # it is Microsoft's, and no activity: which is said of it later
    _check_claims(claims, key, activity)


def _check_times(claims: Mapping[str, Any], received_at: float) -> None:
    """Raise WebhookRejected for a token of another time than the request came in."""
    ends_at, begins_at = claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(ends_at, int | float) or not isinstance(begins_at, int | float):
        raise WebhookRejected("the token does not say until when it holds")
    if not begins_at - _LEEWAY <= received_at <= ends_at + _LEEWAY:
        raise WebhookRejected("the token is of another time: check the clock of this machine")


def _check_claims(claims: Mapping[str, Any], key: Mapping[str, Any], activity: Mapping[str, Any]) -> None:
    said = activity.get("serviceUrl")
    claimed = claims.get("serviceurl") or claims.get("serviceUrl")
    if not isinstance(said, str) or not isinstance(claimed, str) or claimed.rstrip("/") != said.rstrip("/"):
        raise WebhookRejected("the token is of another service URL than the activity")
    endorsements = key.get("endorsements")
    if isinstance(endorsements, list) and activity.get("channelId") not in endorsements:
        raise WebhookRejected("the token's key is not for the channel of the activity")
