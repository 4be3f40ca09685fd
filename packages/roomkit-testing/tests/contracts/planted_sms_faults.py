"""The outsider's SMS plugin with one fault at a time, and the tests of the contracts that must find it.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Mapping, Sequence
from time import sleep, thread_time
from typing import Any
from urllib.parse import urlsplit

from outsider_sms import CarrierSMSChannel, CarrierSMSProvider, request_of
from outsider_suites import CarrierChannelSuite, CarrierProviderSuite, CarrierSuite, CarrierWebhookSuite
from planting import FAULTS

from roomkit.abc.errors import ProviderError
from roomkit.abc.provider import WebhookPart
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.event import RoomEvent
from roomkit.models.webhook import WebhookAnswer, WebhookRequest
from roomkit_plugins.testing.contracts import SMSProviderContract


def found_by(suite: type[CarrierSuite], *tests: str) -> Any:
    """Put a faulty provider or channel under a suite; these tests must fail."""

    def plant(faulty: type) -> type:
        what = "provider_class" if issubclass(faulty, CarrierSMSProvider) else "channel_class"
        name = f"Test{faulty.__name__}{suite.__name__.removeprefix('Carrier')}"
        FAULTS.setdefault(__name__, {})[name] = set(tests)
        made = type(name, (suite,), {what: faulty, "__module__": __name__})
        setattr(sys.modules[__name__], name, made)
        return faulty

    return plant


@found_by(CarrierWebhookSuite, "test_every_receipt_is_handed_over", "test_receipts_name_the_provider")
class DropsReceipts(CarrierSMSProvider):
    def read(self, payload: Mapping[str, Any], channel_id: str) -> list[InboundMessage | DeliveryStatus]:
        return [] if "state" in payload else super().read(payload, channel_id)


@found_by(CarrierWebhookSuite, "test_every_receipt_is_handed_over")
class DropsSomeReceipts(CarrierSMSProvider):
    def read(self, payload: Mapping[str, Any], channel_id: str) -> list[InboundMessage | DeliveryStatus]:
        return [] if payload.get("state") == "undelivered" else super().read(payload, channel_id)


@found_by(CarrierWebhookSuite, "test_receipts_name_the_provider")
class NamesAnotherProvider(CarrierSMSProvider):
    def read(self, payload: Mapping[str, Any], channel_id: str) -> list[InboundMessage | DeliveryStatus]:
        found = super().read(payload, channel_id)
        return [
            each.replace(provider="Carrier Inc.") if isinstance(each, DeliveryStatus) else each
            for each in found
        ]


@found_by(CarrierWebhookSuite, "test_a_signed_body_that_is_malformed_is_rejected_or_read")
class BreaksOnMalformedBodies(CarrierSMSProvider):
    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        self.verify(request)
        payload = request.json()
        return self.answer(payload["challenge"]) if "challenge" in payload else self.read(payload, channel_id)


@found_by(CarrierWebhookSuite, "test_a_request_that_wants_an_answer_gets_one")
class AnswersTwice(CarrierSMSProvider):
    def answer(self, challenge: str) -> Sequence[WebhookPart]:
        return [*super().answer(challenge), WebhookAnswer()]


@found_by(CarrierWebhookSuite, "test_a_request_that_wants_an_answer_gets_one")
class IgnoresChallenges(CarrierSMSProvider):
    def answer(self, challenge: str) -> Sequence[WebhookPart]:
        return []


@found_by(CarrierWebhookSuite, "test_the_status_on_which_the_vendor_repeats_is_declared")
class AsksForNoRepetition(CarrierSMSProvider):
    retry_status = 400


@found_by(CarrierProviderSuite, "test_a_message_goes_out_once_and_whole")
class CutsTexts(CarrierSMSProvider):
    def payload(self, text: str, to: str, key: str | None) -> dict[str, Any]:
        return super().payload(text[:160], to, key)


@found_by(CarrierChannelSuite, "test_a_text_goes_out_once_and_whole")
class CutsTextsInTheChannel(CarrierSMSChannel):
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        cut = event.replace(content=TextContent(body=text_of(event.content)[:160]))
        return await super().deliver(cut, binding, context)


@found_by(CarrierChannelSuite, "test_who_writes_first_can_be_answered")
class ForgetsWhoWrote(CarrierSMSChannel):
    def first_binding(self, message: InboundMessage) -> Mapping[str, Any]:
        return {}


@found_by(CarrierChannelSuite, "test_an_address_has_one_spelling")
class AddsAPrefixEachTime(CarrierSMSChannel):
    def normalize(self, address: str) -> str:
        return f"tel:{address}"


@found_by(CarrierChannelSuite, "test_admitting_is_pure")
class CountsWhatItAdmits(CarrierSMSChannel):
    admissions = 0

    def admit(self, message: InboundMessage) -> InboundMessage:
        self.admissions += 1
        return super().admit(message.replace(extra={"number": self.admissions}))


@found_by(CarrierProviderSuite, "test_sending_does_not_block_the_loop")
class SleepsOnTheLoop(CarrierSMSProvider):
    async def post(self, payload: Mapping[str, Any]) -> Any:
        sleep(0.001)  # noqa: ASYNC251  # planted; however short, a slow vendor makes it long
        return await super().post(payload)


@found_by(CarrierChannelSuite, "test_a_delivery_does_not_block_the_loop")
class ComputesOnTheLoop(CarrierSMSChannel):
    sends = 0

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        self.sends += 1
        if self.sends == 2:
            until = thread_time() + 1.0
            while thread_time() < until:
                pass
        return await super().deliver(event, binding, context)


@found_by(CarrierWebhookSuite, "test_a_webhook_does_not_block_the_loop")
class LooksNamesUpOnTheLoop(CarrierSMSProvider):
    def verify(self, request: WebhookRequest) -> None:
        socket.getaddrinfo("127.0.0.1", 80)
        super().verify(request)


@found_by(CarrierProviderSuite, "test_a_message_goes_out_once_and_whole")
class SendsTwice(CarrierSMSProvider):
    async def post(self, payload: Mapping[str, Any]) -> Any:
        await super().post(payload)
        return await super().post({**payload, "key": f"{payload['key']}-again"})


@found_by(CarrierProviderSuite, "test_the_same_key_is_the_same_message")
class ForgetsTheKey(CarrierSMSProvider):
    def payload(self, text: str, to: str, key: str | None) -> dict[str, Any]:
        return super().payload(text, to, None)


@found_by(CarrierProviderSuite, "test_the_same_key_is_the_same_message")
class DeclaresNoKeys(CarrierSMSProvider):
    idempotent = False


@found_by(CarrierProviderSuite, "test_a_receipt_brings_the_key_of_its_message_back")
class OverlooksTheKeyOfAReceipt(CarrierSMSProvider):
    def key_in(self, receipt: Mapping[str, Any]) -> str | None:
        return None


@found_by(CarrierProviderSuite, "test_a_receipt_brings_the_key_of_its_message_back")
class SaysThatNoKeyComesBack(CarrierSMSProvider):
    returns_key = False


@found_by(CarrierProviderSuite, "test_a_vendor_that_breaks_off_may_have_taken_the_message")
class TakesSilenceForARefusal(CarrierSMSProvider):
    def lost(self, error: Exception, *, accepted: bool | None) -> ProviderError:
        return super().lost(error, accepted=False)


@found_by(CarrierProviderSuite, "test_a_vendor_that_is_not_reached_has_not_taken_the_message")
class DoubtsEveryFailure(CarrierSMSProvider):
    def lost(self, error: Exception, *, accepted: bool | None) -> ProviderError:
        return super().lost(error, accepted=None)


@found_by(CarrierProviderSuite, "test_a_send_leaves_nothing_behind", "test_nothing_leaks")
class LeavesTasks(CarrierSMSProvider):
    tasks: list[asyncio.Task[Any]] = []  # noqa: RUF012  # planted

    async def post(self, payload: Mapping[str, Any]) -> Any:
        self.tasks.append(asyncio.create_task(asyncio.Event().wait()))
        return await super().post(payload)


@found_by(CarrierProviderSuite, "test_a_send_leaves_nothing_behind")
class LeavesTasksUntilItCloses(LeavesTasks):
    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()


@found_by(
    CarrierWebhookSuite,
    "test_a_request_whose_body_was_touched_is_rejected",
    "test_a_request_without_its_signature_is_rejected",
)
class BelievesEverybody(CarrierSMSProvider):
    def verify(self, request: WebhookRequest) -> None:
        pass


class WithoutWebhookTests(CarrierProviderSuite):
    webhook_contract = None  # type: ignore[assignment]  # planted


@found_by(WithoutWebhookTests, "test_a_webhook_is_under_contract")
class LeavesTheWebhookUntested(CarrierSMSProvider):
    pass


class SilentOnKeys(CarrierProviderSuite):
    honours_idempotency = SMSProviderContract.honours_idempotency  # as if it had not been overridden


@found_by(SilentOnKeys, "test_the_same_key_is_the_same_message")
class SaysNothingOfKeys(CarrierSMSProvider):
    pass


@found_by(CarrierProviderSuite, "test_sending_does_not_block_the_loop")
class BlocksInASocket(CarrierSMSProvider):
    sends = 0

    async def post(self, payload: Mapping[str, Any]) -> Any:
        self.sends += 1
        if self.sends == 1:
            return await super().post(payload)
        parts = urlsplit(self._origin)
        with socket.socket() as plain:
            plain.settimeout(0.2)  # the vendor is on this very loop, and cannot answer
            plain.connect((parts.hostname, parts.port))
            plain.sendall(request_of(payload))
        return {"id": json.dumps(self.sends)}
