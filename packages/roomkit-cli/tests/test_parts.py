"""The parts of the command line, each alone."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
from importlib.metadata import entry_points

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.models.ai import AIMessage, AITextPart, StreamDone
from roomkit.models.generation import AIContext
from roomkit.plugins import ComponentNotFoundError, PluginManager
from roomkit_plugins.cli.assistant import _choice, find_assistant
from roomkit_plugins.cli.demo import mask_card_numbers
from roomkit_plugins.cli.lines import lines
from roomkit_plugins.cli.scripted import ScriptedAssistant
from roomkit_plugins.cli.terminal import CommandError, Terminal, printable
from roomkit_plugins.cli.timeline import Timeline


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("my card is 4111 1111 1111 1111.", "my card is **** **** **** 1111."),
        ("4111-1111-1111-1111", "****-****-****-1111"),
        ("378282246310005", "***********0005"),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        ("call 0123456789", "call 0123456789"),
        ("12345678901234567890", "12345678901234567890"),
        ("", ""),
    ],
)
def test_card_numbers_are_masked_and_nothing_else(text, masked):
    """Thirteen to nineteen digits that pass Luhn's check, but for the last four."""
    assert mask_card_numbers(text) == masked


@given(st.text())
def test_masking_keeps_everything_but_digits(text):
    masked = mask_card_numbers(text)
    assert len(masked) == len(text)
    assert all(new == old or (new == "*" and old.isdigit()) for new, old in zip(masked, text, strict=True))


@given(st.text())
def test_nothing_printed_moves_the_cursor(text):
    assert printable(text).isprintable()


async def _read(*parts, close=True):
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb", buffering=0) as end:
        for part in parts:
            end.write(part)
        if close:
            end.close()
        return [line async for line in lines(read_end)]


async def test_lines_come_whole_and_without_their_ends():
    """However they were written: in pieces, with either end, with none at the last."""
    assert await _read(b"one\ntw", b"o\r\n", b"\n", "thr\u00e9e".encode()) == ["one", "two", "", "thr\u00e9e"]
    assert await _read() == []


async def test_lines_that_are_not_text_are_read_as_well_as_can_be():
    """A wrong byte is one wrong letter."""
    assert await _read(b"caf\xe9\nok\n") == ["caf\ufffd", "ok"]


async def test_a_line_without_end_is_given_in_parts():
    found = []
    read_end, write_end = os.pipe()
    writing = asyncio.to_thread(
        lambda: (os.write(write_end, b"x" * 60_000), os.write(write_end, b"y" * 60_001))
    )
    task = asyncio.ensure_future(writing)
    async for line in lines(read_end):
        found.append(line)
        if len(found) == 2:
            await task
            os.close(write_end)
    assert [len(line) for line in found] == [60_000, 60_000, 1]


def _asked(*texts):
    return AIContext(messages=[AIMessage(role="user", content=text) for text in texts])


async def test_the_script_says_that_it_is_one():
    """It answers the last thing said, and quotes what it has no answer to."""
    script = ScriptedAssistant()
    answer = await script.generate(_asked("hello", "what is 2+2?"))
    assert '"what is 2+2?"' in answer.content
    assert "I am a script" in answer.content
    assert "not a model" in (await script.generate(_asked("hi"))).content
    parts = AIMessage(role="user", content=(AITextPart(text="thanks"),))
    assert (await script.generate(AIContext(messages=[parts]))).content == "You are welcome."


async def test_the_script_streams_what_it_says():
    script = ScriptedAssistant()
    *pieces, end = [piece async for piece in script.generate_structured_stream(_asked("hello"))]
    assert "".join(piece.text for piece in pieces) == (await script.generate(_asked("hello"))).content
    assert len(pieces) > 5
    assert isinstance(end, StreamDone)


KEYS = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "GEMINI_API_KEY": "g", "MISTRAL_API_KEY": "m"}


@pytest.mark.parametrize(
    ("keys", "model", "scripted", "chosen"),
    [
        ([], None, False, (None, None)),
        (KEYS, None, True, (None, None)),
        (KEYS, None, False, ("anthropic", "claude-sonnet-5-5")),
        (["OPENAI_API_KEY"], None, False, ("openai", "gpt-5.5")),
        (["GEMINI_API_KEY"], None, False, ("gemini", "gemini-3.8-flash")),
        (["MISTRAL_API_KEY"], None, False, ("mistral", "mistral-large-latest")),
        (["MISTRAL_API_KEY"], "mistral:small", False, ("mistral", "small")),
        (KEYS, "openai:gpt-x", False, ("openai", "gpt-x")),
        (["OPENAI_API_KEY"], "gpt-x", False, ("openai", "gpt-x")),
        (["OPENAI_API_KEY"], "local:7b", False, ("openai", "local:7b")),
    ],
)
def test_the_assistant_is_the_one_that_can_answer(monkeypatch, keys, model, scripted, chosen):
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    for key in keys:
        monkeypatch.setenv(key, "secret-value")
    provider, name, note = _choice(argparse.Namespace(model=model, scripted=scripted))
    assert (provider, name) == chosen
    assert ("a script answers" in note) is (provider is None)
    assert "secret-value" not in note


@pytest.mark.parametrize(
    ("model", "scripted", "next_step"),
    [
        ("gpt-x", False, "set ANTHROPIC_API_KEY, OPENAI_API_KEY, GEMINI_API_KEY or MISTRAL_API_KEY"),
        ("gemini:x", False, "set GEMINI_API_KEY"),
        ("openai:gpt-x", False, "set OPENAI_API_KEY"),
        ("openai:gpt-x", True, "leave one out"),
    ],
)
def test_an_assistant_that_cannot_be_had_is_refused(monkeypatch, model, scripted, next_step):
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(CommandError) as refused:
        _choice(argparse.Namespace(model=model, scripted=scripted))
    assert refused.value.next_step == next_step


async def test_a_key_without_its_plugin_leaves_the_script(monkeypatch):
    """The first command works whatever the environment holds; a model that was named is not replaced."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret-value")
    own = [entry for entry in entry_points(group="roomkit") if entry.name == "ai"]
    manager = PluginManager(entry_points=own)
    options = argparse.Namespace(model=None, scripted=False)

    assistant = await find_assistant(manager, options, pace=0.0)

    assert (assistant.kind, assistant.model) == ("scripted", None)
    assert assistant.note == (
        "a script answers: ANTHROPIC_API_KEY is set, but roomkit-anthropic is not installed "
        "(from a checkout: uv run --extra anthropic roomkit demo)"
    )
    options.model = "anthropic:claude-x"
    with pytest.raises(ComponentNotFoundError, match="roomkit-anthropic"):
        await find_assistant(manager, options, pace=0.0)


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("screen", "environment", "coloured"),
    [
        (Screen(), {}, True),
        (Screen(), {"NO_COLOR": "1"}, False),
        (Screen(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(monkeypatch, screen, environment, coloured):
    """NO_COLOR and a dumb terminal are heard."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b" in Terminal(out=screen).style("x", "bold")) is coloured


def _event(event_id, index, by="alice", text="hi"):
    return {"event_id": event_id, "index": index, "by": by, "channel_id": "web", "text": text}


def test_what_is_about_an_event_comes_after_it():
    out = io.StringIO()
    timeline = Timeline(Terminal(as_json=True, out=out), {})
    timeline.detail("seen", "e1", by="bob", after_ms=1.0)
    timeline.record("event", **_event("e2", 5))
    timeline.record("event", **_event("e1", 4))
    timeline.record("event", **_event("e1", 4))
    timeline.detail("delivery", "e1", channel_id="web", state="sent", duration_ms=0.1, reason=None)
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(record["type"], record["event_id"]) for record in records] == [
        ("event", "e2"),
        ("event", "e1"),
        ("seen", "e1"),
        ("delivery", "e1"),
    ]
    assert "reason" not in records[3]


def test_an_answer_grows_on_one_line():
    out = io.StringIO()
    timeline = Timeline(Terminal(out=out), {})
    timeline.chunk("e1", "assistant", "Hello ")
    timeline.record("event", **_event("e0", 3))
    timeline.detail("delivery", "e1", channel_id="web", state="sent", duration_ms=0.25)
    timeline.chunk("e1", "assistant", "world\x1b[2J")
    timeline.record("event", **_event("e1", 4, "assistant", "Hello world"))
    first, second, third = out.getvalue().splitlines()
    assert first.strip() == "assistant  Hello world\ufffd[2J  [4]"
    assert second.strip() == "3 alice      hi"
    assert third.split() == ["sent", "to", "web", "0.2", "ms", "[4]"]


def test_an_answer_that_broke_off_ends_its_line():
    out = io.StringIO()
    timeline = Timeline(Terminal(out=out), {})
    timeline.chunk("e1", "assistant", "Hel")
    timeline.record("event", **_event("e2", 3))
    timeline.broken_off("e1")
    assert out.getvalue().splitlines()[0].endswith("Hel (broken off)")
    assert len(out.getvalue().splitlines()) == 2
