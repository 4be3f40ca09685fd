"""Requests to VoiceMeUp, its refusals, its settings and its probe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from roomkit import RoomKit
from roomkit.abc import ErrorCode, ProviderError
from roomkit.models import CompositeContent, MediaContent, SMSHints, TextContent
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.simulators import Failure, VoiceMeUpSimulator
from roomkit_plugins.voicemeup import VoiceMeUpConfig, VoiceMeUpSMSProvider

ANN = "+15145550123"
PNG = "https://files.example.org/a.png"
PICTURE = MediaContent(url=PNG, mime_type="image/png", caption="the meter")


@pytest.fixture
async def send(configure: Callable[..., VoiceMeUpConfig]) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that sends an SMS, with settings in the place of the usual ones."""
    made: list[VoiceMeUpSMSProvider] = []

    async def send(content: Any = "hello", *, hints: Any = None, **fields: Any) -> Any:
        made.append(VoiceMeUpSMSProvider(configure(**fields)))
        content = TextContent(body=content) if isinstance(content, str) else content
        return await made[-1].send(event("room", content=content), ANN, hints=hints)

    yield send
    for provider in made:
        await provider.close()


async def test_a_message_is_a_form_of_digits_and_words(
    vendor: VoiceMeUpSimulator, send: Callable[..., Any]
) -> None:
    result = await send("Ça va & bien ?")
    (request,) = vendor.requests
    assert request.path == "/api/v1.1/json/queue_sms"
    assert parse_qs(request.body.decode()) == {
        "username": [vendor.username],
        "auth_token": [vendor.auth_token],
        "source_number": ["15145550999"],
        "destination_number": ["15145550123"],
        "message": ["Ça va & bien ?"],
    }
    assert (result.success, result.provider_message_id) == (True, vendor.messages[0].id)


async def test_a_file_is_the_attachment(vendor: VoiceMeUpSimulator, send: Callable[..., Any]) -> None:
    await send(PICTURE)
    (message,) = vendor.messages
    assert (message.text, message.media_urls) == ("the meter", (PNG,))
    with pytest.raises(ProviderError, match="2 files: it takes 1 at most") as caught:
        await send(CompositeContent(parts=(PICTURE, PICTURE)))
    assert (caught.value.error_code, len(vendor.messages)) == (ErrorCode.UNSUPPORTED_CONTENT, 1)


async def test_a_text_has_a_thousand_characters(vendor: VoiceMeUpSimulator, send: Callable[..., Any]) -> None:
    await send("a" * 1000)
    with pytest.raises(ProviderError) as caught:
        await send("a" * 1001)
    assert (caught.value.error_code, len(vendor.messages)) == (ErrorCode.TOO_LONG, 1)


async def test_the_sender_is_named_or_configured(
    vendor: VoiceMeUpSimulator, send: Callable[..., Any]
) -> None:
    vendor.numbers = (*vendor.numbers, "+15145550111")
    await send(hints=SMSHints(from_="+15145550111"))
    await send()
    assert [each.sender for each in vendor.messages] == ["+15145550111", vendor.numbers[0]]
    with pytest.raises(ProviderError, match="set from_number"):
        await send(from_number=None)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_destination_number", ErrorCode.INVALID_RECIPIENT),
        ("invalid_authentication", ErrorCode.AUTH),
        ("unknown_username", ErrorCode.AUTH),
        ("insufficient_balance", ErrorCode.QUOTA),
        ("not_enough_credits", ErrorCode.QUOTA),
        ("invalid_attachment", ErrorCode.UNSUPPORTED_CONTENT),
        ("invalid_source_number", ErrorCode.INVALID_REQUEST),
        ("", ErrorCode.INVALID_REQUEST),
    ],
)
async def test_a_refusal_of_status_200_is_classified_by_its_code(
    vendor: VoiceMeUpSimulator, send: Callable[..., Any], code: str, kind: ErrorCode
) -> None:
    vendor.refuse(code, "why not")
    with pytest.raises(ProviderError, match="why not") as caught:
        await send()
    found = caught.value
    assert (found.error_code, found.accepted, found.retryable) == (kind, False, False)
    assert found.vendor_code == (f"voicemeup_{code}" if code else None)


@pytest.mark.parametrize("several", [False, True])
async def test_the_id_is_found_in_one_message_or_among_several(
    vendor: VoiceMeUpSimulator, send: Callable[..., Any], several: bool
) -> None:
    message: Any = {"code": "queued_sms_hash", "_content": "9f8e"}
    if several:
        message = [{"code": "notice", "_content": "x"}, message]
    said = {"response_status": "success", "response_messages": {"message": message}}
    vendor.play(Failure(200, {"response_details": said}))
    assert (await send()).provider_message_id == "9f8e"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"response_details": []},
        {"response_details": {"response_status": "success"}},
        {"response_details": {"response_status": "success", "response_messages": {"message": "x"}}},
        {"response_details": {"response_status": "success", "response_messages": []}},
    ],
)
async def test_an_answer_of_another_shape_leaves_it_open(
    vendor: VoiceMeUpSimulator, send: Callable[..., Any], answer: Any
) -> None:
    """VoiceMeUp may have the message."""
    vendor.play(Failure(200, answer))
    with pytest.raises(ProviderError) as caught:
        await send()
    assert (caught.value.error_code, caught.value.accepted) == (ErrorCode.BAD_RESPONSE, None)


async def test_a_secret_in_an_answer_is_masked(vendor: VoiceMeUpSimulator, send: Callable[..., Any]) -> None:
    for play in (
        lambda: vendor.refuse("invalid_authentication", f"no {vendor.auth_token}"),
        lambda: vendor.play(Failure(403, f"no {vendor.auth_token}")),
    ):
        play()
        with pytest.raises(ProviderError) as caught:
            await send()
        assert vendor.auth_token not in f"{caught.value!r} {caught.value}"


# -- the probe and the settings -----------------------------------------------------------------


async def test_the_probe_names_the_user_and_sends_nothing(
    vendor: VoiceMeUpSimulator, configure: Callable[..., VoiceMeUpConfig]
) -> None:
    for fields, more in (({}, ""), ({"webhook_token": None}, "; without webhook_token no callback is taken")):
        provider = VoiceMeUpSMSProvider(configure(**fields))
        assert await provider.probe() == f"user {vendor.username} is accepted by {vendor.origin}{more}"
        await provider.close()
    assert vendor.messages == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"auth_token": "canary-of-a-wrong-token"}, "compare username and auth_token with the portal"),
        ({"base_url": "http://127.0.0.1:9"}, "can be reached from here"),
    ],
)
async def test_the_probe_says_what_to_do(
    configure: Callable[..., VoiceMeUpConfig], fields: dict[str, str], said: str
) -> None:
    provider = VoiceMeUpSMSProvider(configure(**fields))
    with pytest.raises(ProviderError, match=said) as caught:
        await provider.probe()
    assert "canary" not in str(caught.value)
    await provider.close()


async def test_a_probe_that_was_taken_is_reported(
    vendor: VoiceMeUpSimulator, configure: Callable[..., VoiceMeUpConfig]
) -> None:
    said = {
        "response_status": "success",
        "response_messages": {"message": {"code": "queued_sms_hash", "_content": "h"}},
    }
    vendor.play(Failure(200, {"response_details": said}))
    provider = VoiceMeUpSMSProvider(configure())
    with pytest.raises(ProviderError, match="it took a message to no number"):
        await provider.probe()
    await provider.close()


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, "username"),
        ({"username": "u"}, "auth_token"),
        ({"username": "u", "auth_token": "t t"}, "auth_token"),
        ({"username": "u", "auth_token": "t", "environment": "mars"}, "environment"),
        ({"username": "u", "auth_token": "t", "base_url": "http://example.org"}, "https"),
        ({"username": "u", "auth_token": "t", "webhook_networks": ["nonsense"]}, "webhook_networks"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], wrong: str
) -> None:
    for name in ("VOICEMEUP_USERNAME", "VOICEMEUP_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValidationError, match=wrong):
        VoiceMeUpConfig(**fields)


def test_the_host_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEMEUP_USERNAME", "u")
    monkeypatch.setenv("VOICEMEUP_AUTH_TOKEN", "t")
    assert VoiceMeUpConfig().api_url == "https://clients.voicemeup.com/api/v1.1/json/queue_sms"
    sandbox = VoiceMeUpConfig(environment="sandbox").api_url
    assert sandbox == "https://dev-clients.voicemeup.com/api/v1.1/json/queue_sms"


async def test_the_kit_makes_it_by_name(vendor: VoiceMeUpSimulator) -> None:
    kit = RoomKit()
    provider = await kit.plugins.acreate(
        "sms",
        "voicemeup",
        {"username": "u", "auth_token": "t", "webhook_networks": ["203.0.113.0/24"]},
    )
    assert isinstance(provider, VoiceMeUpSMSProvider)
    assert provider.from_number is None
    await provider.close()
    await kit.close()
