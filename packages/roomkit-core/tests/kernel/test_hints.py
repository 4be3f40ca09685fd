"""What a send takes beside event and address: from the channel, the binding and the event."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.abc.email import EmailProvider
from roomkit.abc.http import HTTPProvider
from roomkit.abc.messenger import MessengerProvider
from roomkit.abc.provider import Provider
from roomkit.abc.rcs import RCSProvider
from roomkit.abc.sms import SMSProvider
from roomkit.abc.teams import TeamsProvider
from roomkit.abc.telegram import TelegramProvider
from roomkit.abc.whatsapp import WhatsAppProvider
from roomkit.authoring.transport import TransportChannel
from roomkit.models import ChannelData, ChannelType, EmailHints, Hints, HookResult
from roomkit_plugins.testing import MockEmailProvider, MockSMSProvider

pytestmark = pytest.mark.virtual_time

ROLES = (
    SMSProvider,
    RCSProvider,
    EmailProvider,
    HTTPProvider,
    MessengerProvider,
    TeamsProvider,
    TelegramProvider,
    WhatsAppProvider,
)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_hints_of_its_own_that_may_all_be_left_out(role: type[Provider]) -> None:
    assert issubclass(role.hints_type, Hints)
    assert role.hints_type is not Hints
    assert role.hints_type() == role.hints_type()


class Threads(TransportChannel):
    """Knows the thread of each room."""

    def hints(self, event: Any, binding: Any, context: Any) -> Any:
        return {"references": ["<first@example.com>"]}


async def sent_hints(stage: Any, channel: TransportChannel, extra: Any = None, **metadata: Any) -> Any:
    """Return the hints of one send, or the error of the delivery."""
    await stage.socket("alice")
    await stage.join(channel, metadata={"recipient_id": "ann@example.com", **metadata})
    event = stage.event("hello", channel="alice", channel_data=ChannelData(extra=extra or {}))

    async def with_extra(given: Any, _context: Any) -> Any:
        return HookResult.modify(given.replace(channel_data=event.channel_data))

    stage.kit.hook("before_broadcast")(with_extra)
    result = await stage.say("hello")
    row = (await stage.ledger(result.event))[channel.channel_id]
    return row.error if row.error is not None else channel.provider.sent[-1]["hints"]


async def test_hints_come_from_the_channel_the_binding_and_the_event(stage: Any) -> None:
    """What the channel was made with is fixed; then its own word counts, the event's, the binding's."""
    channel = Threads(
        "mail",
        ChannelType.EMAIL,
        provider=MockEmailProvider(),
        defaults={"from_": "desk@example.com", "subject": None, "reply_to": None},
    )
    hints = await sent_hints(
        stage,
        channel,
        extra={"email": {"subject": "Your order", "cc": ["ben@example.com"], "from_": "evil@example.com"}},
        subject="Hello",
        reply_to="answers@example.com",
    )
    assert hints == EmailHints(
        from_="desk@example.com",
        subject="Your order",
        cc=("ben@example.com",),
        reply_to="answers@example.com",
        references=("<first@example.com>",),
    )


async def test_without_any_the_hints_are_the_roles_own(stage: Any) -> None:
    """A hint for another type of channel is none."""
    channel = TransportChannel("mail", ChannelType.EMAIL, provider=MockEmailProvider())
    assert await sent_hints(stage, channel, extra={"sms": {"from_": "+1"}, "spam_score": 3}) == EmailHints()


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"email": {"subjct": "x"}}, "unknown hint 'subjct': did you mean 'subject'?"),
        ({"email": {"cc": 7}}, "cc: Input should be a valid tuple"),
        ({"email": "x"}, "unknown hint '': use ['from_'"),
    ],
)
async def test_hints_that_cannot_be_fail_the_delivery(stage: Any, extra: Any, said: str) -> None:
    """For good, and before the vendor is asked."""
    provider = MockEmailProvider()
    error = await sent_hints(stage, TransportChannel("mail", ChannelType.EMAIL, provider=provider), extra)

    assert (error.code, error.retryable, provider.attempts) == ("invalid_request", False, [])
    assert f"the hints of a send by channel 'mail' are no EmailHints: {said}" in error.message


async def test_each_of_several_providers_gets_hints_of_its_own_type(stage: Any) -> None:
    class Branded(EmailHints):
        """A vendor's own."""

    class Vendor(MockEmailProvider):
        hints_type = Branded

    assert Vendor(name="v").hints_type is Branded
    channel = TransportChannel("mail", ChannelType.EMAIL, provider=Vendor(name="v"))
    assert type(await sent_hints(stage, channel, extra={"email": {"subject": "x"}})) is Branded


async def test_the_pace_follows_the_hint(stage: Any) -> None:
    channel = TransportChannel(
        "sms", ChannelType.SMS, provider=MockSMSProvider(), defaults={"from_": "+1999"}, paced_by="from_"
    )
    assert (await sent_hints(stage, channel)).from_ == "+1999"
    bound = await stage.kit.get_binding("r1", "sms")
    assert channel.pace_key(bound, stage.event()) == "sms:+1999"
