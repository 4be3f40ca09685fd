"""MMS in rooms: parts in any order, on several workers, and with a failure at each step between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from roomkit import InboundMessage, RoomKit
from roomkit.abc.errors import StoreError
from roomkit.authoring.transport import TransportChannel
from roomkit.memory.locks import InMemoryLockManager
from roomkit.models import ChannelType, CompositeContent, InboundResult, MediaContent, TextContent
from roomkit.models.webhook import WebhookRequest
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import SharedRealtime, SharedStore, VirtualClock
from roomkit_plugins.testing.simulators import VoiceMeUpSimulator
from roomkit_plugins.voicemeup import VoiceMeUpConfig, VoiceMeUpSMSProvider

pytestmark = pytest.mark.virtual_time
ANN = "+15145550123"
PICTURE = ("image/png", b"a picture")
LEASE = 15.0


class Offline(VoiceMeUpSimulator):
    """The vendor without a socket: its files are not fetched here."""

    origin = "https://mms.example.org"


VENDOR = Offline()


class Fleet:
    """Workers on one store, with a channel `sms` by VoiceMeUp each."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._shared: dict[str, Any] = {"lock_manager": InMemoryLockManager(), "realtime": SharedRealtime()}
        self.store = SharedStore()

    async def worker(self, **options: Any) -> RoomKit:
        """Return another worker."""
        kit = RoomKit(
            self.store,
            single_process=True,
            clock=VirtualClock(),
            plugins=PluginManager(entry_points=()),
            lease_seconds=LEASE,
            **self._shared,
            **options,
        )
        config = VoiceMeUpConfig(
            username="u",
            auth_token="t",
            webhook_token=VENDOR.webhook_token,
        )
        provider = VoiceMeUpSMSProvider(config)
        kit.register_channel(TransportChannel("sms", ChannelType.SMS, provider=provider))
        await kit.start()
        self._stack.push_async_callback(kit.close)
        return kit

    async def messages(self) -> list[Any]:
        """Return what people wrote, in whatever room, as (texts, number of files)."""
        events = [await self.store.list_events(room.id) for room in await self.store.list_rooms()]
        return [said(each.content) for found in events for each in found if each.type == "message"]


def said(content: Any) -> tuple[str, int]:
    parts = content.parts if isinstance(content, CompositeContent) else (content,)
    texts = [part.body if isinstance(part, TextContent) else getattr(part, "caption", "") for part in parts]
    return " ".join(filter(None, texts)), sum(isinstance(part, MediaContent) for part in parts)


@pytest.fixture
async def fleet() -> Any:
    """Return the workers' store, and what makes them."""
    async with AsyncExitStack() as stack:
        yield Fleet(stack)


async def taken(kit: RoomKit, *requests: WebhookRequest) -> None:
    for request in requests:
        assert (await kit.process_webhook(request, "sms")).status == 200


def parts(text: str = "look", files: int = 1, **fields: str) -> list[WebhookRequest]:
    return VENDOR.parts_of(ANN, text, [PICTURE] * files, **fields)


async def test_words_and_file_are_one_message(fleet: Fleet) -> None:
    """Once further files may not be expected any more."""
    kit = await fleet.worker()
    first, second = parts()
    await taken(kit, first)
    await asyncio.sleep(4)
    await taken(kit, second)
    assert await fleet.messages() == []
    await asyncio.sleep(1.5)
    assert await fleet.messages() == [("look", 1)]
    await asyncio.sleep(1000)
    assert await fleet.messages() == [("look", 1)]


@pytest.mark.parametrize("order", list(permutations(range(4))))
async def test_the_parts_come_in_any_order(fleet: Fleet, order: Sequence[int]) -> None:
    kit, sent = await fleet.worker(), parts(files=3)
    await taken(kit, *(sent[place] for place in order))
    await asyncio.sleep(60)
    assert await fleet.messages() == [("look", 3)]


async def test_words_whose_file_does_not_come_are_received(fleet: Fleet) -> None:
    """A file that comes later is a message of its own."""
    kit = await fleet.worker()
    first, second = parts()
    await taken(kit, first)
    await asyncio.sleep(4.5)
    assert await fleet.messages() == []
    await asyncio.sleep(1)
    assert await fleet.messages() == [("look", 0)]
    await taken(kit, second)
    await asyncio.sleep(60)
    assert await fleet.messages() == [("look", 0), ("", 1)]


async def test_a_part_that_is_sent_again_is_in_one_message(fleet: Fleet) -> None:
    """Before the message is received, and long after."""
    kit, sent = await fleet.worker(), parts(files=2)
    for pause in (0.1, 60, 3600, 86_400):
        await taken(kit, *sent, *sent)
        await asyncio.sleep(pause)
    for each in sent:
        await taken(kit, each)
        await asyncio.sleep(60)
    assert await fleet.messages() == [("look", 2)]


async def test_other_messages_are_not_held_up(fleet: Fleet) -> None:
    """A plain text is received at once; another second is another message."""
    kit = await fleet.worker()
    one, other = parts("one", datetime_transmission="a"), parts("two", datetime_transmission="b")
    await taken(kit, one[0], *parts("plain", files=0), other[1], one[1], other[0])
    assert await fleet.messages() == [("plain", 0)]
    await asyncio.sleep(60)
    assert sorted(await fleet.messages()) == [("one", 1), ("plain", 0), ("two", 1)]


async def test_two_messages_of_one_second_lose_nothing(fleet: Fleet) -> None:
    """VoiceMeUp says nothing that would tell their parts apart."""
    kit = await fleet.worker()
    one, other = (parts(text, datetime_transmission="a") for text in ("one", "two"))
    await taken(kit, *one, *other)
    await asyncio.sleep(60)
    assert await fleet.messages() == [("one\ntwo", 2)]


async def test_each_worker_gets_a_part(fleet: Fleet) -> None:
    workers = [await fleet.worker() for _ in range(2)]
    first, *files = parts(files=3)
    await taken(workers[0], first)
    await asyncio.gather(*(taken(workers[place % 2], file) for place, file in enumerate(files)))
    await asyncio.sleep(60)
    assert await fleet.messages() == [("look", 3)]


async def test_the_other_worker_receives_what_one_left(fleet: Fleet) -> None:
    """Its timers are in the store."""
    one, other = await fleet.worker(), await fleet.worker()
    await taken(one, *parts())
    await one.close()
    await asyncio.sleep(LEASE * 4)
    assert await fleet.messages() == [("look", 1)]
    assert await other.store.find_timers() == []


class Broken:
    """Services of which one call fails, before or after it has had its effect; all later ones fail too."""

    def __init__(self, kit: RoomKit, fail_at: int, *, after: bool) -> None:
        self.calls, self.fail_at, self.after = 0, fail_at, after
        channel: Any = kit.get_channel("sms")
        services = channel.provider.services
        for name, methods in {"values": ["change"], "timers": ["set"], "inbox": ["receive"]}.items():
            for method in methods:
                group = getattr(services, name)
                setattr(group, method, self.broken(getattr(group, method)))

    def broken(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def made(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls > self.fail_at or (self.calls == self.fail_at and not self.after):
                raise StoreError("the worker is dead")
            found = await call(*given, **named)
            if self.calls == self.fail_at:
                raise StoreError("the worker died after this")
            return found

        return made


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(1, 13))
async def test_a_worker_may_die_at_any_step(fleet: Fleet, step: int, after: bool) -> None:
    """VoiceMeUp sends again what was not acknowledged, to another worker: nothing is lost, nothing twice."""
    doomed = await fleet.worker()
    Broken(doomed, step, after=after)
    outcomes = [(each, await doomed.process_webhook(each, "sms")) for each in parts(files=2)]
    refused = [request for request, outcome in outcomes if outcome.status != 200]
    await asyncio.sleep(2)  # its timers fire
    await doomed.close()
    heir = await fleet.worker()
    await taken(heir, *refused)
    await asyncio.sleep(3600)
    found = await fleet.messages()
    assert sum(files for _, files in found) == 2
    assert [text for text, _ in found if text] == ["look"]


async def test_a_death_between_leaves_one_message(fleet: Fleet) -> None:
    """The steps above reach the end: without a failure there are as many, and one message."""
    kit = await fleet.worker()
    broken = Broken(kit, 10**6, after=False)
    await taken(kit, *parts(files=2))
    await asyncio.sleep(60)
    assert await fleet.messages() == [("look", 2)]
    assert broken.calls >= 12


class Refusing:
    """An inbox that fails at first, each time as it is told, and then receives."""

    def __init__(self, kit: RoomKit, *failures: StoreError | InboundResult) -> None:
        channel: Any = kit.get_channel("sms")
        inbox = channel.provider.services.inbox
        self.failures, self._receive = list(failures), inbox.receive
        self.times: list[int] = []
        inbox.receive = self.receive

    async def receive(self, message: InboundMessage) -> InboundResult:
        self.times.append(round(asyncio.get_running_loop().time()))
        if not self.failures:
            result: InboundResult = await self._receive(message)
            return result
        failure = self.failures.pop(0)
        if isinstance(failure, InboundResult):
            return failure
        raise failure


LIMITED = InboundResult(blocked=True, reason="rate_limited", retry_after=20)


@pytest.mark.parametrize(
    ("failure", "pause"),
    [(StoreError("the store is away"), 60), (LIMITED, 20), (replace(LIMITED, retry_after=None), 60)],
    ids=["an error", "a limit", "a limit without a time"],
)
async def test_a_message_that_cannot_be_taken_is_tried_again(
    fleet: Fleet, failure: StoreError | InboundResult, pause: int
) -> None:
    """By the timers of its parts, and then after a pause: of a minute, or what the refusal says."""
    kit = await fleet.worker()
    inbox = Refusing(kit, *[failure] * 4)
    await taken(kit, *parts())
    await asyncio.sleep(3600)
    assert await fleet.messages() == [("look", 1)]
    assert inbox.times[4] - inbox.times[0] >= pause - 5
    assert inbox.times[2] - inbox.times[0] == pytest.approx(pause, abs=6)


async def test_a_part_that_comes_while_others_cannot_be_taken_is_a_message_of_its_own(fleet: Fleet) -> None:
    """The message that is tried again stays what it was, and so does its key."""
    kit, (first, second, late) = await fleet.worker(), parts(files=2)
    inbox = Refusing(kit, *[StoreError("the store is away")] * 6)
    await taken(kit, first, second)
    await asyncio.sleep(3)
    assert inbox.times
    await taken(kit, late)
    await asyncio.sleep(3600)
    assert sorted(await fleet.messages()) == [("", 1), ("look", 1)]


async def test_a_part_of_any_size_is_received(fleet: Fleet) -> None:
    """By itself, where it is longer than a stored value."""
    kit = await fleet.worker()
    await taken(kit, *parts("word " * 20_000))
    await asyncio.sleep(60)
    assert sorted(files for _, files in await fleet.messages()) == [0, 1]


async def test_one_provider_serves_two_channels(fleet: Fleet) -> None:
    kit = await fleet.worker()
    channel: Any = kit.get_channel("sms")
    kit.register_channel(TransportChannel("other", ChannelType.SMS, provider=channel.provider))
    for channel_id in ("sms", "other"):
        for request in parts(channel_id, datetime_transmission="a"):
            assert (await kit.process_webhook(request, channel_id)).status == 200
    await asyncio.sleep(60)
    assert sorted(await fleet.messages()) == [("other", 1), ("sms", 1)]
