"""`roomkit turns` and `roomkit scheduled`, on a store with two turns that wait and three scheduled sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit, SQLiteStore
from roomkit.testing import RecordingChannel
from roomkit_plugins.cli.main import main
from tests.cli.worker import asking_agent, wait_in_r3

type Run = Callable[..., tuple[int, str, str]]


async def furnish(path: Path) -> None:
    kit = RoomKit(SQLiteStore(path), single_process=True)
    kit.register_channel(RecordingChannel("web"))
    kit.register_channel(asking_agent())
    async with kit:
        await wait_in_r3(kit)


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "rooms.db"
    asyncio.run(furnish(path))
    return path


@pytest.fixture
def run(furnished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command on a copy of the furnished store."""
    copy = tmp_path / "rooms.db"
    copy.write_bytes(furnished.read_bytes())

    def run(*words: str) -> tuple[int, str, str]:
        return main([*words, "--store", f"sqlite:{copy}"]), *capsys.readouterr()

    return run


def document(answer: tuple[int, str, str], code: int = 0) -> Any:
    assert answer[0] == code, answer
    return json.loads(answer[1])


def error(answer: tuple[int, str, str]) -> Any:
    assert answer[:2] == (1, "")
    return json.loads(answer[2])


def test_turns_that_wait_are_listed_and_shown(run: Run) -> None:
    turns = document(run("turns", "list", "--json"))
    turn_id = turns["turns"][0]["turn_id"]
    people = run("turns", "list", "--room", "r3", "--limit", "1")[1]

    assert ([turn["room_id"] for turn in turns["turns"]], turns["more"]) == (["r3", "r3"], False)
    assert people.startswith("1 parked turn, and more: raise --limit\n")
    assert "the vet decides, asked vet" in people
    assert "c1 of ask until" in run("turns", "show", turn_id)[1]
    assert document(run("turns", "show", turn_id, "--json")) in turns["turns"]


@pytest.mark.parametrize(("group", "code"), [("turns", "turn_not_parked"), ("scheduled", "event_not_found")])
def test_what_does_not_wait_is_not_found(run: Run, group: str, code: str) -> None:
    """The error names the command that lists what waits."""
    unknown = error(run(group, "show", "no", "--json"))
    assert (unknown["code"], unknown["next_step"]) == (code, f"`roomkit {group} list` shows those that wait")
    assert error(run(group, "list", "--room", "no", "--json"))["code"] == "room_not_found"


@pytest.mark.parametrize(("group", "name", "number"), [("turns", "turns", 2), ("scheduled", "sends", 3)])
def test_an_organization_lists_its_own(run: Run, group: str, name: str, number: int) -> None:
    assert document(run(group, "list", "--organization", "acme", "--json"))[name] == []
    assert len(document(run(group, "list", "--organization", "globex", "--json"))[name]) == number


def test_each_call_takes_one_result(run: Run) -> None:
    """A wrong id is refused with the right ones; without a worker the turn waits for the next that starts."""
    turn_id = document(run("turns", "list", "--json"))["turns"][0]["turn_id"]
    wrong = error(run("turns", "resume", turn_id, "--result", "c2=yes", "--json"))
    code, said, _ = run("turns", "resume", turn_id, "--result", "c1=yes")
    again = error(run("turns", "resume", turn_id, "--result", "c1=yes", "--json"))

    assert (wrong["code"], "give results for c1" in wrong["message"]) == ("invalid_input", True)
    assert (code, "waits for the next that starts" in said) == (0, True)
    assert again["code"] == "turn_not_parked"


@pytest.mark.parametrize(("group", "name"), [("turns", "turns"), ("scheduled", "sends")])
def test_what_waits_is_cancelled_by_id_or_all_of_it(run: Run, group: str, name: str) -> None:
    """An id that does not wait is refused, and the others are cancelled all the same."""

    def ids() -> list[str]:
        found = document(run(group, "list", "--json"))[name]
        return [each.get("turn_id") or each["event"]["id"] for each in found]

    first, *others = ids()
    assert document(run(group, "cancel", "--all", "--organization", "acme", "--yes", "--json")) == {
        "cancelled": [],
        "refused": [],
    }
    some = document(run(group, "cancel", first, first, "no", "--yes", "--json"), code=1)
    assert (some["cancelled"], [each["id"] for each in some["refused"]]) == ([first], ["no"])
    assert run(group, "cancel", first, "--yes")[1].splitlines()[1].startswith("  refused  no ")
    every = document(run(group, "cancel", "--all", "--room", "r3", "--yes", "--json"))
    assert every == {"cancelled": others, "refused": []}
    assert ids() == []


def test_scheduled_sends_are_listed_by_when_they_are_due(run: Run) -> None:
    sends = document(run("scheduled", "list", "--json"))["sends"]
    first = sends[0]["event"]["id"]

    assert [send["event"]["content"]["body"] for send in sends] == ["visit in 1", "visit in 2", "visit in 3"]
    assert run("scheduled", "list", "--limit", "2")[1].startswith(
        "2 scheduled sends, and more: raise --limit\n"
    )
    assert document(run("scheduled", "show", first, "--json")) == sends[0]
    assert "visit in 1" in run("scheduled", "show", first)[1]
