"""Properties of every command of the tree: what it destroys is confirmed, and nothing it writes is raw."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from roomkit import AIChannel, AITool, Identity, InboundMessage, Park, RoomKit, SQLiteStore, TextContent
from roomkit.abc import ErrorCode, ProviderError
from roomkit.models import RetryPolicy
from roomkit.models.ai import AIToolCall
from roomkit.models.generation import AIResponse
from roomkit.models.timer import Timer
from roomkit.plugins.commands import Command
from roomkit.testing import MockAIProvider, RecordingChannel
from roomkit_plugins.cli.main import _configure, _own_commands, main

ENDLESS = {"serve", "turns serve"}
"""What runs until it is ended: `test_serve.py` and `test_turns_serve.py` end it."""
COMMANDS = {command.name: command for command in _own_commands() if command.name not in ENDLESS}
HOSTILE = "x\nroomkit: all is well\r\x1b[2J\x9b2J\x7f\u202e\u2066\u2028."
ROOM, SMS, WEB, ANN = f"room {HOSTILE}", f"sms {HOSTILE}", f"web {HOSTILE}", f"ann {HOSTILE}"
BOT = f"bot {HOSTILE}"
TIMER = f"timer {HOSTILE}"
CALL = f"call {HOSTILE}"

HARMLESS: dict[str, tuple[str, ...]] = {
    "chat": (HOSTILE, "--scripted", "--as", ANN, "--room", ROOM),
    "check": ("--live",),
    "config show": ("--defaults",),
    "config why": (f"agents.{HOSTILE}.system_prompt",),
    "demo": ("--scripted",),
    "deliveries list": ("--room", ROOM),
    "deliveries show": ("DELIVERY",),
    "deliveries retry": ("DELIVERY",),  # sends a pending delivery: nothing is lost by it
    "plugins doctor": (),
    "plugins info": ("channel:websocket",),
    "plugins list": (),
    "plugins schema": (),
    "privacy export": ("--person", ANN),
    "scheduled list": (),
    "scheduled show": ("EVENT",),
    "store backup": ("backup.db",),
    "store check": (),
    "store migrate": (),  # every row stays
    "store plan": (),
    "timers list": ("--all",),
    "timers retry": ("--all",),  # fires pending timers: nothing is lost by it
    "turns list": (),
    "turns resume": ("TURN", "--result", f"{CALL}={HOSTILE}"),
    "turns show": ("TURN",),
}
"""What destroys nothing, and words to call it with."""
DESTROYS: dict[str, tuple[str, ...]] = {
    "deliveries drop": ("--all", "--reason", HOSTILE),
    "privacy erase": ("--person", ANN),
    "privacy retain": (ROOM, "0.001s"),
    "scheduled cancel": ("--all",),
    "timers drop": ("--all",),
    "turns cancel": ("--all",),
}
GOES = {
    "deliveries drop": ("1 delivery", {"drops": 1}),
    "privacy erase": ("4 x event", {"person": ANN}),
    "privacy retain": ("of 7 events 7 are older", {"room_id": ROOM, "removes": 7, "events": 7}),
    "scheduled cancel": ("1 scheduled send", {"cancels": 1}),
    "timers drop": ("1 timer", {"drops": 1}),
    "turns cancel": ("1 parked turn", {"cancels": 1}),
}
CONFIGURED = {"check", "config show", "config why"}
WITHOUT_STORE = {
    "chat",
    "demo",
    "plugins doctor",
    "plugins info",
    "plugins list",
    "plugins schema",
    *CONFIGURED,
    *ENDLESS,
}

type Run = Callable[..., tuple[int, str, str]]


async def furnish(path: Path) -> dict[str, str]:
    """Make a store whose every name is hostile; return the ids that are made up there."""
    refused = ProviderError(HOSTILE, error_code=ErrorCode.INVALID_RECIPIENT, vendor_code=HOSTILE)
    kit = RoomKit(SQLiteStore(path), single_process=True)
    kit.register_channel(RecordingChannel(SMS, script=[refused]))
    kit.register_channel(RecordingChannel(WEB))
    kit.register_channel(asking_agent())
    async with kit:
        await kit.create_room(ROOM)
        await kit.attach_channel(ROOM, WEB)
        await kit.attach_channel(ROOM, SMS, retry_policy=RetryPolicy(max_retries=0))
        await kit.store.create_identity(Identity(id=ANN, display_name=HOSTILE))
        said = InboundMessage(channel_id=WEB, sender_id="s", content=TextContent(body=HOSTILE))
        await kit.process_inbound(said, room_id=ROOM)
        await kit.resolve_participant(ROOM, "s", ANN)
        timer = Timer(id=TIMER, kind=HOSTILE, room_id=ROOM, due_at=kit.clock.now())
        await kit.store.set_timer(timer.buried())
        (row,) = await kit.list_deliveries(ROOM, state="failed")  # type: ignore[arg-type]
        words = TextContent(body=HOSTILE)
        later = await kit.send_event(ROOM, WEB, words, at=kit.clock.now() + timedelta(days=1))
        await kit.attach_channel(ROOM, BOT)
        await kit.process_inbound(said, room_id=ROOM)
        (turn,) = await kit.list_parked_turns()
        return {"DELIVERY": row.id, "EVENT": later.id, "TURN": turn.turn_id}


def asking_agent() -> AIChannel:
    """Make an agent whose tool waits for a person."""

    async def ask(name: str, arguments: dict[str, Any]) -> Park:
        return Park(HOSTILE, timedelta(days=1), asked=ANN, code=HOSTILE)

    asks = AIToolCall(id=CALL, name="ask", arguments={HOSTILE: HOSTILE})
    model = MockAIProvider(ai_responses=[AIResponse(content=HOSTILE, tool_calls=[asks])])
    return AIChannel(BOT, model, tools=[(AITool(name="ask"), ask)])


async def contents(path: Path) -> str:
    """Return all that the store has of the room, as text."""
    async with RoomKit(SQLiteStore(path), single_process=True) as kit:
        room = await kit.export_room(ROOM)
        waiting = [await kit.store.find_timers(), await kit.list_scheduled(), await kit.list_parked_turns()]
        return room.model_dump_json(exclude={"exported_at"}) + repr(waiting)


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    path = tmp_path_factory.mktemp("store") / "rooms.db"
    return path, asyncio.run(furnish(path))


@pytest.fixture
def store(furnished: tuple[Path, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the furnished store."""
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "rooms.db"
    copy.write_bytes(furnished[0].read_bytes())
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return copy


class Typed(io.StringIO):
    """What a person types at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(
    store: Path,
    furnished: tuple[Path, dict[str, str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    def run(name: str, *words: str, typed: str | None = None) -> tuple[int, str, str]:
        given = [furnished[1].get(word, word) for word in words]
        where = [] if name in WITHOUT_STORE else ["--store", f"sqlite:{store}"]
        if typed is None:
            monkeypatch.setattr(sys, "stdin", io.StringIO())
        else:
            monkeypatch.setattr(sys, "stdin", Typed(typed))
            monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        if name in CONFIGURED:
            agent = f'[agents.{json.dumps(HOSTILE)}]\nplugin = "ai"\nsystem_prompt = {json.dumps(HOSTILE)}\n'
            provider = f'provider = {{ plugin = "anthropic", base_url = {json.dumps(HOSTILE)} }}\n'
            (store.parent / "roomkit.toml").write_text(agent + provider, encoding="utf-8")
        code = main([*name.split(), *given, *where])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def parser_of(command: Command) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    _configure(command)(parser)
    return parser


def test_every_command_is_known_as_harmless_or_destructive() -> None:
    """A new one has to be put into one of the two tables here."""
    assert HARMLESS.keys() | DESTROYS.keys() == COMMANDS.keys()
    assert not HARMLESS.keys() & DESTROYS.keys()


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_exactly_what_destroys_has_yes_and_dry_run(command: Command) -> None:
    """No other command has something to confirm."""
    options = {option for action in parser_of(command)._actions for option in action.option_strings}
    assert ({"--yes", "--dry-run"} <= options) == (command.name in DESTROYS)
    assert not {"--force", "-f"} & options


@pytest.mark.parametrize("name", DESTROYS)
def test_nothing_is_destroyed_without_a_yes(run: Run, store: Path, name: str) -> None:
    """The refusal says what would have gone, and how to go on."""
    before = asyncio.run(contents(store))
    code, out, err = run(name, *DESTROYS[name], "--json")
    error = json.loads(err)
    assert (code, out, error["code"]) == (1, "", "confirmation_required")
    assert GOES[name][0] in error["message"]
    assert "--yes" in error["next_step"]
    assert asyncio.run(contents(store)) == before


@pytest.mark.parametrize("name", DESTROYS)
def test_a_dry_run_shows_what_would_go(run: Run, store: Path, name: str) -> None:
    """To people and to programs, with the exit code of success."""
    before = asyncio.run(contents(store))
    code, out, err = run(name, *DESTROYS[name], "--dry-run")
    assert (code, err) == (0, "")
    assert GOES[name][0] in out
    assert "dry run: nothing was changed" in out
    code, out, _ = run(name, *DESTROYS[name], "--dry-run", "--json")
    document: dict[str, Any] = json.loads(out)
    shown = {key: len(value) if isinstance(value, list) else value for key, value in document.items()}
    assert code == 0
    assert shown["dry_run"] is True
    assert GOES[name][1].items() <= shown.items()
    assert asyncio.run(contents(store)) == before


@pytest.mark.parametrize("name", DESTROYS)
@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yess\n"])
def test_anything_but_yes_is_no(run: Run, store: Path, name: str, typed: str) -> None:
    """At a terminal, after the numbers were shown."""
    before = asyncio.run(contents(store))
    code, out, err = run(name, *DESTROYS[name], typed=typed)
    assert (code, out) == (1, "")
    assert GOES[name][0] in err
    assert "It cannot be undone. [y/N]" in err
    assert asyncio.run(contents(store)) == before


@pytest.mark.parametrize("name", DESTROYS)
@pytest.mark.parametrize("how", ["--yes", "typed"])
def test_a_yes_is_a_yes(run: Run, store: Path, name: str, how: str) -> None:
    """By a word of the command or of the person; the numbers are shown all the same."""
    before = asyncio.run(contents(store))
    if how == "--yes":
        code, _, err = run(name, *DESTROYS[name], "--yes")
    else:
        code, _, err = run(name, *DESTROYS[name], typed="y\n")
    assert code == 0
    assert GOES[name][0] in err
    assert asyncio.run(contents(store)) != before


@pytest.mark.parametrize("name", DESTROYS)
def test_yes_and_dry_run_exclude_each_other(run: Run, name: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(name, *DESTROYS[name], "--yes", "--dry-run")
    assert caught.value.code == 2


@pytest.mark.parametrize("term", ["6m", "6M", "1.5m", "90 m"])
@pytest.mark.parametrize("confirmed", [("--yes",), ("--dry-run",), ()])
def test_a_term_that_may_be_minutes_or_months_is_refused(
    run: Run, store: Path, term: str, confirmed: tuple[str, ...]
) -> None:
    """Whatever was confirmed: it says how to write either."""
    before = asyncio.run(contents(store))
    code, out, err = run("privacy retain", ROOM, term, *confirmed, "--json")
    error = json.loads(err)
    assert (code, out, error["code"]) == (1, "", "invalid_input")
    assert "'6min'" in error["message"] or "min' for minutes" in error["message"]
    assert "mo' for months" in error["message"]
    assert asyncio.run(contents(store)) == before


def is_clean(text: str, *, but: str = "\n") -> bool:
    return all(mark.isprintable() or mark in but for mark in text)


@pytest.mark.parametrize("name", sorted(COMMANDS))
@pytest.mark.parametrize("style", [(), ("--json",)], ids=["people", "json"])
def test_what_a_command_shows_is_escaped(run: Run, name: str, style: tuple[str, ...]) -> None:
    """On a store, a conversation and arguments where every name and text is hostile; no line is forged."""
    words = HARMLESS.get(name) or (*DESTROYS.get(name, ()), *(("--yes",) if name in DESTROYS else ()))
    code, out, err = run(name, *words, *style)
    assert code in (0, 1)
    assert out
    for text in (out, err):
        assert is_clean(text)
        if name != "chat":  # whose answers have the lines that the model gave them
            assert not any(line.startswith("roomkit: all is well") for line in text.splitlines())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("deliveries show", (HOSTILE,)),
        ("deliveries list", ("--after", HOSTILE)),
        ("deliveries retry", (HOSTILE,)),
        ("deliveries drop", (HOSTILE, "--reason", "y", "--yes")),
        ("timers retry", (HOSTILE,)),
        ("timers drop", (HOSTILE, "--yes")),
        ("turns show", (HOSTILE,)),
        ("turns resume", (HOSTILE, "--result", f"{HOSTILE}=y")),
        ("turns resume", ("TURN", "--result", f"{HOSTILE}=y")),
        ("turns resume", ("TURN", "--result", HOSTILE)),
        ("turns cancel", (HOSTILE, "--yes")),
        ("serve", ("--config", HOSTILE)),
        ("serve", ("--host", HOSTILE)),
        ("turns serve", ("--config", HOSTILE)),
        ("scheduled show", (HOSTILE,)),
        ("scheduled list", ("--room", HOSTILE)),
        ("scheduled cancel", (HOSTILE, "--yes")),
        ("privacy export", ("--person", HOSTILE)),
        ("privacy export", ("--room", HOSTILE, "--output", f"no/such{HOSTILE}/file")),
        ("privacy erase", ("--room", HOSTILE, "--yes")),
        ("privacy retain", (HOSTILE, "1d", "--yes")),
        ("privacy retain", (ROOM, HOSTILE, "--yes")),
        ("store backup", (f"no/such{HOSTILE}/file",)),
        ("plugins info", (HOSTILE,)),
        ("plugins doctor", (HOSTILE,)),
        ("chat", ("--config", HOSTILE)),
        ("check", ("--config", HOSTILE)),
        ("check", ("--profile", HOSTILE)),
        ("config show", ("--profile", HOSTILE)),
        ("config why", (HOSTILE,)),
        ("chat", ("--model", HOSTILE)),
    ],
)
@pytest.mark.parametrize("style", [(), ("--json",), ("--verbose",)], ids=["people", "json", "verbose"])
def test_what_a_failed_command_says_is_escaped(
    run: Run, name: str, words: tuple[str, ...], style: tuple[str, ...]
) -> None:
    """The errors too, and the tracebacks of --verbose."""
    code, out, err = run(name, *words, *style)
    assert code in (0, 1, 2)
    assert out + err
    for text in (out, err):
        assert is_clean(text)
        assert not any(line.startswith("roomkit: all is well") for line in text.splitlines())


@pytest.mark.parametrize("words", [("deliveries", HOSTILE), (HOSTILE,), ("privacy", "erase", HOSTILE)])
def test_wrong_usage_is_escaped(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """The input is quoted, and may come from a script."""
    try:
        code = main(list(words))
    except SystemExit as ended:
        code = int(str(ended.code))
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert is_clean(err)
