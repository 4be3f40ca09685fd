"""`roomkit demo`, whole: real sockets, the scripted assistant, a pipe at both ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
from pathlib import Path

import pytest

FIELDS = {
    "started": {"room_id", "url", "people", "gate", "assistant"},
    "event": {"event_id", "index", "by", "channel_id", "event_type", "text"},
    "chunk": {"event_id", "by", "text"},
    "hook": {"event_id", "hook", "action", "duration_ms"},
    "delivery": {"event_id", "channel_id", "state", "duration_ms"},
    "seen": {"event_id", "by", "after_ms"},
    "failed": {"event_id", "channel_id", "code", "error"},
    "wrong": {"text", "message"},
    "ended": {"messages", "failures"},
}


def records(answer):
    assert answer.stderr == ""
    found = [json.loads(line) for line in answer.stdout.splitlines()]
    for record in found:
        assert FIELDS[record["type"]] <= record.keys()
    return found


def of(found, kind, **wanted):
    return [
        record
        for record in found
        if record["type"] == kind and all(record[name] == value for name, value in wanted.items())
    ]


def test_one_line_tells_the_whole_story(roomkit):
    answer = roomkit("demo", "--json", given="hello\n")
    found = records(answer)
    assert answer.returncode == 0
    assert [found[0]["type"], found[-1]] == ["started", {"type": "ended", "messages": 1, "failures": 0}]
    question, reply = of(found, "event")
    assert (question["by"], question["text"]) == ("alice", "hello")
    assert (reply["by"], reply["finish_reason"], reply["index"]) == (
        "assistant",
        "stop",
        question["index"] + 1,
    )
    chunks = of(found, "chunk", event_id=reply["event_id"])
    assert "".join(chunk["text"] for chunk in chunks) == reply["text"]
    sent = {
        record["channel_id"] for record in of(found, "delivery", event_id=question["event_id"], state="sent")
    }
    assert sent == {"web", "assistant"}
    assert [seen["by"] for seen in of(found, "seen", event_id=question["event_id"])] == ["bob"]
    assert {seen["by"] for seen in of(found, "seen", event_id=reply["event_id"])} == {"alice", "bob"}


def test_the_assistant_without_a_key_says_what_it_is(roomkit):
    started = records(roomkit("demo", "--json"))[0]
    assert started["assistant"]["kind"] == "scripted"
    assert "a script answers: set ANTHROPIC_API_KEY, OPENAI_API_KEY," in started["assistant"]["note"]


def test_the_gate_is_seen_at_work(roomkit):
    found = records(roomkit("demo", "--json", given="bob: my card is 4111 1111 1111 1111\n"))
    (hook,) = of(found, "hook")
    (said,) = of(found, "event", by="bob")
    assert (hook["hook"], hook["action"]) == ("mask-card-numbers", "modify")
    assert said["text"] == "my card is **** **** **** 1111"
    assert found.index(said) < found.index(hook)
    assert "4111" not in json.dumps(found)


def test_two_people_take_turns(roomkit):
    """By name, by `/as`, and by default; a line that is no message is reported and stops nothing."""
    given = "one\nbob: two\n/as bob three\n/as bob\nfour\n/as carol\n/dance\n\nalice: five\n/quit\nnever\n"
    answer = roomkit("demo", "--json", given=given)
    found = records(answer)
    said = [(event["by"], event["text"]) for event in of(found, "event") if event["by"] != "assistant"]
    assert said == [("alice", "one"), ("bob", "two"), ("bob", "three"), ("bob", "four"), ("alice", "five")]
    assert [wrong["text"] for wrong in of(found, "wrong")] == ["/as carol", "/dance"]
    assert (answer.returncode, found[-1]["messages"]) == (0, 5)


def test_events_come_in_the_order_of_the_timeline(roomkit):
    """Each line is settled before the next is taken."""
    found = records(roomkit("demo", "--json", given="".join(f"message {n}\n" for n in range(10))))
    indexes = [event["index"] for event in of(found, "event")]
    assert indexes == list(range(indexes[0], indexes[0] + 20))
    assert [event["by"] for event in of(found, "event")] == ["alice", "assistant"] * 10


@pytest.mark.parametrize(
    "given",
    [
        "x" * 200_000,
        "\x00\x1b[2J\x07\n",
        "\U0001f600\u2028\u0646\u0635\n",
        "{}\n",
        '{"type":"event"}\n',
        ":\n",
        "/\n",
    ],
    ids=["long", "control", "unicode", "json", "frame", "colon", "slash"],
)
def test_any_line_is_a_message(roomkit, given):
    answer = roomkit("demo", "--json", given=given)
    found = records(answer)
    text = "".join(event["text"] for event in of(found, "event") if event["by"] == "alice")
    assert (answer.returncode, text) == (0, given.strip("\n"))


def test_people_read_plain_text_in_a_pipe(roomkit):
    """No colours, no prompt, and the answer on a line of its own."""
    answer = roomkit("demo", given="hello\n")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "\x1b" not in answer.stdout
    assert "alice>" not in answer.stdout
    lines = answer.stdout.splitlines()
    assert lines[0].startswith("A room is open at ws://127.0.0.1:")
    assert [line.split()[1:3] for line in lines if line.startswith("   2 ")] == [["alice", "hello"]]
    assert sum("Hello! I am a script" in line for line in lines) == 1


def test_a_terminal_gets_colours_and_a_prompt(roomkit, tmp_path):
    from tests.cli.conftest import COMMAND, environment

    for more, coloured in (
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ):
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "demo"], stdin=follower, stdout=follower, stderr=follower, env=environment(**more)
        )
        os.close(follower)
        os.write(leader, b"hello\n/quit\n")
        shown = b""
        while True:
            try:
                shown += os.read(leader, 65_536)
            except OSError:  # the other end is closed: the command has ended
                break
        os.close(leader)
        assert process.wait(10) == 0
        assert b"alice>" in shown
        assert (b"\x1b[" in shown) is coloured


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_it_cleanly(start, times):
    process = start("demo", "--json")
    started = json.loads(process.stdout.readline())
    port = int(started["url"].rpartition(":")[2].partition("/")[0])
    process.stdin.write("hello\n")
    process.stdin.flush()
    while json.loads(process.stdout.readline())["type"] != "event":
        pass
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert process.stderr.read() == ""
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_third_person_may_come_in(start):
    from websockets.sync.client import connect

    process = start("demo", "--json")
    url = json.loads(process.stdout.readline())["url"]
    with connect(f"{url}?participant=carol", max_queue=None) as carol:
        assert json.loads(carol.recv(10))["type"] == "ready"
        process.stdin.write("hello carol\n")
        process.stdin.flush()
        assert json.loads(carol.recv(10))["event"]["content"]["body"] == "hello carol"
        carol.send('{"type": "message", "text": "hello alice", "client_id": "1"}')
        said = (json.loads(line) for line in iter(process.stdout.readline, ""))
        assert next(record["text"] for record in said if record.get("by") == "carol") == "hello alice"
    process.stdin.close()
    assert process.wait(20) == 0


def test_a_port_that_is_taken_is_told(roomkit):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = roomkit("demo", "--port", str(port))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert f"port {port} cannot be had" in answer.stderr
    assert "leave --port out" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_model_that_fails_is_told_and_is_a_failure(roomkit):
    """The room goes on; the key is never shown."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    answer = roomkit(
        "demo",
        "--json",
        given="hello\nbob: still here\n",
        OPENAI_API_KEY="sk-do-not-show",
        OPENAI_BASE_URL=dead,
    )
    found = records(answer)
    assert found[0]["assistant"]["kind"] == "openai"
    assert [failed["code"] for failed in of(found, "failed")] == ["connection", "connection"]
    assert len(of(found, "event")) == 2
    assert (answer.returncode, found[-1]["failures"]) == (1, 2)
    assert "do-not-show" not in answer.stdout + answer.stderr


def test_a_broken_plugin_stops_no_demo(roomkit, tmp_path):
    """It is not even mentioned: `roomkit plugins doctor` is the place for that."""
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[roomkit]\nbroken = no_such_module\n")
    answer = roomkit("demo", "--json", given="hello\n", PYTHONPATH=str(tmp_path))
    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_readme_of_the_command_shows_every_record():
    """The table of record types is whole."""
    text = Path("packages/roomkit-cli/README.md").read_text(encoding="utf-8")
    assert all(f"| `{kind}` |" in text for kind in (*FIELDS, "blocked"))
