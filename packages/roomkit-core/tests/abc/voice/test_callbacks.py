"""What a backend emits reaches every callback, on the thread that the contract says."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from roomkit.abc import (
    AudioFrame,
    DiarizationResult,
    DTMFEvent,
    EndCause,
    InvalidInputError,
    VoiceBackend,
    VoiceError,
    VoiceSession,
)
from roomkit.abc.voice.callbacks import EVENTS

SESSION = VoiceSession("s1", "r1", "p1", "voice")
FRAME = AudioFrame(bytes(2))
PAYLOADS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "audio": ("on_audio_received", (FRAME,)),
    "audio_played": ("on_audio_played", (FRAME,)),
    "ready": ("on_session_ready", ()),
    "client_disconnected": ("on_client_disconnected", ()),
    "barge_in": ("on_barge_in", ()),
    "speaker_change": ("on_speaker_change", (DiarizationResult("a", 1.0, True),)),
    "dtmf": ("on_dtmf_received", (DTMFEvent("1", 100),)),
    "flushed": ("on_flushed", (320,)),
    "hold": ("on_hold", (True,)),
    "transfer": ("on_transfer", ("sip:b@example.org",)),
    "message": ("on_message", ({"type": "ping"},)),
}
every_event = pytest.mark.parametrize("event", sorted(PAYLOADS))


class Line(VoiceBackend):
    """Takes no care of its base: seed-era backends call no `super().__init__`."""

    name = "line"

    def __init__(self) -> None: ...

    async def disconnect(self, session: VoiceSession, *, cause: EndCause = EndCause.LOCAL) -> None: ...


async def elsewhere(emit: Any) -> None:
    """Run `emit` on a foreign thread, and return when all that it started has run."""
    with ThreadPoolExecutor(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, emit)


def test_every_event_has_a_registrar() -> None:
    assert set(PAYLOADS) == EVENTS


@every_event
@pytest.mark.parametrize("thread", ["loop", "foreign"])
async def test_every_callback_gets_an_event_in_the_order_of_registration(event: str, thread: str) -> None:
    line, got, done = Line(), [], asyncio.Event()
    registrar, payload = PAYLOADS[event]
    for number in (1, 2, 3):
        getattr(line, registrar)(lambda *arguments, number=number: got.append((number, *arguments)))
    getattr(line, registrar)(lambda *_: asyncio_set(done))
    if thread == "loop":
        line.emit(event, SESSION, *payload)
    else:
        await elsewhere(lambda: line.emit(event, SESSION, *payload))
    await done.wait()
    assert got == [(number, SESSION, *payload) for number in (1, 2, 3)]


async def asyncio_set(event: asyncio.Event) -> None:
    event.set()


@every_event
async def test_only_audio_is_handed_over_on_a_foreign_thread(event: str) -> None:
    line, threads, done = Line(), [], asyncio.Event()
    await line.start()
    registrar, payload = PAYLOADS[event]
    getattr(line, registrar)(lambda *_: threads.append(threading.get_ident()))
    getattr(line, registrar)(lambda *_: asyncio_set(done))
    await elsewhere(lambda: line.emit(event, SESSION, *payload))
    await done.wait()
    assert (threads == [threading.get_ident()]) is (event != "audio")


@every_event
async def test_a_callback_that_fails_keeps_the_event_from_no_other(
    event: str, caplog: pytest.LogCaptureFixture
) -> None:
    line, done = Line(), asyncio.Event()
    registrar, payload = PAYLOADS[event]

    def broken(*_: Any) -> None:
        raise RuntimeError("their words")

    async def broken_later(*_: Any) -> None:
        broken()

    for callback in (broken, broken_later, lambda *_: asyncio_set(done)):
        getattr(line, registrar)(callback)
    line.emit(event, SESSION, *payload)
    await done.wait()
    await asyncio.sleep(0)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert not any("their words" in text for text in texts)


async def test_a_callback_that_is_cancelled_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    line, running = Line(), asyncio.Queue[asyncio.Task[Any] | None](1)

    async def endless(*_: Any) -> None:
        await running.put(asyncio.current_task())
        await asyncio.Event().wait()

    line.on_barge_in(endless)
    line.emit("barge_in", SESSION)
    task = await running.get()
    assert task is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_a_foreign_thread_cannot_emit_before_the_home_loop_is_known() -> None:
    line = Line()
    with pytest.raises(VoiceError, match=r"Line cannot emit 'ready' here.*await its start\(\) first"):
        await elsewhere(lambda: line.emit("ready", SESSION))
    await line.start()
    await elsewhere(lambda: line.emit("ready", SESSION))


def test_a_backend_finds_the_loop_of_another_run() -> None:
    """One object in two runs of a program's loop, as tests do it."""
    line, got = Line(), []
    line.on_session_ready(got.append)

    async def emitted() -> None:
        line.emit("ready", SESSION)

    asyncio.run(emitted())
    with pytest.raises(VoiceError, match="cannot emit"):
        line.emit("ready", SESSION)
    asyncio.run(emitted())
    assert got == [SESSION, SESSION]


async def test_a_misspelt_event_is_refused_with_the_events() -> None:
    with pytest.raises(InvalidInputError, match="cannot emit 'redy': use one of audio, audio_played"):
        Line().emit("redy", SESSION)


async def test_two_backends_share_no_callback() -> None:
    one, other, got = Line(), Line(), []
    one.on_session_ready(got.append)
    other.emit("ready", SESSION)
    assert got == []
