"""`roomkit check --live`: what Meta says of the settings, and that asking sends nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from roomkit.abc import ErrorCode, ProviderError
from roomkit.abc.probe import SupportsProbe
from roomkit_plugins.testing.simulators import WhatsAppSimulator
from roomkit_plugins.whatsapp import WhatsAppCloudConfig, WhatsAppCloudProvider

WRONG = "EAAcanary-of-a-wrong-token"


@pytest.fixture
def ask(configure: Callable[..., WhatsAppCloudConfig]) -> Callable[..., Any]:
    """Return a function that probes with these settings."""

    async def probe(**fields: Any) -> str:
        provider = WhatsAppCloudProvider(configure(**fields))
        assert isinstance(provider, SupportsProbe)
        try:
            return await provider.probe()
        finally:
            await provider.close()

    return probe


async def test_the_number_is_asked_for_and_nothing_is_sent(
    whatsapp: WhatsAppSimulator, ask: Callable[..., Any]
) -> None:
    assert await ask() == f"+{whatsapp.number} can send by {whatsapp.origin}, quality GREEN"
    assert [(each.method, each.path) for each in whatsapp.requests] == [
        ("GET", f"/v25.0/{whatsapp.phone_number_id}")
    ]
    assert "without app_secret and verify_token no webhook is taken" in await ask(
        app_secret=None, verify_token=None
    )


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"access_token": WRONG, "app_secret": None}, ErrorCode.AUTH, "make a system user's"),
        ({"phone_number_id": "1"}, ErrorCode.NOT_FOUND, "may not use phone_number_id 1"),
        ({"app_secret": "another"}, ErrorCode.INVALID_REQUEST, "Invalid appsecret_proof"),
    ],
)
async def test_a_refusal_says_what_to_do(
    ask: Callable[..., Any], fields: dict[str, Any], code: ErrorCode, said: str
) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        await ask(**fields)
    assert caught.value.error_code is code
    assert WRONG not in str(caught.value)


async def test_a_host_that_does_not_answer_is_named(ask: Callable[..., Any]) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        with pytest.raises(ProviderError, match=f"check that base_url, {url}") as caught:
            await ask(base_url=url)
    assert caught.value.accepted is False
