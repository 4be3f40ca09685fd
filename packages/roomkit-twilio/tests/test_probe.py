"""`roomkit check --live`: what Twilio says of the settings, and that asking sends nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from roomkit.abc import ErrorCode, ProviderError
from roomkit.abc.probe import SupportsProbe
from roomkit_plugins.testing.simulators import TwilioSimulator
from roomkit_plugins.twilio import TwilioConfig, TwilioRCSConfig, TwilioRCSProvider, TwilioSMSProvider

WRONG = "canary-of-a-wrong-secret"
KEY, SECRET = "SK" + "a" * 32, "canary-of-the-key"


def sms(config: TwilioConfig) -> TwilioSMSProvider:
    return TwilioSMSProvider(config)


def rcs(config: TwilioConfig) -> TwilioRCSProvider:
    fields = {name: getattr(config, name) for name in config.model_fields_set}
    return TwilioRCSProvider(TwilioRCSConfig(**fields, messaging_service_sid="MG" + "9" * 32))


@pytest.fixture(params=[sms, rcs])
def ask(request: Any, configure: Callable[..., TwilioConfig]) -> Callable[..., Any]:
    """Return a function that probes with settings of each provider in turn."""

    async def probe(**fields: Any) -> str:
        provider = request.param(configure(**fields))
        assert isinstance(provider, SupportsProbe)
        try:
            return await provider.probe()
        finally:
            await provider.close()

    return probe


async def refused(asking: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await asking
    return caught.value


async def test_an_active_account_is_named_and_nothing_is_sent(
    twilio: TwilioSimulator, ask: Callable[..., Any]
) -> None:
    said = await ask()
    assert said.startswith(f"account {twilio.account_sid} of 127.0.0.1:")
    assert "is active; its webhooks are repeated only where their URLs end in #rc=5&rp=5xx,ct,rt" in said
    assert [(each.method, each.path) for each in twilio.requests] == [
        ("GET", f"/2010-04-01/Accounts/{twilio.account_sid}.json")
    ]
    assert twilio.messages == []
    assert twilio.auth_token not in said


async def test_wrong_credentials_are_told_apart_from_nothing(
    twilio: TwilioSimulator, ask: Callable[..., Any]
) -> None:
    """The error names the account, the host, and what may be wrong; never the secret."""
    error = await refused(ask(auth_token=WRONG))
    assert (error.error_code, error.vendor_code, error.status_code) == (ErrorCode.AUTH, "twilio_20003", 401)
    assert f"{twilio.account_sid} and its auth_token do not fit together" in str(error)
    assert f"of another region than 127.0.0.1:{twilio.origin.rpartition(':')[2]}" in str(error)
    assert "set base_url to the region that they were made in" in str(error)
    assert WRONG not in str(error)


@pytest.mark.parametrize("status", ["suspended", "closed"])
async def test_an_account_that_can_send_nothing_is_no_success(
    twilio: TwilioSimulator, ask: Callable[..., Any], status: str
) -> None:
    twilio.status = status
    error = await refused(ask())
    assert error.error_code is ErrorCode.PERMISSION
    assert f"account {twilio.account_sid} is {status} at Twilio" in str(error)


async def test_an_api_key_is_tried_beside_the_token(twilio: TwilioSimulator, ask: Callable[..., Any]) -> None:
    """A standard key may not read its account, and the token signs webhooks: each has to be right."""
    twilio.api_keys[KEY] = SECRET
    key = {"api_key_sid": KEY, "api_key_secret": SECRET}
    assert f"is active, and API key {KEY} is accepted;" in await ask(**key)
    assert {each.method for each in twilio.requests} == {"GET"}

    error = await refused(ask(**{**key, "api_key_secret": WRONG}))
    assert f"{KEY} and its api_key_secret do not fit together" in str(error)
    error = await refused(ask(**key, auth_token=WRONG))
    assert f"{twilio.account_sid} and its auth_token do not fit together" in str(error)


async def test_a_key_that_may_only_send_is_not_refused(
    twilio: TwilioSimulator, ask: Callable[..., Any]
) -> None:
    twilio.api_keys[KEY] = SECRET
    twilio.restricted_keys.add(KEY)
    said = await ask(api_key_sid=KEY, api_key_secret=SECRET)
    assert f"API key {KEY} may not read messages: whether it may send is unknown" in said


@pytest.mark.parametrize("status", [None, 7])
async def test_an_answer_that_is_no_account_is_an_error(
    twilio: TwilioSimulator, ask: Callable[..., Any], status: Any
) -> None:
    twilio.status = status
    error = await refused(ask())
    assert error.error_code is ErrorCode.BAD_RESPONSE
    assert "it is not the account that was asked for; check that base_url" in str(error)


async def test_a_host_that_does_not_answer_is_named(ask: Callable[..., Any]) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        error = await refused(ask(base_url=url))
    assert (error.error_code, error.accepted) == (ErrorCode.CONNECTION, False)
    assert f"check that base_url, {url}, is Twilio's API" in str(error)


async def test_a_host_that_is_not_twilio_is_named(twilio: TwilioSimulator, ask: Callable[..., Any]) -> None:
    error = await refused(ask(base_url=f"{twilio.origin}/elsewhere"))
    assert error.error_code is ErrorCode.NOT_FOUND
    assert f"check that base_url, {twilio.origin}/elsewhere," in str(error)
