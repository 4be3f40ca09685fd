"""Files of events: taken in before the commit, shown as channels ask, imported, swept once unused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from contextlib import nullcontext
from datetime import timedelta
from zipfile import ZipFile

import pytest

from roomkit.abc.clock import SystemClock
from roomkit.abc.errors import (
    ErrorCode,
    FetchFailedError,
    FetchRefusedError,
    ForeignCodeError,
    InvalidInputError,
    MediaNotConfiguredError,
    MediaNotFoundError,
    MediaTooLargeError,
    ProviderError,
    RoomNotFoundError,
    StoreError,
)
from roomkit.abc.services.fetch import Fetched, GuardedFetch
from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.media import InMemoryMediaStore
from roomkit.memory.store import InMemoryStore
from roomkit.models.base import utcnow
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.content import (
    AudioContent,
    CompositeContent,
    CustomContent,
    EditContent,
    MediaContent,
    RichContent,
    TextContent,
    VideoContent,
)
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import (
    ChannelCategory,
    ChannelMediaType,
    ChannelType,
    DeliveryState,
    HookTrigger,
    MediaForm,
)
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.hook import HookResult, InjectedEvent
from roomkit.models.rights import ExportedMedia
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence

pytestmark = pytest.mark.virtual_time

PNG = b"\x89PNG\r\n\x1a\n" + bytes(80_000)
LONG = f"data:image/jpeg;base64,{base64.b64encode(PNG).decode()}"
SHORT = "data:text/plain,hello"
EVERYTHING = ChannelCapabilities(
    media_types=[
        ChannelMediaType.TEXT,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
    ],
    supports_edit=True,
)
IMAGE = MediaContent(url=LONG, mime_type="image/jpeg", filename="a.jpg", caption="look")


class Calendar(SystemClock):
    """A clock that the test moves."""

    follows_store = False

    def __init__(self):
        self.today = utcnow()

    def now(self):
        return self.today

    def advance(self, seconds):
        self.today += timedelta(seconds=seconds)


class Phone(RecordingChannel):
    """A channel that takes all contents, in the form that it is made with."""

    def __init__(self, channel_id, form=MediaForm.URL):
        super().__init__(channel_id, capabilities=EVERYTHING)
        self.media_form = form


async def stage(*, form=MediaForm.URL, media=None, **options):
    """Return a kit with a room and two phones, the second of a given form."""
    options = {"media_url": "https://kit.example/base/", **options}
    kit = RoomKit(media=InMemoryMediaStore() if media is None else media, **options)
    await kit.start()
    await kit.create_room("room")
    for phone in (Phone("ann"), Phone("bob", form)):
        kit.register_channel(phone)
        await kit.attach_channel("room", phone.channel_id)
    return kit, phone


async def read(kit, url):
    return b"".join([piece async for piece in kit.media.open(url)])


def files_of(kit):
    return kit._kernel.ground.files.media._files


async def messages(kit):
    """Return the room's events but for those of the kit itself."""
    return [event for event in await kit.get_timeline("room") if event.source.channel_id != "system"]


async def sweep(kit):
    """Fire the timer of the sweep."""
    return await kit._kernel.operations.sweeper.fire(None)


# -- before the commit ------------------------------------------------------------------------------

CONTENTS = [
    IMAGE,
    AudioContent(url=LONG),
    VideoContent(url=LONG, thumbnail_url=LONG.replace("jpeg", "png")),
    CompositeContent(parts=(TextContent(body="two"), IMAGE, AudioContent(url=LONG))),
]


@pytest.mark.parametrize("content", CONTENTS, ids=[each.type for each in CONTENTS])
@pytest.mark.parametrize("way", ["inbound", "sent", "edited", "rewritten", "injected", "answered"])
async def test_long_data_urls_become_files_before_the_commit(way, content) -> None:
    """Of any author, and anywhere in the content; the bytes decide on their type."""
    kit, _ = await stage()
    match way:
        case "inbound":
            message = InboundMessage(channel_id="ann", sender_id="ann", content=content, room_id="room")
            result = await kit.process_inbound(message)
            stored = result.event.content
        case "sent":
            stored = (await kit.send_event("room", "ann", content)).content
        case "edited":
            first = await kit.send_event("room", "ann", TextContent(body="first"))
            edit = await kit.edit_event("room", first.id, content)
            assert isinstance(edit.content, EditContent)
            stored = (await kit.store.get_event(first.id)).content
            assert stored == edit.content.new_content
        case "rewritten":

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def rewrite(event, context):
                return HookResult.modify(event.replace(content=content))

            stored = (await kit.send_event("room", "ann", TextContent(body="plain"))).content
        case "injected":

            @kit.hook(HookTrigger.BEFORE_BROADCAST)
            async def inject(event, context):
                new = RoomEvent(room_id="room", source=event.source, content=content)
                return HookResult("allow", injected_events=[InjectedEvent(event=new)])

            await kit.send_event("room", "ann", TextContent(body="plain"))
            stored = (await messages(kit))[-1].content
        case "answered":
            source = EventSource(channel_id="ai", channel_type=ChannelType.AI)
            answer = RoomEvent(room_id="room", source=source, content=content)
            kit.register_channel(ScriptedIntelligence("ai", [answer]))
            await kit.attach_channel("room", "ai", category=ChannelCategory.INTELLIGENCE)
            await kit.send_event("room", "ann", TextContent(body="paint"))
            stored = (await messages(kit))[-1].content
    assert "base64" not in stored.model_dump_json()
    assert stored.type == content.type
    found = [*files_of(kit).values()]
    assert len(found) == len({str(each) for each in kit_urls(content)})
    for ref, data in found:
        assert (ref.room_id, ref.mime_type, data[: len(PNG)]) == ("room", "image/png", PNG)
    assert await kit.store.list_unused_media(kit._kernel.ground.clock.now() + timedelta(days=9)) == []
    await kit.close()


def kit_urls(content):
    match content:
        case CompositeContent():
            return [url for part in content.parts for url in kit_urls(part)]
        case VideoContent():
            return [content.url, content.thumbnail_url]
        case MediaContent() | AudioContent():
            return [content.url]
    return []


async def test_a_moved_file_is_known_by_name_size_and_type() -> None:
    """The event says what the bytes show, whatever was declared."""
    kit, _ = await stage()
    content = (await kit.send_event("room", "ann", IMAGE)).content
    assert (content.mime_type, content.size_bytes, content.caption) == ("image/png", len(PNG), "look")
    ref = await kit.media.find(content.url)
    assert (ref.filename, ref.url) == ("a.jpg", content.url)
    assert await read(kit, content.url) == await read(kit, ref.id) == PNG
    await kit.close()


@pytest.mark.parametrize(
    "url",
    [SHORT, "https://files.example/a.png", f"data:image/png;base64,{'!' * 70_000}", "data:" + "x" * 70_000],
)
async def test_what_is_short_elsewhere_or_no_file_stays(url) -> None:
    kit, _ = await stage()
    sent = await kit.send_event("room", "ann", MediaContent(url=url, mime_type="image/png"))
    assert sent.content.url == url
    assert files_of(kit) == {}
    await kit.close()


async def test_without_a_media_store_everything_stays() -> None:
    """And nothing can refer to a file."""
    async with RoomKit() as kit:
        await kit.create_room("room")
        kit.register_channel(Phone("ann"))
        await kit.attach_channel("room", "ann")
        assert (await kit.send_event("room", "ann", IMAGE)).content == IMAGE
        reference = MediaContent(url="media:abc", mime_type="image/png")
        for attempt in (
            kit.send_event("room", "ann", reference),
            kit.media.put("room", b"", mime_type="image/png"),
            kit.media.find("abc"),
        ):
            with pytest.raises(MediaNotConfiguredError, match=r"give RoomKit\(media=...\)"):
                await attempt
        assert kit.media_app is None


async def test_a_reference_to_another_rooms_file_is_refused() -> None:
    """Even for those who know its id: a room's files are the room's."""
    kit, _ = await stage()
    await kit.create_room("other")
    ref = await kit.media.put("other", PNG, mime_type="image/png")
    for url in (ref.url, "media:absent"):
        content = MediaContent(url=url, mime_type="image/png")
        for each in (content, CompositeContent(parts=(content,))):
            with pytest.raises(InvalidInputError, match="not a file of that room"):
                await kit.send_event("room", "ann", each)
    assert await messages(kit) == []
    await kit.close()


async def test_a_file_above_the_limit_is_refused_whole() -> None:
    """Nothing is stored of the event, nor of the file."""
    kit, _ = await stage(media_limit=50_000)
    with pytest.raises(MediaTooLargeError, match="50000"):
        await kit.send_event("room", "ann", IMAGE)
    with pytest.raises(MediaTooLargeError):
        await kit.media.put("room", PNG, mime_type="image/png")
    assert files_of(kit) == {}
    await kit.close()


async def test_a_file_can_be_put_and_then_sent() -> None:
    """In one room that exists."""
    kit, bob = await stage()
    ref = await kit.services_of("acme").media.put("room", PNG, mime_type="image/png", filename="b.png")
    await kit.send_event("room", "ann", MediaContent(url=ref.url, mime_type=ref.mime_type))
    assert bob.delivered[-1].event.content.url.startswith("https://kit.example/base/media/")
    with pytest.raises(RoomNotFoundError):
        await kit.media.put("absent", PNG, mime_type="image/png")
    with pytest.raises(MediaNotFoundError, match="absent"):
        await kit.media.find("media:absent")
    await kit.close()


# -- delivery ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", list(MediaForm), ids=str)
async def test_a_channel_gets_files_in_its_form(form) -> None:
    """The stored event keeps the reference; the ledger keeps neither bytes nor URLs."""
    kit, bob = await stage(form=form)
    sent = await kit.send_event("room", "ann", CompositeContent(parts=(TextContent(body="see"), IMAGE)))
    shown = bob.delivered[-1].event.content.parts[1]
    reference = sent.content.parts[1].url
    match form:
        case MediaForm.URL:
            assert shown.url.startswith(f"https://kit.example/base/media/{reference[6:]}?until=")
        case MediaForm.BYTES:
            assert shown.url == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
        case MediaForm.TEXT:
            assert shown == TextContent(body="look\n[file: a.jpg]")
        case MediaForm.REFERENCE:
            assert shown.url == reference
    rows = await kit.list_deliveries("room")
    assert [(row.state, row.rendered) for row in rows] == [(DeliveryState.SENT, None)]
    await kit.close()


async def test_without_a_url_bytes_are_delivered() -> None:
    kit, bob = await stage(media_url=None)
    content = (await kit.send_event("room", "ann", IMAGE)).content
    assert bob.delivered[-1].event.content.url.startswith("data:image/png;base64,")
    with pytest.raises(MediaNotConfiguredError, match="media_url"):
        await kit.media.url(content.url)
    await kit.close()


async def test_a_file_that_is_gone_is_delivered_as_text() -> None:
    """A retry that comes after the file was deleted does not fail for it."""
    kit, _ = await stage()
    for content in (IMAGE, AudioContent(url=LONG, transcript="hi"), VideoContent(url=LONG)):
        stored = (await kit.send_event("room", "ann", content)).content
        await kit._kernel.ground.files.media.delete("room")
        shown = await kit.media.shown(stored, MediaForm.URL)
        assert isinstance(shown, TextContent)
        assert "media:" not in shown.body
    await kit.close()


async def test_a_channel_that_names_no_form_fails_its_own_delivery() -> None:
    """With its name; the other recipients are not concerned."""
    kit, bob = await stage()
    bob.media_form = "picture"
    kit.register_channel(Phone("eve"))
    await kit.attach_channel("room", "eve")
    await kit.send_event("room", "ann", IMAGE)
    rows = {row.channel_id: row for row in await kit.list_deliveries("room")}
    assert rows["bob"].state is DeliveryState.FAILED
    assert "media_form" in rows["bob"].error.message
    assert rows["eve"].state is DeliveryState.SENT
    await kit.close()


# -- afterwards -------------------------------------------------------------------------------------


async def test_files_without_an_event_are_swept_after_a_day() -> None:
    """Not before; the timer is set once, for one worker of all."""
    clock = Calendar()
    kit, _ = await stage(clock=clock)
    kept = (await kit.send_event("room", "ann", IMAGE)).content
    left = await kit.media.put("room", PNG, mime_type="image/png")
    (timer,) = await kit.store.find_timers("media_sweep")
    assert timer.due_at == clock.now() + timedelta(hours=1)
    clock.advance(86_000)
    await sweep(kit)
    assert await kit.media.find(left.id) == left
    clock.advance(1_000)
    assert (await sweep(kit)).changed
    with pytest.raises(MediaNotFoundError):
        await kit.media.find(left.id)
    assert await read(kit, kept.url) == PNG
    assert not (await sweep(kit)).changed
    await kit.close()


@pytest.mark.parametrize("how", ["erased", "retained no longer", "room deleted"])
async def test_files_go_with_the_last_event_that_shows_them(how) -> None:
    """Their references in the same transaction, the files at the next sweep."""
    clock = Calendar()
    kit, _ = await stage(clock=clock)
    message = InboundMessage(channel_id="ann", sender_id="ann", content=IMAGE, room_id="room")
    event = (await kit.process_inbound(message)).event
    match how:
        case "erased":
            await kit.erase_person(participant_id=event.source.participant_id)
        case "retained no longer":
            clock.advance(10)
            assert await kit.store.prune_events("room", clock.now()) > 0
        case "room deleted":
            await kit.delete_room("room")
    assert await kit.store.list_unused_media(clock.now()) == [("room", event.content.url[6:])]
    await sweep(kit)
    assert files_of(kit) == {}
    assert await kit.store.list_unused_media(clock.now()) == []
    await kit.close()


async def test_a_sweep_that_ends_in_between_is_done_again() -> None:
    """Files first, then the register: a failure leaves none without a row."""

    class Failing(InMemoryMediaStore):
        fails = True

        async def delete(self, room_id, media_ids=None):
            deleted = await super().delete(room_id, media_ids)
            if self.fails:
                raise MediaNotFoundError("the disk is gone")
            return deleted

    media = Failing()
    kit, _ = await stage(media=media)
    await kit.send_event("room", "ann", IMAGE)
    await kit.delete_room("room")
    with pytest.raises(MediaNotFoundError):
        await sweep(kit)
    assert len(await kit.store.list_unused_media(kit._kernel.ground.clock.now())) == 1
    media.fails = False
    await sweep(kit)
    assert await kit.store.list_unused_media(kit._kernel.ground.clock.now()) == []
    await kit.close()


# -- served -----------------------------------------------------------------------------------------


async def get(kit, url, method="GET", **headers):
    """Ask the kit's application as a server does; return status, headers and body."""
    path, _, query = url.removeprefix("https://kit.example/base").partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    sent = []

    async def send(message):
        sent.append(message)

    await kit.media_app(scope, None, send)
    assert not sent[-1].get("more_body")
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(each["body"] for each in sent[1:])


async def test_a_signed_url_serves_its_file_until_its_time() -> None:
    """With the type that the bytes show, and nothing that a browser would run."""
    clock = Calendar()
    kit, _ = await stage(clock=clock)
    ref = await kit.media.put("room", PNG, mime_type="image/png", filename="gr\u00f6\u00dfe.png")
    url = await kit.media.url(ref.url, expires_in=timedelta(minutes=5))
    status, headers, body = await get(kit, url)
    assert (status, body) == (200, PNG)
    assert headers["content-type"] == "image/png"
    assert headers["content-disposition"] == "inline; filename*=UTF-8''gr%C3%B6%C3%9Fe.png"
    assert headers["x-content-type-options"] == "nosniff"
    assert (await get(kit, url, "HEAD"))[::2] == (200, b"")
    assert (await get(kit, url, "POST"))[0] == 405
    clock.advance(301)
    assert (await get(kit, url))[0] == 403
    await kit.close()


async def test_a_page_is_saved_and_never_shown() -> None:
    """Whatever its sender said that it is."""
    kit, _ = await stage()
    ref = await kit.media.put("room", b"<html><script>", mime_type="image/png")
    _, headers, _ = await get(kit, await kit.media.url(ref.id))
    assert headers["content-disposition"] == "attachment"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    await kit.close()


async def test_no_other_url_serves_a_file() -> None:
    """Every part of a URL is signed: the id, the time; a deleted file is gone."""
    kit, _ = await stage()
    one = await kit.media.put("room", PNG, mime_type="image/png")
    two = await kit.media.put("room", PNG, mime_type="image/png")
    url = await kit.media.url(one.id)
    until = url.partition("until=")[2].partition("&")[0]
    for forged in (
        url.replace(one.id, two.id),
        url.replace(until, str(int(until) + 1)),
        url.replace(until, "9" * 40),
        url.replace(until, "\u00b2"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.partition("?")[0],
        url.partition("&")[0],
        url.replace("signature=", "signature=\u00e9"),
    ):
        assert (await get(kit, forged))[0] == 403
    await kit._kernel.ground.files.media.delete("room")
    assert (await get(kit, url))[0] == 404
    await kit.close()


async def test_two_workers_accept_each_others_urls() -> None:
    """The key is the store's, made once; one that is given counts instead."""
    store, media = InMemoryStore(), InMemoryMediaStore()
    kits = [RoomKit(store=store, media=media, media_url="https://kit.example/base") for _ in range(2)]
    await kits[0].create_room("room")
    ref = await kits[0].media.put("room", PNG, mime_type="image/png")
    url = await kits[0].media.url(ref.id)
    assert (await get(kits[1], url))[0] == 200
    other = RoomKit(store=store, media=media, media_key="a key of its own")
    assert (await get(other, url))[0] == 403
    assert "a key of its own" not in repr(other.settings)
    for kit in (*kits, other):
        await kit.close()


@pytest.mark.parametrize(
    ("asked", "status", "found"),
    [
        ("bytes=0-3", 206, PNG[:4]),
        ("bytes=80000-", 206, PNG[80_000:]),
        ("bytes=5-999999999", 206, PNG[5:]),
        ("bytes=999999999-", 416, b""),
        ("bytes=5-3", 416, b""),
        ("bytes=-5", 200, PNG),
        ("bytes=0-1,4-5", 200, PNG),
        ("lines=0-1", 200, PNG),
    ],
)
async def test_a_range_of_bytes_is_served(asked, status, found) -> None:
    """As players of films ask; ranges of other kinds get the whole."""
    kit, _ = await stage()
    ref = await kit.media.put("room", PNG, mime_type="image/png")
    answered, headers, body = await get(kit, await kit.media.url(ref.id), range=asked)
    assert (answered, body) == (status, found)
    assert headers["content-length"] == str(len(found))
    assert ("content-range" in headers) is (status != 200)
    await kit.close()


def test_the_route_is_there_with_a_media_store_alone() -> None:
    """The plugins' routes have it; a server mounts them."""
    manager = PluginManager()
    for media in (None, InMemoryMediaStore()):
        paths = {route.path for route in manager.routes(RoomKit(media=media, plugins=manager))}
        assert ("/media/{media_id}" in paths) is (media is not None)


# -- imported ---------------------------------------------------------------------------------------

ELSEWHERE = MediaContent(url="https://files.example/a.png", mime_type="image/png", caption="look")


class Site(GuardedFetch):
    """Answers each fetch with the next of its answers."""

    def __init__(self, *answers):
        self.answers = [*answers]
        self.asked = []
        self.headers = []

    async def __call__(self, url, *, limit, timeout=30.0, types=("*/*",), headers=None):
        self.headers.append(headers)
        self.asked.append((url, limit, tuple(types)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Fetched(url=url, mime_type="image/png", data=answer, filename="a.png")


async def fire_import(kit, event):
    """Set the timer of an import and fire it, before the runner does."""
    timer = await kit._kernel.operations.imports.later(event.id, 0, ["*/*"])
    return await kit._kernel.operations.imports.fire(timer)


async def test_a_commit_fetches_nothing_and_an_import_is_asked_for() -> None:
    """Parsing and committing leave a URL alone; the import puts the file in its place, quietly."""
    site = Site(PNG)
    kit, bob = await stage(fetch=site)
    event = await kit.send_event("room", "ann", CompositeContent(parts=(TextContent(body="see"), ELSEWHERE)))
    assert site.asked == []
    await kit.media.import_later(event.id, types=["image/*"])
    before = len(bob.delivered)
    await asyncio.sleep(1)
    stored = (await kit.store.get_event(event.id)).content.parts[1]
    assert await read(kit, stored.url) == PNG
    assert (stored.caption, stored.size_bytes) == ("look", len(PNG))
    assert site.asked == [("https://files.example/a.png", kit.settings.media_limit, ("image/*",))]
    assert len(bob.delivered) == before
    assert len(await messages(kit)) == 1
    assert await kit.store.list_unused_media(kit._kernel.ground.clock.now() + timedelta(days=9)) == []
    await kit.close()


@pytest.mark.parametrize(
    "error", [FetchRefusedError("inside"), MediaTooLargeError("big"), FetchFailedError("404", status=404)]
)
async def test_an_import_that_is_refused_leaves_the_url(error) -> None:
    """It is reported and not tried again."""
    kit, _ = await stage(fetch=Site(error))
    reported = []
    kit.on("media_import_failed")(reported.append)
    event = await kit.send_event("room", "ann", ELSEWHERE)
    assert (await fire_import(kit, event)).again is None
    assert (await kit.store.get_event(event.id)).content == ELSEWHERE
    await kit.close()
    assert [(each.event_id, each.data["code"]) for each in reported] == [(event.id, error.code)]


async def test_an_import_is_retried_for_a_day() -> None:
    """The runner's pause doubles; then it is reported."""
    clock = Calendar()
    busy = FetchFailedError("busy", status=503, retryable=True)
    kit, _ = await stage(fetch=Site(busy, busy, busy), clock=clock)
    event = await kit.send_event("room", "ann", ELSEWHERE)
    for _ in range(2):
        with pytest.raises(FetchFailedError):
            await fire_import(kit, event)
        clock.advance(40_000)
    clock.advance(40_000)
    assert (await fire_import(kit, event)).again is None
    await kit.close()


class Keeper(RecordingChannel):
    """Has a vendor that says where the file of an id is."""

    def __init__(self, answer):
        super().__init__("keeper")
        self.answer = answer

    async def locate_file(self, url):
        assert url == ELSEWHERE.url
        if isinstance(self.answer, Exception):
            raise self.answer
        return await self.answer() if callable(self.answer) else self.answer

    def file_headers(self, url):
        return {"X-Key": url}


async def kept(answer, *files):
    """Return a kit with a message by a `Keeper`, its site, and the framework's report of failures."""
    site, reported = Site(*files), []
    kit, _ = await stage(fetch=site)
    kit.on("media_import_failed")(reported.append)
    kit.register_channel(Keeper(answer))
    await kit.attach_channel("room", "keeper")
    message = InboundMessage(channel_id="keeper", sender_id="eve", content=ELSEWHERE, room_id="room")
    return kit, site, reported, (await kit.process_inbound(message)).event


async def test_a_channel_says_where_a_file_is_when_it_is_imported() -> None:
    """The place is asked for at the fetch, has the headers, and is nowhere afterwards."""
    kit, site, _, event = await kept("https://cdn.example/secret", PNG)
    await fire_import(kit, event)
    assert [url for url, _, _ in site.asked] == ["https://cdn.example/secret"]
    assert site.headers == [{"X-Key": "https://cdn.example/secret"}]
    stored = await kit.store.get_event(event.id)
    assert await read(kit, stored.content.url) == PNG
    assert "secret" not in stored.model_dump_json()
    await kit.close()


async def test_a_file_that_the_vendor_no_longer_has_is_reported() -> None:
    """The URL stays; what may succeed later is retried, and so is a channel that says nothing in time."""
    gone = ProviderError("expired", error_code=ErrorCode.NOT_FOUND)
    kit, site, reported, event = await kept(gone)
    assert (await fire_import(kit, event)).again is None
    keeper = kit.get_channel("keeper")
    keeper.answer = ProviderError("busy", error_code=ErrorCode.RECIPIENT_RATE_LIMIT)
    with pytest.raises(ProviderError, match="busy"):
        await fire_import(kit, event)
    keeper.answer = asyncio.Event().wait
    with pytest.raises(FetchFailedError, match="did not return within 30 s") as caught:
        await fire_import(kit, event)
    assert caught.value.retryable
    keeper.answer = 7
    with pytest.raises(ForeignCodeError, match="is int: it has to be str"):
        await fire_import(kit, event)
    assert site.asked == []
    assert (await kit.store.get_event(event.id)).content == ELSEWHERE
    await kit.close()
    assert [each.data["code"] for each in reported] == ["not_found"]


async def test_an_event_that_is_erased_while_its_file_is_fetched_stays_erased() -> None:
    """The file that came for it is swept."""
    clock = Calendar()

    class Slow(Site):
        async def __call__(self, url, **options):
            await kit.erase_person(participant_id="ann")
            return await super().__call__(url, **options)

    kit, _ = await stage(fetch=Slow(PNG), clock=clock)
    message = InboundMessage(channel_id="ann", sender_id="ann", content=ELSEWHERE, room_id="room")
    event = (await kit.process_inbound(message)).event
    await fire_import(kit, event)
    assert (await kit.store.get_event(event.id)).content.type == "system"
    clock.advance(90_000)
    await sweep(kit)
    assert files_of(kit) == {}
    await kit.close()


@pytest.mark.parametrize("part", [-1, 1, 7])
async def test_only_a_file_at_a_web_url_is_imported(part) -> None:
    """Of an event that is there."""
    kit, _ = await stage()
    event = await kit.send_event("room", "ann", CompositeContent(parts=(ELSEWHERE, IMAGE)))
    with pytest.raises(InvalidInputError, match=f"part {part} of event"):
        await kit.media.import_later(event.id, part)
    with pytest.raises(InvalidInputError, match="part 0 of event 'absent'"):
        await kit.media.import_later("absent")
    await kit.close()


async def test_a_fetch_that_is_not_installed_says_what_to_install() -> None:
    """At the first fetch, not at the start."""
    async with RoomKit(plugins=PluginManager(block=["media"])) as kit:
        with pytest.raises(MediaNotConfiguredError, match="pip install roomkit-media"):
            await kit.services.fetch("https://files.example/", limit=10)


# -- exported ---------------------------------------------------------------------------------------


async def unpacked(pieces):
    """Return an archive's entries by name, and how many pieces it came in."""
    found = [piece async for piece in pieces]
    with ZipFile(io.BytesIO(b"".join(found))) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("of", ["room", "person"])
async def test_an_archive_has_the_files_that_its_events_refer_to(of) -> None:
    """Each once, with a list of which event it is of; one that is gone is listed as gone."""
    kit, _ = await stage()
    message = InboundMessage(channel_id="ann", sender_id="ann", content=IMAGE, room_id="room")
    first = (await kit.process_inbound(message)).event
    again = MediaContent(url=first.content.url, mime_type="image/png")
    second = (await kit.process_inbound(message.replace(content=again))).event
    gone = (await kit.process_inbound(message)).event
    await kit.edit_event("room", first.id, TextContent(body="words"))
    media_id, gone_id = first.content.url[6:], gone.content.url[6:]
    await kit._kernel.ground.files.media.delete("room", [gone_id])
    if of == "room":
        pieces, export = kit.export_room_archive("room"), await kit.export_room("room")
    else:
        pieces = kit.export_person_archive(participant_id="ann")
        export = await kit.export_person(participant_id="ann")
    entries = await unpacked(pieces)
    assert entries.keys() == {"records.jsonl", "media.jsonl", f"media/{media_id}"}
    assert entries[f"media/{media_id}"] == PNG
    listed = [ExportedMedia.model_validate_json(line) for line in entries["media.jsonl"].splitlines()]
    assert {(each.id, each.event_id, each.is_gone) for each in listed} == {
        (media_id, first.id, False),
        (media_id, second.id, False),
        (gone_id, gone.id, True),
    }
    sha256 = hashlib.sha256(PNG).hexdigest()
    assert {each.sha256 for each in listed} == {sha256, None}
    assert sorted(listed, key=str) == sorted(export.media, key=str)
    kinds = [json.loads(line)["kind"] for line in entries["records.jsonl"].splitlines()]
    assert kinds.count("media") == 3
    await kit.close()


async def test_a_file_that_goes_while_an_archive_is_written_is_listed_as_gone() -> None:
    """The archive is whole without it."""
    kit, _ = await stage()
    await kit.send_event("room", "ann", IMAGE)
    find = kit._kernel.ground.files.media.find

    async def found_and_deleted(media_id):
        found = await find(media_id)
        await kit._kernel.ground.files.media.delete("room")
        return found

    kit._kernel.ground.files.media.find = found_and_deleted
    entries = await unpacked(kit.export_room_archive("room"))
    assert entries.keys() == {"records.jsonl", "media.jsonl"}
    assert json.loads(entries["media.jsonl"])["is_gone"]
    await kit.close()


async def test_an_archive_of_a_large_file_comes_in_pieces() -> None:
    """No more than a few of them are in memory."""
    kit, _ = await stage()
    ref = await kit.media.put("room", bytes(5 * 1024 * 1024), mime_type="image/png")
    await kit.send_event("room", "ann", MediaContent(url=ref.url, mime_type="image/png"))
    sizes = [len(piece) async for piece in kit.export_room_archive("room")]
    assert max(sizes) < 2.1 * 1024 * 1024
    assert sum(sizes) > 5 * 1024 * 1024
    await kit.close()


# -- configuration ----------------------------------------------------------------------------------


class Durable(InMemoryStore):
    """A store that other processes would see."""

    @property
    def is_process_local(self):
        return False


class SharedLocks(InMemoryLockManager):
    """Locks that other processes would respect."""

    @property
    def is_process_local(self):
        return False


class Folder(InMemoryMediaStore):
    shared = True


@pytest.mark.parametrize(
    ("media", "options", "fits"),
    [
        (InMemoryMediaStore, {}, False),
        (Folder, {}, True),
        (InMemoryMediaStore, {"single_process": True}, True),
    ],
)
def test_a_shared_store_wants_shared_files(media, options, fits) -> None:
    """Else a worker would refer to files that the others do not have."""
    refused = pytest.raises(InvalidInputError, match=r"Durable is shared .* InMemoryMediaStore are not")
    with nullcontext() if fits else refused:
        RoomKit(store=Durable(), media=media(), lock_manager=SharedLocks(), **options)


async def test_a_kit_is_configured_with_files() -> None:
    """From `roomkit.toml`; the store is started and closed with the kit."""
    tables = {"media": {"plugin": "memory"}, "kit": {"media_url": "https://kit.example", "media_limit": 9}}
    async with await RoomKit.from_config(tables) as kit:
        await kit.create_room("room")
        ref = await kit.media.put("room", b"123456789", mime_type="text/plain")
        assert (await kit.media.url(ref.id)).startswith("https://kit.example/media/")


# -- cards ------------------------------------------------------------------------------------------

CARD = {"title": "Cat", "media_url": LONG, "buttons": [{"text": "More"}]}


@pytest.mark.parametrize(
    "wrapped",
    [lambda card: card, lambda card: CompositeContent(parts=(TextContent(body="x"), card))],
    ids=["alone", "a part"],
)
async def test_the_picture_of_a_card_is_a_file_like_any_other(wrapped) -> None:
    """Stored before the commit, shown as its channel takes it, exported, and swept once unused."""
    clock = Calendar()
    kit, _ = await stage(clock=clock)
    rich = RichContent(body="cats", cards=(CARD, {"title": "no picture"}, {"media_url": 7}))
    event = await kit.send_event("room", "ann", wrapped(rich))
    stored = event.content.parts[1] if isinstance(event.content, CompositeContent) else event.content
    url = stored.cards[0]["media_url"]
    assert url.startswith("media:")
    assert stored.cards[0] == {**stored.cards[0], **CARD, "media_url": url}
    assert stored.cards[1:] == rich.cards[1:]
    assert await read(kit, url) == PNG
    shown = await kit.media.shown(stored, MediaForm.BYTES)
    assert shown.cards[0]["media_url"].startswith("data:image/png")
    assert (await kit.media.shown(stored, MediaForm.TEXT)).cards[0].get("media_url") is None
    assert [each.id for each in (await kit.export_room("room")).media] == [url.removeprefix("media:")]
    with pytest.raises(InvalidInputError, match="not a file of that room"):
        await kit.send_event("room", "ann", RichContent(body="x", cards=({"media_url": "media:other"},)))
    await kit.erase_room("room")
    clock.advance(1)
    assert (await sweep(kit)).changed
    with pytest.raises(MediaNotFoundError):
        await kit.media.find(url)
    await kit.close()


async def test_bytes_in_the_data_of_a_plugins_content_stay_there() -> None:
    """What they mean is the plugin's to know."""
    kit, _ = await stage()
    content = CustomContent(kind="acme.ticket", data={"picture": LONG})
    event = await kit.send_event("room", "ann", content)
    assert event.content == content
    await kit.close()


# -- a store that cannot be read -------------------------------------------------------------------


class Unreadable(InMemoryMediaStore):
    """Fails with these errors, one read after another, before it reads."""

    def __init__(self, *errors, at="open"):
        super().__init__()
        self.errors = list(errors)
        self.at = at

    def fail(self, at):
        if self.errors and at == self.at:
            raise self.errors.pop(0)

    async def find(self, media_id):
        self.fail("find")
        return await super().find(media_id)

    async def open(self, media_id, *, start=0):
        self.fail("open")
        async for piece in super().open(media_id, start=start):
            yield piece


async def delivered_from(media, **options):
    """Send a file of this store to a channel that takes bytes; return the content and the row."""
    kit, bob = await stage(form=MediaForm.BYTES, media=media, **options)
    ref = await kit.media.put("room", PNG, mime_type="image/png")
    event = await kit.send_event("room", "ann", MediaContent(url=ref.url, mime_type="image/png"))
    row = await kit.store.get_delivery(f"{event.id}:bob")
    await kit.close()
    return [each.event.content for each in bob.delivered], row


@pytest.mark.parametrize(
    "errors",
    [(StoreError("no connection"),), (OSError("disk"), StoreError("busy")), (TimeoutError("late"),)],
    ids=["store", "disk and store", "time"],
)
@pytest.mark.parametrize("at", ["find", "open"])
async def test_a_delivery_waits_for_a_media_store_that_cannot_be_read(errors, at) -> None:
    """As for other failures that pass; the channel was not tried in between."""
    contents, row = await delivered_from(Unreadable(*errors, at=at))
    assert [each.url[:5] for each in contents] == ["data:"]
    assert (row.state, row.attempts) == (DeliveryState.SENT, 1)


async def test_a_media_store_that_stays_unreadable_fails_the_delivery_in_the_end() -> None:
    """With its error, to be retried by hand; no provider is blamed."""
    contents, row = await delivered_from(Unreadable(*[OSError("disk")] * 20))
    assert (contents, row.state, row.attempts) == ([], DeliveryState.FAILED, 0)
    assert (row.error.code, "disk" in row.error.message) == ("store_error", True)


async def test_a_file_that_is_deleted_while_it_is_read_is_shown_as_text() -> None:
    """Waiting would not bring it back."""
    media = Unreadable(MediaNotFoundError("deleted"))
    kit, bob = await stage(form=MediaForm.BYTES, media=media)
    ref = await kit.media.put("room", PNG, mime_type="image/png")
    await kit.send_event("room", "ann", MediaContent(url=ref.url, mime_type="image/png", filename="a.png"))
    assert [each.event.content for each in bob.delivered] == [TextContent(body="[file: a.png]")]
    await kit.close()


# -- rooms that meet -------------------------------------------------------------------------------


async def test_a_file_goes_with_its_event_to_another_room() -> None:
    """It may be referred to there, is exported there, and is swept when its event is erased there."""
    clock = Calendar()
    kit, _ = await stage(clock=clock)
    await kit.create_room("other")
    await kit.attach_channel("other", "ann")
    ref = await kit.media.put("room", PNG, mime_type="image/png")
    image = MediaContent(url=ref.url, mime_type="image/png")
    event = await kit.send_event("room", "ann", image)
    await kit.split_room("room", event_ids=[event.id], into="other")
    await kit.send_event("other", "ann", image)
    with pytest.raises(InvalidInputError, match=ref.id):
        await kit.send_event("room", "ann", image)
    exported = await kit.export_room("other")
    assert {each.id for each in exported.media} == {ref.id}
    assert (await kit.export_room("room")).media == ()
    await kit.erase_room("other")
    clock.advance(3601)
    assert (await sweep(kit)).changed
    with pytest.raises(MediaNotFoundError):
        await kit.media.find(ref.id)
    await kit.close()


async def test_a_file_put_for_a_room_is_one_of_the_room_it_was_merged_into() -> None:
    kit, _ = await stage()
    await kit.create_room("other")
    ref = await kit.media.put("room", PNG, mime_type="image/png")
    await kit.merge_rooms("room", "other")
    event = await kit.send_event("other", "ann", MediaContent(url=ref.url, mime_type="image/png"))
    assert event.content.url == ref.url
    await kit.close()
