"""Vendors that repeat and reorder what they send: a vendor's id means the same, whatever the order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from itertools import batched
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit import RoomKit, TextContent, text_of
from roomkit.testing import run_virtual
from tests.contract_sketches.stage import Vendor, Workers
from tests.contract_sketches.test_mail import arrives, mails
from tests.contract_sketches.test_sms import carrier_says, texts

PEOPLE = ("ann", "ben", "cleo")
FORWARD = ["queued", "dispatched", "partially_delivered", "arrived", "read"]
RECEIPTS = {
    "queued": "queued",
    "dispatched": "sent",
    "partially_delivered": "partial",
    "arrived": "delivered",
}

type Call = Callable[[RoomKit], Coroutine[Any, Any, Any]]


class Traffic:
    """Texts and mails to three people, and all that their vendors send back, in a random order."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.carrier, self.post = Vendor(), Vendor()
        self.receipts: dict[str, list[str]] = {}
        self.replies: dict[str, list[tuple[str, str | None]]] = {}
        """The rooms and parents of each reply, one for each time that it came."""

    async def open(self, kit: RoomKit) -> None:
        """Write to everybody once."""
        for number, person in enumerate(PEOPLE):
            await kit.create_room(person)
            await kit.attach_channel(person, "texts", metadata={"recipient_id": f"+1555000{number}"})
            await kit.attach_channel(person, "mail", metadata={"email_address": f"{person}@example.com"})
            await kit.send_event(person, "system", TextContent(body=f"to {person}"))

    def calls(self) -> list[Call]:
        """Return everything that happens after that, shuffled."""
        calls = [*self._sends(), *self._receipts(), *self._replies()]
        self._chance.shuffle(calls)
        return calls

    def _sends(self) -> Iterator[Call]:
        for person in PEOPLE:
            yield lambda kit, person=person: kit.send_event(person, "system", TextContent(body="more"))  # type: ignore[misc]

    def _receipts(self) -> Iterator[Call]:
        """Receipts of every text, also of those that are not sent yet, some twice."""
        for number in range(1, 2 * len(PEOPLE) + 1):
            words = self._chance.choice([FORWARD, ["queued", "gone"], ["dispatched", "arrived", "failed"]])
            chosen = [word for word in words if self._chance.random() < 0.7] or words[:1]
            self.receipts[f"m{number}"] = chosen
            for word in chosen * self._chance.choice([1, 2]):
                item = {"id": f"m{number}", "state": word}
                yield lambda kit, item=item: carrier_says(kit, item)  # type: ignore[misc]

    def _replies(self) -> Iterator[Call]:
        """Mails that answer one of ours; a stranger's among them, who only knows its id."""
        for person, sent in zip(PEOPLE, self.post.messages, strict=True):
            for who in (person, "eve"):
                for _ in range(self._chance.choice([1, 3])):
                    yield lambda kit, who=who, sent=sent: self._reply(kit, who, sent)  # type: ignore[misc]

    async def _reply(self, kit: RoomKit, who: str, sent: dict[str, Any]) -> None:
        others = [mail["key"] for mail in self.post.messages]
        number = f"{who}-to-{sent['id']}"
        event = await arrives(
            kit,
            number,
            number,
            in_reply_to=sent["key"],
            references=others,
            **{"from": f"{who}@example.com"},
        )
        self.replies.setdefault(number, []).append((event.room_id, event.parent_event_id))


def final(words: list[str]) -> str:
    """Return where these receipts lead, in whatever order they come."""
    for end, state in (("failed", "failed"), ("gone", "expired")):
        if end in words:
            return state
    return RECEIPTS.get(max(words, key=FORWARD.index), "read")


async def play(seed: int) -> None:
    """Play one order of one traffic over two workers, three calls at a time."""
    chance, workers = random.Random(seed), Workers()
    traffic = Traffic(chance)
    kits = [
        await workers.start(texts(traffic.carrier, per_second=1000), mails(traffic.post)) for _ in range(2)
    ]
    try:
        await traffic.open(kits[0])
        for some in batched(traffic.calls(), 3):
            await asyncio.gather(*(call(chance.choice(kits)) for call in some))
        await judge(traffic, kits[1])
    finally:
        await workers.close()


async def judge(traffic: Traffic, kit: RoomKit) -> None:
    """Each text is where its receipts say, each reply where its mail was, and a stranger in no one's room."""
    rows = [row for person in PEOPLE for row in await kit.list_deliveries(person)]
    found = {row.provider_message_id: row.receipt for row in rows if row.channel_id == "texts"}
    assert {each: found[each] for each in traffic.receipts} == {
        each: final(words) for each, words in traffic.receipts.items()
    }
    for person, sent in zip(PEOPLE, traffic.post.messages, strict=False):
        first = next(
            event for event in await kit.get_timeline(person) if text_of(event.content) == f"to {person}"
        )
        assert set(traffic.replies[f"{person}-to-{sent['id']}"]) == {(person, first.id)}
        strangers = traffic.replies[f"eve-to-{sent['id']}"]
        assert len(set(strangers)) == 1
        assert strangers[0][0] not in PEOPLE


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_the_order_receipts_and_replies_find_what_they_name(seed: int) -> None:
    run_virtual(play(seed))
