"""How commands are found, helped with, and refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

import roomkit as package
from roomkit_plugins.cli.main import main

GREETING = """
from roomkit.plugins import hookimpl

@hookimpl
def roomkit_commands(cli):
    cli.add("greet", "acme_module:configure", summary="Greet a person.")
    cli.add("greet loudly", "acme_module:configure_loudly", summary="Shout.")

def configure(parser):
    parser.add_argument("name")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run)

def configure_loudly(parser):
    parser.set_defaults(run=lambda args: 0 if print("HELLO") is None else 1)

def run(args):
    if args.name == "no one":
        raise RuntimeError("there is no one")
    if args.name == "mallory":
        from roomkit import RoomNotFoundError
        raise RoomNotFoundError("no room 'x': create_room first")
    if args.name == "ctrl-c":
        raise KeyboardInterrupt
    print(f"hello {args.name}")
    return 1 if args.name == "failure" else 0
"""


def test_the_version_is_said(roomkit):
    """The core's, which all others are measured against."""
    answer = roomkit.cold("--version")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"roomkit {package.__version__} (Python 3.")


def test_saying_the_version_imports_next_to_nothing():
    """No pydantic, no plugin scan, no event loop: it is there at once."""
    program = (
        "import sys; from roomkit_plugins.cli.main import main; main(['--version'])\n"
        "print([name for name in ('pydantic', 'asyncio', 'pluggy', 'importlib_metadata', 'logging') "
        "if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert answer.stdout.splitlines()[1] == "[]"


def test_help_lists_every_command(roomkit):
    """Those of plugins among them, in order."""
    roomkit.install("acme", GREETING)
    answer = roomkit("--help")
    listed = [line.split("  ")[1] for line in answer.out.splitlines() if line.startswith("  ")]
    assert answer.code == 0
    assert listed == sorted(listed)
    assert {"demo", "chat", "greet", "greet loudly", "plugins list", "plugins info", "plugins doctor"} <= {
        *listed
    }


def test_no_command_is_wrong_usage(roomkit):
    """The overview goes to standard error, and a group shows its own commands."""
    assert (roomkit().code, roomkit().out) == (2, "")
    group = roomkit("plugins")
    assert (group.code, group.out) == (2, "")
    assert "plugins doctor" in group.err
    assert "demo" not in group.err
    assert roomkit("plugins", "--help").code == 0


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["dmeo"], "did you mean `roomkit demo`?"),
        (["plugin"], "did you mean `roomkit plugins`?"),
        (["plugins", "lst"], "did you mean `roomkit plugins list`?"),
        (["xyzzy"], "`roomkit --help` lists the commands"),
    ],
)
def test_a_slip_gets_the_nearest_command(roomkit, words, hint):
    answer = roomkit(*words)
    assert (answer.code, answer.out) == (2, "")
    assert hint in answer.err
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize("words", [["demo", "--nope"], ["plugins", "info"], ["demo", "--port", "70000"]])
def test_wrong_arguments_are_wrong_usage(roomkit, words):
    answer = roomkit(*words)
    assert answer.code == 2
    assert f"usage: roomkit {words[0]}" in answer.err


def test_a_plugins_command_runs(roomkit):
    """With its arguments, its help and its exit code; the longest name that fits wins."""
    roomkit.install("acme", GREETING)
    assert roomkit("greet", "bob").out == "hello bob\n"
    assert roomkit("greet", "failure").code == 1
    assert roomkit("greet", "loudly").out == "HELLO\n"
    assert "usage: roomkit greet" in roomkit("greet", "--help").out


def test_a_command_that_fails_says_so_in_one_line(roomkit):
    """What RoomKit refuses says what to do by itself; a bug says how to show it."""
    roomkit.install("acme", GREETING)
    refused, bug = roomkit("greet", "mallory"), roomkit("greet", "no one")
    advice = "check the id, and which store --store or --config names"
    assert (refused.code, refused.err) == (1, f"roomkit: no room 'x'\n  {advice}\n")
    assert bug.code == 1
    assert bug.err.splitlines()[0] == "roomkit: RuntimeError: there is no one"
    assert "--verbose" in bug.err
    assert "Traceback" not in bug.err
    assert "Traceback" in roomkit("greet", "no one", "--verbose").err


def test_a_failure_is_json_where_json_was_asked_for(roomkit):
    """On standard error: one object with a code."""
    roomkit.install("acme", GREETING)
    answer = roomkit("greet", "mallory", "--json")
    assert json.loads(answer.err) == {
        "type": "error",
        "code": "room_not_found",
        "message": "no room 'x'",
        "next_step": "check the id, and which store --store or --config names",
    }


def test_an_interrupted_command_says_nothing(roomkit):
    """Its exit code is 130, as a shell expects."""
    roomkit.install("acme", GREETING)
    answer = roomkit("greet", "ctrl-c")
    assert (answer.code, answer.out, answer.err) == (130, "", "")


WAITING = """
import asyncio
import signal

from roomkit.plugins import hookimpl

@hookimpl
def roomkit_commands(cli):
    cli.add("wait", "waiting_module:configure", summary="Waits.")

def configure(parser):
    parser.add_argument("--background", action="store_true")
    parser.set_defaults(run=run)

def run(options):
    if options.background:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return asyncio.run(wait())

async def wait():
    try:
        print("waiting", flush=True)
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("closed", flush=True)
"""


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (signal.SIGTERM, [], 143),
        (signal.SIGTERM, ["--background"], 143),
        (signal.SIGINT, [], 130),
    ],
)
def test_a_signal_ends_a_command_in_order(roomkit, number, words, code):
    roomkit.install("waiting", WAITING)
    with roomkit.started("wait", *words) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "closed\n", "")


CLOSING = """
import time

async def closing():
    print("closing", flush=True)
    time.sleep(3600)
"""


def test_a_second_ctrl_c_ends_a_command_at_once(roomkit):
    roomkit.install("waiting", WAITING.replace("asyncio.sleep(0)", "closing()") + CLOSING)
    with roomkit.started("wait") as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "closing\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_broken_plugin_stops_no_command(roomkit):
    """Neither one that cannot be imported, nor one whose commands are wrong."""
    roomkit.install("broken", "import sys; sys.exit(3)")
    roomkit.install("rude", GREETING.replace('"greet"', '"demo"').replace("acme_module", "rude_module"))
    answer = roomkit("plugins", "list")
    assert (answer.code, answer.err) == (0, "")
    assert "Talk in a room on this machine" in roomkit("--help").out


def test_output_that_nobody_reads_is_no_error():
    """As in `roomkit plugins list --json | head -c 1`."""
    program = f"{sys.executable} -m roomkit_plugins.cli plugins list --json | head -c 1"
    answer = subprocess.run(program, shell=True, capture_output=True, text=True, timeout=200)
    assert (answer.stdout, answer.stderr) == ("{", "")


def test_the_exit_code_is_returned(capsys):
    assert main(["--version"]) == 0
    assert main(["nothing-like-it"]) == 2
    capsys.readouterr()


@pytest.mark.parametrize("words", [["demo"], ["chat", "hello"]])
def test_a_missing_plugin_is_named_with_its_remedy(roomkit, words):
    """Blocked here, so that the test is the same wherever it runs."""
    answer = roomkit(*words, ROOMKIT_PLUGINS_BLOCK="websocket")
    assert (answer.code, answer.out) == (1, "")
    assert "channel 'websocket'" in answer.err
    assert "pip install roomkit-websocket" in answer.err or "unblock it" in answer.err
