"""RCS by Twilio: the contract, and the two ways of sending."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from roomkit.abc import ErrorCode, ProviderError
from roomkit.models import DeliveryStatus, RCSHints, TemplateContent, TextContent
from roomkit_plugins.testing.contracts import RCSProviderContract, SimulatedVendor, WebhookContract
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.simulators import TwilioSimulator
from roomkit_plugins.twilio import TwilioRCSConfig, TwilioRCSProvider, parse_twilio_rcs_webhook
from roomkit_plugins.twilio.wire import read_webhook

from . import test_contract as sms

ANN = "+14165550123"
SERVICE = "MG" + "99887766554433221100ffeeddccbbaa"


class TestTwilioRCSWebhooks(sms.TestTwilioWebhooks):
    @pytest.fixture
    def factory(self) -> Callable[[], Any]:
        config = TwilioRCSConfig(account_sid=sms.ACCOUNT, auth_token=sms.TOKEN, messaging_service_sid=SERVICE)
        return lambda: TwilioRCSProvider(config)


@pytest.fixture
def configure_rcs(twilio: TwilioSimulator) -> Callable[..., TwilioRCSConfig]:
    """Return a function that makes the settings of the simulator's account."""

    def make(**fields: Any) -> TwilioRCSConfig:
        given = {
            "account_sid": twilio.account_sid,
            "auth_token": twilio.auth_token,
            "messaging_service_sid": twilio.messaging_services[0],
            "sender_id": "acme_agent",
            "base_url": twilio.origin,
        }
        return TwilioRCSConfig(**{**given, **fields})

    return make


class TestTwilioRCSProvider(SimulatedVendor, RCSProviderContract):
    honours_idempotency = False
    returning_settings: Mapping[str, str] = {"status_callback_url": "https://chat.example.org/hook"}
    recipient = ANN

    @property
    def webhook_contract(self) -> type[WebhookContract]:
        return TestTwilioRCSWebhooks

    @pytest.fixture
    def simulator(self, twilio: TwilioSimulator) -> TwilioSimulator:
        return twilio

    @pytest.fixture
    def make_provider(
        self, configure_rcs: Callable[..., TwilioRCSConfig]
    ) -> Callable[..., TwilioRCSProvider]:
        return lambda **fields: TwilioRCSProvider(configure_rcs(**fields))


async def test_the_service_sends_where_a_fallback_is_allowed(
    twilio: TwilioSimulator, configure_rcs: Callable[..., TwilioRCSConfig]
) -> None:
    """To the plain number; a number of ours may be pinned for the SMS. Only a receipt says what it became."""
    provider = TwilioRCSProvider(configure_rcs(from_number=twilio.numbers[0]))
    result = await provider.send(event("room", "hello"), ANN)
    await provider.close()
    (message,) = twilio.messages
    assert (message.to, message.service) == (ANN, twilio.messaging_services[0])
    assert message.fallback_from == twilio.numbers[0]
    assert (result.channel_used, result.fallback) == ("unknown", False)


async def test_the_agent_sends_where_no_fallback_is_allowed(
    twilio: TwilioSimulator, configure_rcs: Callable[..., TwilioRCSConfig]
) -> None:
    """Twilio's own addresses of RCS at both ends."""
    provider = TwilioRCSProvider(configure_rcs())
    result = await provider.send(event("room", "hello"), ANN, hints=RCSHints(fallback=False))
    await provider.close()
    (message,) = twilio.messages
    assert (message.to, message.sender, message.service) == (f"rcs:{ANN}", "rcs:acme_agent", "")
    assert result.channel_used == "rcs"


async def test_without_an_agent_there_is_no_way_without_fallback(
    twilio: TwilioSimulator, configure_rcs: Callable[..., TwilioRCSConfig]
) -> None:
    provider = TwilioRCSProvider(configure_rcs(sender_id=None))
    with pytest.raises(ProviderError, match="sender_id of TwilioRCSConfig") as caught:
        await provider.send(event("room", "hello"), ANN, hints=RCSHints(fallback=False))
    assert caught.value.error_code is ErrorCode.INVALID_REQUEST
    assert twilio.requests == []


async def test_cards_go_out_as_content_templates(
    twilio: TwilioSimulator, configure_rcs: Callable[..., TwilioRCSConfig]
) -> None:
    """With their parameters as Twilio takes them; another id is refused before anything is sent."""
    provider = TwilioRCSProvider(configure_rcs())
    card = TemplateContent(template_id="HX" + "a" * 32, parameters={"1": "Ann"})
    await provider.send(event("room", content=card), ANN)
    with pytest.raises(ProviderError, match="HX"):
        await provider.send(event("room", content=card.replace(template_id="welcome")), ANN)
    await provider.close()
    (message,) = twilio.messages
    assert (message.content_sid, message.content_variables) == (card.template_id, '{"1": "Ann"}')


def test_a_tap_on_a_suggestion_is_a_message() -> None:
    form = {
        "MessageSid": "SM1",
        "From": f"rcs:{ANN}",
        "To": "rcs:acme",
        "ButtonText": "Yes",
        "ButtonPayload": "y",
    }
    message = parse_twilio_rcs_webhook(form, "rcs")
    assert (message.sender_id, message.content) == (ANN, TextContent(body="Yes"))
    assert message.metadata == {"postback": "y"}
    with pytest.raises(ValueError, match="receipt"):
        parse_twilio_rcs_webhook({"MessageSid": "SM1", "MessageStatus": "read"}, "rcs")


def test_a_receipt_names_the_telephone_as_a_message_does() -> None:
    """Without the channel that Twilio puts before it."""
    form = {"MessageSid": "SM1", "MessageStatus": "read", "From": "rcs:acme", "To": f"rcs:{ANN}"}
    receipt = read_webhook(form, "rcs")
    assert isinstance(receipt, DeliveryStatus)
    assert (receipt.sender, receipt.recipient) == ("acme", ANN)
