"""Whether Twilio accepts the settings: `roomkit check --live`. Two reads at most; nothing is sent.

https://www.twilio.com/docs/iam/api/account, .../iam/api-keys/keys-in-console, .../api/errors/20003
(Nov 2026).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.twilio.errors import ORIGIN

if TYPE_CHECKING:
    from roomkit_plugins.twilio.client import TwilioAPI
    from roomkit_plugins.twilio.config import TwilioConfig

__all__ = ["probed"]

_NOT_REACHED = frozenset(
    {ErrorCode.CONNECTION, ErrorCode.TIMEOUT, ErrorCode.BAD_RESPONSE, ErrorCode.NOT_FOUND}
)


async def probed(api: TwilioAPI, config: TwilioConfig) -> str:
    """Return in one line that the account is active, as `SupportsProbe` says. Raises ProviderError.

    The auth token asks for the account: it signs webhooks, so it has to be right beside an API key too. The
    key is tried on its own, for a standard one may not read its account.
    """
    try:
        account = await api.fetch_account()
    except ProviderError as error:
        raise _explained(error, config, "auth_token") from error
    if account.status != "active":
        raise ORIGIN.refused(
            f"account {config.account_sid} is {account.status[:40]} at Twilio, so that it can send nothing: "
            "open the console, which says why and what lifts it",
            error_code=ErrorCode.PERMISSION,
        )
    return f"account {config.account_sid} of {_host(config)} is active{await _key(api, config)}; {_REPEATS}"


_REPEATS = "its webhooks are repeated only where their URLs end in #rc=5&rp=5xx,ct,rt"


async def _key(api: TwilioAPI, config: TwilioConfig) -> str:
    if config.api_key_sid is None:
        return ""
    try:
        await api.check_credentials()
    except ProviderError as error:
        if error.error_code is ErrorCode.PERMISSION:
            return f", and API key {config.api_key_sid} may not read messages: whether it may send is unknown"
        raise _explained(error, config, "api_key_secret") from error
    return f", and API key {config.api_key_sid} is accepted"


def _explained(error: ProviderError, config: TwilioConfig, secret: str) -> ProviderError:
    """Return the failure with what to do about it."""
    if error.error_code is ErrorCode.AUTH:
        user = config.account_sid if secret == "auth_token" else config.api_key_sid
        why = (
            f"{user} and its {secret} do not fit together, are of another region than {_host(config)}, or "
            "the account is suspended or closed: compare them with the console, and set base_url to the "
            "region that they were made in"
        )
    elif error.error_code in _NOT_REACHED:
        why = f"check that base_url, {config.base_url}, is Twilio's API and can be reached from here"
    else:
        return error
    return ProviderError(
        f"{error}; {why}",
        error_code=error.error_code,
        retryable=error.retryable,
        retry_after=error.retry_after,
        provider=error.provider,
        status_code=error.status_code,
        vendor_code=error.vendor_code,
        request_id=error.request_id,
        accepted=error.accepted,
    )


def _host(config: TwilioConfig) -> str:
    return urlsplit(config.base_url).netloc
