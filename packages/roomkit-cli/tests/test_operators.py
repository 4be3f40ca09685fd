"""The operator's commands where there is no store to work on, or they are called wrongly."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from roomkit_plugins.cli import progress
from roomkit_plugins.cli.progress import Progress

COMMANDS: Sequence[Sequence[str]] = (
    ("deliveries", "list"),
    ("deliveries", "show", "x"),
    ("deliveries", "retry", "--all"),
    ("deliveries", "drop", "x", "--reason", "y"),
    ("turns", "list"),
    ("turns", "show", "x"),
    ("turns", "resume", "x", "--result", "c1=y"),
    ("turns", "cancel", "x", "--yes"),
    ("scheduled", "list"),
    ("scheduled", "show", "x"),
    ("scheduled", "cancel", "--all"),
    ("privacy", "export", "--room", "r1"),
    ("privacy", "erase", "--room", "r1", "--yes"),
    ("privacy", "retain", "r1", "180d"),
    ("store", "backup", "x.db"),
    ("store", "check"),
    ("store", "plan"),
    ("store", "migrate"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_says_that_it_needs_a_store(roomkit, words, tmp_path, monkeypatch):
    """With what to add; nothing is guessed."""
    monkeypatch.chdir(tmp_path)
    answer = roomkit(*words, "--json")
    error = json.loads(answer.err)
    assert (answer.code, answer.out) == (1, "")
    assert (error["code"], "roomkit.toml" in error["message"]) == ("no_store", True)
    assert "--store sqlite:FILE" in error["next_step"]


def test_a_store_that_ends_with_its_process_is_no_use(roomkit, tmp_path: Path):
    """Neither by name, nor as the default of a configuration."""
    config = tmp_path / "bot.toml"
    config.write_text("[kit]\nmax_chain_depth = 3\n")
    for store in (("--store", "memory"), ("--config", str(config))):
        answer = roomkit("deliveries", "list", "--json", *store)
        assert (answer.code, json.loads(answer.err)["code"]) == (1, "no_store")
    answer = roomkit("deliveries", "list", "--json", "--store", "memory:x.db")
    assert json.loads(answer.err)["code"] == "wrong_usage"


def test_what_no_plugin_brings_is_named(roomkit):
    """With the nearest name, or what to install."""
    answer = roomkit("deliveries", "list", "--store", "memry:x")
    assert (answer.code, "memory" in answer.err) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("deliveries", "list", "--state", "lost"),
        ("deliveries", "list", "--limit", "0"),
        ("deliveries", "drop", "x"),
        ("deliveries", "list", "--store", "memory", "--config", "x.toml"),
        ("turns", "list", "--limit", "0"),
        ("turns", "show"),
        ("turns", "resume", "x"),
        ("scheduled", "show"),
        ("privacy", "erase"),
        ("privacy", "erase", "--room", "r1", "--person", "ann"),
        ("privacy", "retain", "r1"),
        ("store", "backup"),
    ],
    ids=" ".join,
)
def test_wrong_words_are_wrong_usage(roomkit, words):
    """With the usage of that command, before anything is opened."""
    answer = roomkit(*words)
    assert (answer.code, answer.out) == (2, "")
    assert f"usage: roomkit {words[0]} {words[1]}" in answer.err


@pytest.mark.parametrize("words", [(), ("x", "--all"), ("x", "--room", "r1"), ("--room", "r1")])
@pytest.mark.parametrize("verb", [("retry",), ("drop", "--reason", "y")], ids=["retry", "drop"])
def test_deliveries_are_named_or_all_are_meant(roomkit, verb, words):
    """Never both, and never neither: nothing is retried by a slip."""
    answer = roomkit("deliveries", *verb, *words, "--json", "--store", "memory")
    assert (answer.code, json.loads(answer.err)["code"]) == (2, "wrong_usage")


@pytest.mark.parametrize("words", [(), ("x", "--all")])
@pytest.mark.parametrize("group", ["turns", "scheduled"])
def test_what_is_cancelled_is_named_or_all_of_it_is_meant(roomkit, group, words):
    answer = roomkit(group, "cancel", *words, "--json", "--store", "memory")
    assert (answer.code, json.loads(answer.err)["code"]) == (2, "wrong_usage")


@pytest.mark.parametrize("result", ["yes", "=yes", ""])
def test_a_result_names_its_call(roomkit, result):
    answer = roomkit("turns", "resume", "x", "--result", result, "--json", "--store", "memory")
    error = json.loads(answer.err)
    assert (answer.code, error["code"]) == (2, "wrong_usage")
    assert "CALL=TEXT" in error["next_step"]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_who_looks(monkeypatch):
    """On a terminal it counts, and leaves no trace; in a pipe, and for programs, it says nothing."""
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    screen, pipe, program = Screen(), io.StringIO(), Screen()
    for out, as_json in ((screen, False), (pipe, False), (program, True)):
        with Progress("records", as_json=as_json, out=out) as counting:
            counting.step()
            counting.step(1499)
        assert counting.count == 1500
    assert "\r\x1b[K1,500 records ..." in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")
    assert (pipe.getvalue(), program.getvalue()) == ("", "")
