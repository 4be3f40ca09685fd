"""Events that are sent later: once, when they are due where the person is, judged when they go out."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest

from roomkit import HookResult, HookTrigger, Identity, LocalTime, RoomKit, TextContent
from roomkit.abc.errors import (
    EventNotFoundError,
    InvalidInputError,
    ParticipantNotFoundError,
    RoomNotFoundError,
)
from roomkit.kernel.schedule.local_time import _OF_CODE, instant_of, zone_of_number
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.media import InMemoryMediaStore
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import MediaContent, text_of
from roomkit.models.enums import EventStatus, EventType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.scheduling import ScheduledSend
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, SharedStore, VirtualClock

pytestmark = pytest.mark.virtual_time(horizon=200 * 86_400.0)

HOUR = 3_600.0
DAY = 24 * HOUR
TORONTO = ZoneInfo("America/Toronto")


def a_kit(store: InMemoryStore | None = None, **options: Any) -> RoomKit:
    """Return a kit that looks for due timers every hour, and when one is due that it set."""
    return RoomKit(
        store,
        lock_manager=InMemoryLockManager(),
        realtime=InMemoryRealtime(),
        single_process=True,
        clock=VirtualClock(),
        plugins=PluginManager(entry_points=()),
        lease_seconds=3 * HOUR,
        **options,
    )


@pytest.fixture
async def kit() -> Any:
    """Return a kit with a room, its channel and one person, who lives in Toronto."""
    async with a_kit() as kit:
        kit.register_channel(RecordingChannel("sms"))
        await kit.create_room("r1")
        await kit.attach_channel("r1", "sms")
        await person(kit, "ann", timezone="America/Toronto")
        yield kit


async def person(kit: RoomKit, name: str, **fields: Any) -> None:
    await kit.store.add_participant(Participant(id=name, room_id="r1", channel_id="sms", **fields))


def after(kit: RoomKit, seconds: float) -> datetime:
    return kit.clock.now() + timedelta(seconds=seconds)


async def send(kit: RoomKit, at: Any, text: str = "hello", **fields: Any) -> RoomEvent:
    return await kit.send_event("r1", "sms", TextContent(body=text), at=at, **fields)


async def messages(kit: RoomKit) -> list[RoomEvent]:
    """Return the messages sent or refused."""
    return [event for event in await kit.store.list_events("r1") if event.type is EventType.MESSAGE]


async def said(kit: RoomKit) -> list[str]:
    return [text_of(event.content) for event in await messages(kit)]


async def one(kit: RoomKit) -> ScheduledSend:
    """Return the one send that waits."""
    (found,) = await kit.list_scheduled("r1")
    return found


async def test_a_scheduled_event_is_sent_when_it_is_due(kit: RoomKit) -> None:
    """Under the id that it was returned with, by the ordinary path; nothing of it is left."""
    seen: list[float] = []

    @kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event: Any, context: Any) -> HookResult:
        seen.append(round(asyncio.get_running_loop().time()))
        return HookResult.allow()

    event = await send(kit, after(kit, 10 * DAY), participant_id="ann", metadata={"n": 1})
    assert (event.status, event.index) == (EventStatus.PENDING, -1)
    assert await said(kit) == []
    assert seen == []
    assert (await one(kit)).event == event
    await asyncio.sleep(20 * DAY)
    (stored,) = await messages(kit)
    assert (stored.id, stored.metadata, stored.source) == (event.id, {"n": 1}, event.source)
    assert seen == [10 * DAY]
    assert await kit.list_scheduled() == []
    assert await kit.store.find_timers() == []
    assert await kit.store.list_room_values("r1") == []


async def test_a_local_time_stays_one_when_the_clocks_change(kit: RoomKit) -> None:
    """Nine o'clock in each week of half a year, by whatever offset it is then."""
    first = kit.clock.now().date()
    days = [first + timedelta(days=7 * week) for week in range(1, 26)]
    for day in days:
        await send(kit, LocalTime("09:00", of="ann", on=day))
    await asyncio.sleep(180 * DAY)
    at = [event.created_at.astimezone(TORONTO) for event in await messages(kit)]
    assert [(each.date(), each.hour, each.minute) for each in at] == [(day, 9, 0) for day in days]
    assert len({each.utcoffset() for each in at}) == 2


async def test_what_is_due_already_is_sent_at_once(kit: RoomKit) -> None:
    await send(kit, after(kit, -60))
    await asyncio.sleep(1)
    assert await said(kit) == ["hello"]


async def test_a_local_time_is_the_persons(kit: RoomKit) -> None:
    await send(kit, LocalTime("09:00", of="ann"))
    found = await one(kit)
    assert (found.timezone, found.timezone_from) == ("America/Toronto", "participant")
    assert found.due_at.astimezone(TORONTO).time() == time(9)
    assert timedelta() < found.due_at - kit.clock.now() <= timedelta(days=1)
    await asyncio.sleep((found.due_at - kit.clock.now()).total_seconds() + 1)
    assert await said(kit) == ["hello"]


@pytest.mark.parametrize(
    ("of", "zone"),
    [
        ("ann", ("America/Toronto", "participant")),
        ("bob", ("Asia/Tokyo", "identity")),
        ("carl", ("Europe/Berlin", "number")),
        ("+442071838750", ("Europe/London", "number")),
        ("+14165550123", ("Europe/Paris", "kit")),
        ("eve", ("Europe/Paris", "kit")),
        (None, ("Europe/Paris", "kit")),
    ],
    ids=["participant", "identity", "identity's number", "number", "many zones", "nothing known", "no one"],
)
async def test_a_zone_is_found_with_the_person_the_number_or_the_kit(
    of: str | None, zone: tuple[str, str]
) -> None:
    """With the participant, the identity, the country of the number, the kit; the result says which."""
    async with a_kit(timezone="Europe/Paris") as kit:
        kit.register_channel(RecordingChannel("sms"))
        await kit.create_room("r1")
        await kit.attach_channel("r1", "sms")
        await kit.store.create_identity(Identity(id="i1", timezone="Asia/Tokyo", phone="+4930123456"))
        await kit.store.create_identity(Identity(id="i2", phone="+4930123456"))
        await person(kit, "ann", timezone="America/Toronto", identity_id="i1")
        await person(kit, "bob", identity_id="i1")
        await person(kit, "carl", identity_id="i2")
        for name in ("+442071838750", "+14165550123", "eve"):
            await person(kit, name)
        await send(kit, LocalTime("09:00", of=of))
        found = await one(kit)
        assert (found.timezone, found.timezone_from) == zone


NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("local", "now", "expected"),
    [
        (LocalTime("09:00"), "2026-07-01T08:00", "2026-07-01T09:00-04:00"),
        (LocalTime("09:00"), "2026-07-01T09:00", "2026-07-02T09:00-04:00"),
        (LocalTime(time(9, 30)), "2026-12-31T10:00", "2027-01-01T09:30-05:00"),
        (LocalTime("09:00"), "2026-03-07T10:00", "2026-03-08T09:00-04:00"),
        (LocalTime("02:30"), "2026-03-07T10:00", "2026-03-08T03:30-04:00"),
        (LocalTime("01:30"), "2026-10-31T10:00", "2026-11-01T01:30-04:00"),
        (LocalTime("09:00", on=date(2027, 2, 3)), "2026-07-01T08:00", "2027-02-03T09:00-05:00"),
        (LocalTime("07:00", window=(time(8), time(20))), "2026-07-01T06:00", "2026-07-01T08:00-04:00"),
        (LocalTime("20:00", window=(time(8), time(20))), "2026-07-01T06:00", "2026-07-02T08:00-04:00"),
        (LocalTime("12:00", window=(time(8), time(20))), "2026-07-01T06:00", "2026-07-01T12:00-04:00"),
        (LocalTime("12:00", window=(time(22), time(6))), "2026-07-01T06:00", "2026-07-01T22:00-04:00"),
        (LocalTime("23:00", window=(time(22), time(6))), "2026-07-01T06:00", "2026-07-01T23:00-04:00"),
        (LocalTime("21:00", window=(time(2, 30), time(20))), "2026-03-07T06:00", "2026-03-08T03:30-04:00"),
        (LocalTime(window=(time(8), time(20))), "2026-07-01T19:30", "2026-07-01T19:30-04:00"),
        (LocalTime(window=(time(8), time(20))), "2026-07-01T20:00", "2026-07-02T08:00-04:00"),
        (
            LocalTime(window=(time(8), time(20)), on=date(2027, 2, 3)),
            "2026-07-01T09:00",
            "2027-02-03T08:00-05:00",
        ),
    ],
    ids=[
        "today",
        "not now",
        "over a year",
        "after a change",
        "skipped",
        "twice",
        "its day",
        "before it opens",
        "as it closes",
        "within",
        "outside one over midnight",
        "within one over midnight",
        "opens when skipped",
        "open now",
        "as soon as it opens",
        "as it opens on its day",
    ],
)
def test_a_local_time_as_an_instant(local: LocalTime, now: str, expected: str) -> None:
    """A skipped time moves forward, of one that comes twice it is the first."""
    present = datetime.fromisoformat(now).replace(tzinfo=NEW_YORK).astimezone(UTC)
    assert instant_of(local, NEW_YORK, present) == datetime.fromisoformat(expected)


def test_countries_with_one_zone_have_it() -> None:
    assert set(_OF_CODE.values()) <= available_timezones()
    assert zone_of_number("+353861234567") == "Europe/Dublin"
    assert zone_of_number("353861234567") is None
    assert zone_of_number("+3519") is None  # Portugal has two


async def test_a_late_worker_waits_for_the_window() -> None:
    """A message due while no worker ran goes out when the window opens next."""
    store = SharedStore()
    async with a_kit(store) as kit:
        kit.register_channel(RecordingChannel("sms"))
        await kit.create_room("r1")
        await kit.attach_channel("r1", "sms")
        await send(kit, LocalTime("09:00", window=(time(8), time(10))))
        due = (await one(kit)).due_at
    await asyncio.sleep((due - kit.clock.now()).total_seconds() + 6 * HOUR)
    async with a_kit(store) as kit:
        kit.register_channel(RecordingChannel("sms"))
        await asyncio.sleep(HOUR)
        assert await said(kit) == []
        await asyncio.sleep(DAY - 6 * HOUR)
        assert await said(kit) == ["hello"]
        (event,) = await messages(kit)
        assert event.created_at.hour in (7, 8)  # from its opening on


@pytest.mark.parametrize(
    "wrong", [datetime(2030, 1, 1), "tomorrow", 3], ids=["naive", "text", "number"]
)  # the fault
async def test_what_is_no_time_is_refused(kit: RoomKit, wrong: Any) -> None:
    with pytest.raises(InvalidInputError):
        await send(kit, wrong)
    assert await kit.list_scheduled() == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: LocalTime("25:00"),
        lambda: LocalTime("nine"),
        lambda: LocalTime(9),
        lambda: LocalTime("09:00", window=("08:00", "20:00")),
        lambda: LocalTime("09:00", window=(time(8),)),
        lambda: LocalTime(time(9, tzinfo=UTC)),
        lambda: LocalTime("09:00", window=(time(9), time(9))),
        lambda: LocalTime(),
        lambda: Participant(id="p", room_id="r1", channel_id="c", timezone="Europe/Atlantis"),
        lambda: Identity(id="i", timezone="../etc/passwd"),
        lambda: RoomKit(timezone="Mars/Base"),
    ],
    ids=[
        "no hour",
        "no time",
        "a number",
        "window of texts",
        "half a window",
        "zoned",
        "empty window",
        "neither",
        "participant",
        "identity",
        "kit",
    ],
)
def test_wrong_times_and_zones_are_errors(make: Any) -> None:
    with pytest.raises(ValueError, match=r"zone|not a time of day|window"):
        make()


async def test_others_than_participants_have_no_local_time(kit: RoomKit) -> None:
    with pytest.raises(ParticipantNotFoundError, match="local time"):
        await send(kit, LocalTime("09:00", of="stranger"))
    with pytest.raises(RoomNotFoundError):
        await kit.send_event("r9", "sms", TextContent(body="x"), at=after(kit, 5))


async def test_what_is_too_long_is_refused(kit: RoomKit) -> None:
    media = MediaContent(url="data:text/plain;base64," + "QUJD" * 20_000, mime_type="text/plain")
    with pytest.raises(
        InvalidInputError, match=r"draft has 81,.* 65,536 are the most; name files by an http"
    ):
        await kit.send_event("r1", "sms", media, at=after(kit, 5))


async def test_gates_judge_it_when_it_goes_out(kit: RoomKit) -> None:
    event = await send(kit, after(kit, 100))

    @kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event: Any, context: Any) -> HookResult:
        return HookResult.block("quiet")

    await asyncio.sleep(200)
    (stored,) = await messages(kit)
    assert (stored.id, stored.status, stored.block_reason) == (event.id, EventStatus.BLOCKED, "quiet")


async def _close(kit: RoomKit) -> None:
    await kit.close_room("r1")


async def _detach(kit: RoomKit) -> None:
    await kit.detach_channel("r1", "sms")


@pytest.mark.parametrize("change", [_close, _detach], ids=["room closed", "channel detached"])
async def test_what_may_no_longer_be_said_is_dropped_and_reported(kit: RoomKit, change: Any) -> None:
    refused: list[Any] = []

    async def keep(event: Any) -> None:
        refused.append(event.data["reason"])

    kit.on("scheduled_refused")(keep)
    await send(kit, after(kit, 100))
    await change(kit)
    await asyncio.sleep(200)
    assert refused == ["room_closed" if change is _close else "channel_detached"]
    assert await said(kit) == []
    assert await kit.list_scheduled() == []


class TestChanges:
    async def test_an_edit_changes_the_words_and_the_time(self, kit: RoomKit) -> None:
        event = await send(kit, after(kit, 100))
        edited = await kit.edit_scheduled("r1", event.id, TextContent(body="later"), at=after(kit, 300))
        assert (edited.event.id, edited.due_at) == (event.id, after(kit, 300))
        await asyncio.sleep(200)
        assert await said(kit) == []
        await asyncio.sleep(200)
        assert await said(kit) == ["later"]

    async def test_an_edit_can_bring_it_forward(self, kit: RoomKit) -> None:
        event = await send(kit, after(kit, 10 * DAY))
        await kit.edit_scheduled("r1", event.id, at=after(kit, 10))
        await asyncio.sleep(20)
        assert await said(kit) == ["hello"]

    async def test_a_cancelled_send_never_goes_out(self, kit: RoomKit) -> None:
        event = await send(kit, after(kit, 100))
        assert await kit.cancel_scheduled("r1", event.id)
        assert not await kit.cancel_scheduled("r1", event.id)
        await asyncio.sleep(200)
        assert await said(kit) == []
        assert await kit.store.find_timers() == []

    async def test_the_id_of_a_merged_room_still_finds_its_sends(self, kit: RoomKit) -> None:
        """They are in the room that it was merged into, and are listed, changed and cancelled by both ids."""
        first, second = [await send(kit, after(kit, 100)) for _ in range(2)]
        await kit.create_room("r2")
        await kit.merge_rooms("r1", "r2")
        sends = await kit.list_scheduled("r1")
        assert {each.event.id for each in sends} == {first.id, second.id}
        assert await kit.list_scheduled("r2") == sends
        changed = await kit.edit_scheduled("r1", first.id, TextContent(body="x"))
        assert changed.event.room_id == "r2"
        assert await kit.cancel_scheduled("r1", second.id)
        assert [each.event.id for each in await kit.list_scheduled("r1")] == [first.id]
        await asyncio.sleep(200)
        assert [text_of(event.content) for event in await kit.get_timeline("r2")][-1] == "x"
        assert await kit.list_scheduled() == []

    async def test_what_was_sent_is_neither_changed_nor_cancelled(self, kit: RoomKit) -> None:
        event = await send(kit, after(kit, 10))
        await asyncio.sleep(20)
        assert not await kit.cancel_scheduled("r1", event.id)
        with pytest.raises(EventNotFoundError, match="it was sent, cancelled or erased"):
            await kit.edit_scheduled("r1", event.id, TextContent(body="x"))

    async def test_what_is_being_sent_is_neither_changed_nor_cancelled(self, kit: RoomKit) -> None:
        answers: list[Any] = []

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def gate(event: Any, context: Any) -> HookResult:
            answers.append(await kit.cancel_scheduled("r1", event.id))
            with pytest.raises(EventNotFoundError):
                await kit.edit_scheduled("r1", event.id, TextContent(body="x"))
            return HookResult.allow()

        await send(kit, after(kit, 10))
        await asyncio.sleep(20)
        assert answers == [False]
        assert await said(kit) == ["hello"]

    async def test_of_concurrent_changes_none_is_lost_or_mixed(self, kit: RoomKit) -> None:
        """Once cancelled nothing goes out; if a message goes out, it is one of the edits, whole."""
        for number in range(10):
            event = await send(kit, after(kit, 50), f"{number}")
            results = await asyncio.gather(
                *(kit.edit_scheduled("r1", event.id, TextContent(body=f"{number}{each}")) for each in "ab"),
                kit.cancel_scheduled("r1", event.id),
                return_exceptions=True,
            )
            assert results[-1] is True
        await asyncio.sleep(100)
        assert await said(kit) == []


async def test_the_same_key_is_sent_once(kit: RoomKit) -> None:
    for _ in range(2):
        await send(kit, after(kit, 10), idempotency_key="campaign-7")
    await asyncio.sleep(20)
    assert await said(kit) == ["hello"]


async def test_a_whole_event_is_posted_later_by_services_too(kit: RoomKit) -> None:
    draft = RoomEvent(
        room_id="r1",
        source=EventSource(channel_id="sms", channel_type="sms"),
        content=TextContent(body="whole"),
    )
    event = await kit.services.rooms.post("r1", draft, channel_id="sms", at=after(kit, 10))
    assert event.id == draft.id
    await asyncio.sleep(20)
    assert await said(kit) == ["whole"]


class TestPrivacy:
    async def test_an_export_has_what_waits(self, kit: RoomKit) -> None:
        await send(kit, LocalTime("09:00", of="ann"), "a reminder")
        for export in (await kit.export_room("r1"), await kit.export_person(participant_id="ann")):
            assert any("a reminder" in value.model_dump_json() for value in export.values)

    @pytest.mark.parametrize("at", ["for her", "by her", "in her room"])
    async def test_an_erased_person_is_sent_nothing(self, kit: RoomKit, at: str) -> None:
        when = LocalTime("09:00", of="ann") if at == "for her" else after(kit, DAY)
        await send(kit, when, participant_id="ann" if at == "by her" else None)
        await kit.erase_person(participant_id="ann")
        assert await kit.list_scheduled() == []
        await asyncio.sleep(3 * DAY)
        assert await said(kit) == []
        assert [each for each in await kit.store.find_timers() if each.kind == "scheduled_send"] == []

    async def test_a_deleted_room_takes_it_along(self, kit: RoomKit) -> None:
        await send(kit, after(kit, DAY))
        await kit.delete_room("r1")
        await asyncio.sleep(3 * DAY)
        assert await kit.list_scheduled() == []
        assert await kit.store.find_timers() == []

    async def test_an_organization_sees_only_what_is_its_own(self, kit: RoomKit) -> None:
        acme, globex = kit.for_organization("acme"), kit.for_organization("globex")
        room = await acme.create_room()
        await acme.attach_channel(room.id, "sms")
        event = await acme.send_event(room.id, "sms", TextContent(body="x"), at=after(kit, 10))
        await send(kit, after(kit, 20))
        assert [each.event.id for each in await acme.list_scheduled()] == [event.id]
        assert await globex.list_scheduled() == []
        assert [each.event.room_id for each in await kit.list_scheduled()] == [room.id, "r1"]
        with pytest.raises(RoomNotFoundError):
            await globex.cancel_scheduled(room.id, event.id)


class TestFiles:
    """No event refers to the file of a scheduled send until it is sent."""

    @pytest.fixture
    async def kit(self) -> Any:
        async with a_kit(media=InMemoryMediaStore()) as kit:
            kit.register_channel(RecordingChannel("sms"))
            await kit.create_room("r1")
            await kit.attach_channel("r1", "sms")
            yield kit

    async def picture(self, kit: RoomKit) -> MediaContent:
        async def data() -> Any:
            yield b"picture"

        ref = await kit.services.media.put("r1", data(), mime_type="image/png")
        return MediaContent(url=ref.url, mime_type="image/png")

    async def test_a_file_that_would_be_deleted_before_is_refused(self, kit: RoomKit) -> None:
        """When it is scheduled, and when it is put off by an edit; the scheduled message stays as it is."""
        picture = await self.picture(kit)
        with pytest.raises(InvalidInputError, match="is deleted 24 hours after it was put"):
            await kit.send_event("r1", "sms", picture, at=after(kit, 2 * DAY))
        event = await kit.send_event("r1", "sms", picture, at=after(kit, DAY / 2))
        with pytest.raises(InvalidInputError, match="is deleted 24 hours after it was put"):
            await kit.edit_scheduled("r1", event.id, at=after(kit, 2 * DAY))
        await asyncio.sleep(DAY)
        assert [each.content.url for each in await messages(kit)] == [picture.url]

    async def test_a_file_that_is_gone_drops_the_send(self, kit: RoomKit) -> None:
        """It is reported once, and not tried again for ever."""
        reasons: list[Any] = []

        async def note(event: Any) -> None:
            reasons.append(event.data["reason"])

        kit.subscribe_events("scheduled_refused", note)
        picture = await self.picture(kit)
        await kit.send_event("r1", "sms", picture, at=after(kit, DAY / 2))
        await kit.store.forget_media([picture.url.removeprefix("media:")])
        await asyncio.sleep(3 * DAY)
        assert reasons == ["invalid_input"]
        assert await kit.list_scheduled() == []
        assert await messages(kit) == []
