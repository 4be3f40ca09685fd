"""The operator's commands, on a file that a kit in another process has in use."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMAND, environment

type Run = Callable[..., subprocess.CompletedProcess[str]]
WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """A running kit, and what it said."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.path = folder / "rooms.db"
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), str(self.path), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        ready = self.until(lambda said: "ready" in said)
        self.failed: list[str] = ready["ready"]
        self.turns: list[str] = ready["turns"]

    @property
    def store(self) -> tuple[str, str]:
        return ("--store", f"sqlite:{self.path}")

    def until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read what it says until it says that."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said: dict[str, Any] = json.loads(line)
            if is_it(said):
                return said
        raise AssertionError("the worker ended and did not say it")

    def end(self) -> None:
        """Let it close its kit."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=20) == 0
        self._process.stdout.close()

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    started = Worker(tmp_path)
    yield started
    started.kill()


@pytest.fixture
def with_waiting(tmp_path: Path) -> Iterator[Worker]:
    """A worker with two turns that wait, and three scheduled sends."""
    started = Worker(tmp_path, "waiting")
    yield started
    started.kill()


def document(answer: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert answer.returncode == code, answer.stderr
    return json.loads(answer.stdout)


def error(answer: subprocess.CompletedProcess[str]) -> Any:
    assert answer.returncode == 1, answer.stdout
    assert answer.stdout == ""
    return json.loads(answer.stderr)


def test_failed_deliveries_are_listed_and_shown(roomkit: Run, worker: Worker) -> None:
    """By state, room, channel and organization, page by page; one whole, with the vendor's words."""
    every = document(roomkit("deliveries", "list", "--json", *worker.store))
    failed = document(roomkit("deliveries", "list", "--state", "failed", "--json", *worker.store))
    first = document(roomkit("deliveries", "list", "--limit", "1", "--json", *worker.store))
    rest = document(roomkit("deliveries", "list", "--after", first["after"], "--json", *worker.store))
    people = roomkit("deliveries", "list", "--state", "failed", *worker.store)
    shown = roomkit("deliveries", "show", worker.failed[0], *worker.store)

    assert len(every["deliveries"]) == 4
    assert every["after"] is None
    assert [row["id"] for row in failed["deliveries"]] == worker.failed[::-1]
    assert [*first["deliveries"], *rest["deliveries"]] == every["deliveries"]
    filters = ("--room", "r1", "--channel", "sms", "--organization", "acme")
    narrowed = document(roomkit("deliveries", "list", *filters, "--json", *worker.store))
    assert [row["channel_id"] for row in narrowed["deliveries"]] == ["sms"] * 3
    for filters in (("--room", "r2"), ("--channel", "fax"), ("--organization", "globex")):
        narrowed = document(roomkit("deliveries", "list", *filters, "--json", *worker.store))
        assert narrowed["deliveries"] == []
    assert people.stdout.startswith("2 deliveries\n")
    assert "invalid_recipient after 1 attempt" in people.stdout
    listed = people.stdout.splitlines()[1::2]
    assert [line.partition(" UTC  ")[2] for line in listed] == worker.failed[::-1]
    gone = error(roomkit("deliveries", "list", "--after", "nothing:sms", "--json", *worker.store))
    assert gone["next_step"] == "leave --after out to begin with the first page"
    unknown = error(roomkit("deliveries", "show", "nothing:sms", "--json", *worker.store))
    assert unknown["next_step"] == "`roomkit deliveries list` shows what there is"
    assert "no such number" in shown.stdout
    row = document(roomkit("deliveries", "show", worker.failed[0], "--json", *worker.store))
    assert (row["state"], row["error"]["code"]) == ("failed", "invalid_recipient")


def test_a_running_worker_carries_a_retry_out(roomkit: Run, worker: Worker) -> None:
    """The command only reopens it, and says so."""
    answer = roomkit("deliveries", "retry", worker.failed[0], *worker.store)
    event_id = worker.failed[0].partition(":")[0]
    worker.until(lambda said: said.get("told") == "delivery_succeeded" and said["event_id"] == event_id)
    worker.end()
    rows = document(roomkit("deliveries", "list", "--json", *worker.store))["deliveries"]

    assert answer.returncode == 0
    assert answer.stdout.startswith("1 delivery reopened\na running worker carries them out")
    assert [row["state"] for row in rows if row["id"] in worker.failed] == ["failed", "sent"]


def test_all_that_failed_is_retried_or_dropped_at_once(roomkit: Run, worker: Worker) -> None:
    retried = document(roomkit("deliveries", "retry", "--all", "--room", "r2", "--json", *worker.store))
    dropped = document(
        roomkit("deliveries", "drop", "--all", "--reason", "number is dead", "--yes", "--json", *worker.store)
    )
    again = document(
        roomkit("deliveries", "retry", worker.failed[0], "nothing:sms", "--json", *worker.store), code=1
    )
    left = document(roomkit("deliveries", "list", "--state", "skipped", "--json", *worker.store))
    reasons = {row["id"]: row["reason"] for row in left["deliveries"]}

    assert retried == {"reopened": [], "refused": []}
    assert dropped == {"dropped": worker.failed, "refused": []}
    assert reasons == dict.fromkeys(worker.failed, "number is dead")
    assert again["reopened"] == []
    assert [each["code"] for each in again["refused"]] == ["store_error", "delivery_not_found"]
    assert again["refused"][1]["message"].endswith(": `roomkit deliveries list` shows those there are")


def test_a_running_worker_continues_a_turn(roomkit: Run, with_waiting: Worker) -> None:
    """The command stores the result, and continues nothing itself."""
    turn_id = with_waiting.turns[0]
    words = ("turns", "resume", turn_id, "--result", "c1=yes", "--json", *with_waiting.store)
    said = document(roomkit(*words))
    told = with_waiting.until(lambda told: told.get("told") == "turn_resumed")

    assert said == {"turn_id": turn_id, "continues": True}
    assert told["room_id"] == "r3"


def test_a_room_and_a_person_are_exported(roomkit: Run, worker: Worker, tmp_path: Path) -> None:
    """As lines here, or into a file that its owner alone may read, and that replaces nothing."""
    room = roomkit("privacy", "export", "--room", "r1", *worker.store)
    file = tmp_path / "ann.jsonl"
    target = ("privacy", "export", "--person", "ann", "--output", str(file), *worker.store)
    said = document(roomkit(*target, "--json"))
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    assert json.loads(room.stdout.partition("\n")[0])["kind"] == "room"
    assert said == {"file": str(file), "lines": len(lines)}
    assert [line["kind"] for line in lines[:2]] == ["identity", "participant"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert error(roomkit(*target, "--json"))["code"] == "output_failed"
    assert sorted(each.name for each in tmp_path.iterdir() if "jsonl" in each.name) == ["ann.jsonl"]
    unknown = error(roomkit("privacy", "export", "--person", "stranger", "--json", *worker.store))
    assert unknown["code"] == "participant_not_found"
    others = ("--room", "r1", "--organization", "globex")
    assert error(roomkit("privacy", "export", *others, "--json", *worker.store))["code"] == "room_not_found"


def test_a_person_is_erased_beside_a_running_worker(roomkit: Run, worker: Worker) -> None:
    receipt = document(roomkit("privacy", "erase", "--person", "ann", "--yes", "--json", *worker.store))
    again = roomkit("privacy", "erase", "--person", "ann", "--yes", *worker.store)
    left = roomkit("privacy", "export", "--room", "r1", *worker.store).stdout
    worker.end()

    assert not receipt["found_nothing"]
    assert {each["kind"] for each in receipt["erased"]} >= {"event", "participant", "binding", "identity"}
    for canary in ("pelican", '"ann"'):
        assert canary not in left
        assert canary not in json.dumps(receipt)
    assert "bring it in" in left
    assert again.returncode == 0
    assert again.stdout.startswith("nothing to erase: the person 'ann' is unknown, or was erased before")


def test_a_room_is_erased(roomkit: Run, worker: Worker) -> None:
    """And said what stays where it cannot be reached."""
    worker.end()
    answer = roomkit("privacy", "erase", "--room", "r1", "--yes", *worker.store)

    assert answer.stdout.startswith("the room 'r1' was erased; receipt ")
    assert "removed 1 x room in room r1" in answer.stdout
    assert "vendors and recipients" in answer.stdout
    assert document(roomkit("deliveries", "list", "--json", *worker.store))["deliveries"] == []


def test_nothing_is_erased_unless_it_is_confirmed(roomkit: Run, worker: Worker) -> None:
    """Without a terminal only by --yes; on one by an answer, and no answer is a no."""
    words = ("privacy", "erase", "--person", "ann", *worker.store)
    assert error(roomkit(*words, "--json"))["code"] == "confirmation_required"
    assert error(roomkit(*words, "--json", given="y\n"))["code"] == "confirmation_required"
    for typed, code in (("n\n", 1), ("\n", 1), ("y\n", 0)):
        ours, theirs = pty.openpty()
        try:
            os.write(ours, typed.encode())
            answer = subprocess.run(
                [*COMMAND, *words],
                stdin=theirs,
                stderr=theirs,
                stdout=subprocess.PIPE,
                env=environment(),
                timeout=200,
            )
            asked = os.read(ours, 65_536).decode()
        finally:
            os.close(ours)
            os.close(theirs)
        assert answer.returncode == code, asked
        assert "Erase the person 'ann'? It cannot be undone. [y/N]" in asked


def test_a_term_is_kept_by_a_running_worker(roomkit: Run, worker: Worker) -> None:
    answer = roomkit("privacy", "retain", "r1", "0.001s", "--yes", *worker.store)
    worker.until(lambda said: said.get("told") == "events_pruned" and said["count"] > 0)

    assert answer.returncode == 0
    assert "a running worker removes the older ones" in answer.stdout
    forever = document(roomkit("privacy", "retain", "r1", "forever", "--json", *worker.store))
    assert forever == {"room_id": "r1", "retention_seconds": None}
    wrong = error(roomkit("privacy", "retain", "r1", "soon", "--json", *worker.store))
    assert (wrong["code"], "'180d'" in wrong["message"]) == ("invalid_input", True)
    unknown = error(roomkit("privacy", "retain", "nowhere", "1d", "--json", *worker.store))
    assert unknown["code"] == "room_not_found"


def test_a_store_is_copied_while_it_is_in_use(roomkit: Run, worker: Worker, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    said = document(roomkit("store", "backup", str(copy), "--json", *worker.store))
    plan = document(roomkit("store", "plan", "--json", "--store", f"sqlite:{copy}"))
    people = roomkit("store", "plan", "--store", f"sqlite:{copy}")

    assert said == {"file": str(copy), "bytes": copy.stat().st_size}
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT id FROM rooms").fetchall() == [("r1",)]
    assert error(roomkit("store", "backup", str(copy), "--json", *worker.store))["code"] == "store_error"
    assert plan["found"] == plan["wanted"]
    assert plan["rows"]["rooms"] == 1
    assert people.stdout.startswith("nothing to do: ")
    nothing = document(roomkit("store", "plan", "--json", "--store", f"sqlite:{tmp_path / 'no.db'}"))
    assert nothing["found"] == 0
    assert not (tmp_path / "no.db").exists()


def test_a_store_is_checked_while_it_is_in_use(roomkit: Run, worker: Worker, tmp_path: Path) -> None:
    sound = roomkit("store", "check", "--json", *worker.store)
    people = roomkit("store", "check", *worker.store)
    copy = tmp_path / "damaged.db"
    roomkit("store", "backup", str(copy), *worker.store)
    with copy.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096)
    damaged = roomkit("store", "check", "--json", "--store", f"sqlite:{copy}")

    assert document(sound) == {"store": "sqlite", "sound": True}
    assert people.stdout == "no damage was found in the structure of the store sqlite\n"
    assert error(damaged)["code"] == "store_corrupt"
    assert str(copy) in error(damaged)["message"]


def test_the_store_comes_from_the_configuration(roomkit: Run, worker: Worker, tmp_path: Path) -> None:
    """Of the file named, or of roomkit.toml in this folder; nothing else in it is built."""
    config = tmp_path / "bot.toml"
    config.write_text(
        f'[kit]\nsingle_process = true\n[store]\nplugin = "sqlite"\npath = "{worker.path}"\n'
        '[channels.x]\nplugin = "no-such-channel"\n'
    )
    answer = document(roomkit("deliveries", "list", "--json", "--config", str(config)))
    config.rename(tmp_path / "roomkit.toml")
    here = subprocess.run(
        [*COMMAND, "deliveries", "list", "--json"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )

    assert len(answer["deliveries"]) == 4
    assert document(here) == answer


def test_a_misspelt_file_is_not_made(roomkit: Run, tmp_path: Path) -> None:
    missing = tmp_path / "misspelt.db"
    for words in (
        ("deliveries", "list"),
        ("turns", "list"),
        ("privacy", "export", "--room", "r1"),
        ("store", "backup", "x.db"),
        ("store", "check"),
    ):
        assert error(roomkit(*words, "--json", "--store", f"sqlite:{missing}"))["code"] == "store_empty"
    assert not missing.exists()
