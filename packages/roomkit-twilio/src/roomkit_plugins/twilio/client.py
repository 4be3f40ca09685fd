"""The Twilio SDK over connections of ours: it writes requests and reads answers, and sends nothing itself.

Its own asynchronous client follows the environment's proxies, keeps no error's headers, and does not say
whether Twilio was reached at all, by which it is decided whether another provider may be asked.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.twilio.errors import ORIGIN, api_error
from roomkit_plugins.wire.caller import HTTPAnswer, HTTPCaller
from roomkit_plugins.wire.sdk import LazyClient, needed
from roomkit_plugins.wire.vendor_provider import with_reference

if TYPE_CHECKING:
    import httpx2

    from roomkit_plugins.twilio.config import TwilioConfig
    from twilio.rest import Client
    from twilio.rest.api.v2010.account import AccountInstance
    from twilio.rest.api.v2010.account.message import MessageInstance

__all__ = ["TwilioAPI", "callback", "file_headers"]

_NO_MESSAGE = "SM" + "0" * 32

type Credentials = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Made:
    """What writes requests, and what sends them."""

    sdk: Client
    account: Client
    """The same with the auth token: a standard API key may not read its account."""
    caller: HTTPCaller


class TwilioAPI:
    """Creates messages at Twilio, for any number of rooms at once.

    `http_client` replaces the connections; its maker closes it.
    """

    def __init__(
        self, config: TwilioConfig, *, owner: str, http_client: httpx2.AsyncClient | None = None
    ) -> None:
        self._config = config
        self._http_client = http_client
        self._client = LazyClient(self._make, self._close, owner=owner, provider=ORIGIN.provider)

    async def create(self, parameters: dict[str, Any]) -> MessageInstance:
        """Create a message with parameters by the SDK's names. Raises ProviderError."""
        made = await self._client.get()
        try:
            created = await made.sdk.messages.create_async(**parameters)
        except ProviderError:
            raise
        except Exception as error:  # the SDK takes the answer apart, and checks nothing
            raise ORIGIN.bad_response(f"no message ({type(error).__name__})") from error
        if not created.sid:
            raise ORIGIN.bad_response("a message without its sid")
        return created

    async def fetch_account(self) -> AccountInstance:
        """Return the account, asked for with the auth token. Raises ProviderError."""
        made = await self._client.get()
        try:
            found = await made.account.api.accounts(self._config.account_sid).fetch_async()
        except ProviderError:
            raise
        except Exception as error:  # the SDK takes the answer apart, and checks nothing
            raise ORIGIN.bad_response(f"no account ({type(error).__name__})") from error
        if found.sid != self._config.account_sid or not isinstance(found.status, str):
            raise ORIGIN.bad_response("it is not the account that was asked for")
        return found

    async def check_credentials(self) -> None:
        """Ask for a message that is not there, which only an accepted key learns. Raises ProviderError."""
        made = await self._client.get()
        try:
            await made.sdk.messages(_NO_MESSAGE).fetch_async()
        except ProviderError as error:
            if error.error_code is not ErrorCode.NOT_FOUND:
                raise
        except Exception as error:
            raise ORIGIN.bad_response(f"no message ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close the connections; requests under way fail. Idempotent."""
        await self._client.close()

    async def _close(self, made: _Made) -> None:
        await made.caller.close()

    def _make(self) -> _Made:
        """Import the SDK and make its client: half a second, so never on the loop."""
        with needed("twilio", by="TwilioConfig", distribution="roomkit-twilio"):
            from twilio.http import AsyncHttpClient
            from twilio.http.response import Response
            from twilio.rest import Client

        import httpx2

        caller = HTTPCaller(ORIGIN, httpx2, timeout=self._config.timeout, client=self._http_client)
        send = self._send

        class Connections(AsyncHttpClient):  # type: ignore[misc]  # the SDK is not typed
            """What the SDK sends by; the base's constructor asks for a logger of the standard library."""

            def __init__(self) -> None:
                self.is_async = True

            async def request(
                self,
                method: str,
                url: str,
                params: Any = None,
                data: Any = None,
                headers: Any = None,
                auth: Any = None,
                timeout: Any = None,
                allow_redirects: Any = False,
            ) -> Any:
                answer = await send(caller, method, url, params, data, {**(headers or {}), **_basic(auth)})
                return Response(answer.status, answer.body.decode(), dict(answer.headers))

        def client(credentials: Credentials) -> Client:
            made = Client(
                *credentials,
                account_sid=self._config.account_sid,
                http_client=Connections(),
                environment={"TWILIO_EDGE": "", "TWILIO_REGION": ""},  # base_url alone says where the API is
            )
            made.api.base_url = self._config.base_url.rstrip("/")
            return made

        return _Made(client(self._config.credentials), client(self._config.account_credentials), caller)

    async def _send(
        self, caller: HTTPCaller, method: str, url: str, params: Any, data: Any, headers: Any
    ) -> HTTPAnswer:
        """Send what the SDK wrote; a list is sent under its name once for each member."""
        target = f"{url}?{urlencode(params, doseq=True)}" if params else url
        body = urlencode(data or {}, doseq=True).encode()
        given = {**headers, "Content-Type": "application/x-www-form-urlencoded"} if body else headers
        answer = await caller.call(method, target, headers=given, body=body)
        if answer.status >= 400:
            raise self._refusal(answer)
        return answer

    def _refusal(self, answer: HTTPAnswer) -> ProviderError:
        error = api_error(answer.status, answer.body, answer.headers)
        said = str(error)
        for secret in self._config.secrets:
            said = said.replace(secret, "***")
        error.args = (said,)
        return error


def file_headers(config: TwilioConfig, url: str) -> dict[str, str]:
    """Return the account's credentials for Twilio's own URLs of files, nothing for other URLs."""
    ours = config.base_url.rstrip("/") + "/"
    return _basic(config.credentials) if url.startswith(ours) else {}


def callback(config: TwilioConfig, key: str | None) -> dict[str, Any]:
    """Return the parameter that names the URL for receipts, with the message's key, if one is configured."""
    url = config.status_callback_url
    return {} if url is None else {"status_callback": with_reference(url, key)}


def _basic(credentials: Credentials) -> dict[str, str]:
    user, password = credentials
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}
