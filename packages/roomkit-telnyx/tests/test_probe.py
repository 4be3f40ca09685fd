"""`roomkit check --live`: what Telnyx says of the settings, and that asking sends nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from roomkit.abc import ErrorCode, ProviderError
from roomkit.abc.probe import SupportsProbe
from roomkit_plugins.telnyx import TelnyxConfig, TelnyxRCSConfig, TelnyxRCSProvider, TelnyxSMSProvider
from roomkit_plugins.testing.simulators import TelnyxSimulator

WRONG = "KEY-canary-of-a-wrong-key"


@pytest.fixture(params=["sms", "rcs"])
def ask(
    request: pytest.FixtureRequest,
    configure: Callable[..., TelnyxConfig],
    configure_rcs: Callable[..., TelnyxRCSConfig],
) -> Callable[..., Any]:
    """Return a function that probes with settings of each provider in turn."""

    async def probe(**fields: Any) -> str:
        if request.param == "sms":
            fields.setdefault("messaging_profile_id", "40018a2b-1111-4222-8333-444455556666")
            provider: Any = TelnyxSMSProvider(configure(**fields))
        else:
            provider = TelnyxRCSProvider(configure_rcs(**fields))
        assert isinstance(provider, SupportsProbe)
        try:
            return await provider.probe()
        finally:
            await provider.close()

    return probe


async def test_a_profile_is_asked_for_and_nothing_is_sent(
    telnyx: TelnyxSimulator, ask: Callable[..., Any]
) -> None:
    assert await ask() == f"messaging profile {telnyx.profiles[0]} of {telnyx.origin} is enabled"
    assert [(each.method, each.path) for each in telnyx.requests] == [
        ("GET", f"/v2/messaging_profiles/{telnyx.profiles[0]}")
    ]
    assert "without public_key no webhook is taken" in await ask(public_key=None)


async def test_without_a_profile_the_key_is_tried(
    telnyx: TelnyxSimulator, configure: Callable[..., TelnyxConfig]
) -> None:
    provider = TelnyxSMSProvider(configure())
    assert await provider.probe() == f"the API key is accepted by {telnyx.origin}"
    await provider.close()
    assert [each.path for each in telnyx.requests] == ["/v2/balance"]


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"api_key": WRONG}, ErrorCode.AUTH, "compare it with the portal"),
        (
            {"messaging_profile_id": "other"},
            ErrorCode.NOT_FOUND,
            "the account has no messaging profile other",
        ),
    ],
)
async def test_a_refusal_says_what_to_do(
    ask: Callable[..., Any], fields: dict[str, str], code: ErrorCode, said: str
) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        await ask(**fields)
    assert caught.value.error_code is code
    assert WRONG not in str(caught.value)


async def test_a_disabled_profile_is_no_success(telnyx: TelnyxSimulator, ask: Callable[..., Any]) -> None:
    telnyx.disabled_profiles.add(telnyx.profiles[0])
    with pytest.raises(ProviderError, match="enable it in the portal"):
        await ask()


async def test_a_host_that_does_not_answer_is_named(ask: Callable[..., Any]) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        with pytest.raises(ProviderError, match=f"check that base_url, {url}") as caught:
            await ask(base_url=url)
    assert caught.value.accepted is False
