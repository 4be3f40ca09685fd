"""`roomkit chat`: pipes, one message, configuration files."""

from __future__ import annotations

import json

import pytest

CONFIG = """
[agents.helper]
plugin = "ai"
provider = { plugin = "mock" }

[agents.other]
plugin = "ai"
provider = { plugin = "mock" }
"""


def test_a_pipe_gets_the_answers_alone(roomkit):
    """That it is a script is said beside, on standard error."""
    answer = roomkit("chat", given="thanks\nbye\n")
    assert (answer.returncode, answer.stdout) == (0, "You are welcome.\nGoodbye!\n")
    assert "a script answers" in answer.stderr


def test_one_message_is_enough(roomkit):
    """Given as an argument, standard input is left alone."""
    answer = roomkit("chat", "thanks", "--json", "--as", "ann")
    records = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [record["type"] for record in records] == ["started", "event", "chunk", "event", "ended"]
    assert [record["by"] for record in records[1:4]] == ["ann", "assistant", "assistant"]
    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_agents_of_a_file_answer(roomkit, tmp_path):
    """All of them, or the one that is named."""
    file = tmp_path / "roomkit.toml"
    file.write_text(CONFIG)
    one = roomkit("chat", "hello", "--config", str(file), "--agent", "helper")
    assert (one.returncode, one.stdout, one.stderr) == (0, "Hello from AI\n", "")


@pytest.mark.parametrize(
    ("words", "message", "next_step"),
    [
        (["--config", "FILE", "--agent", "unknown"], "has no agent 'unknown'; there are", "[agents.unknown]"),
        (["--config", "EMPTY"], "has no agent", "[agents.assistant]"),
        (["--config", "WRONG"], "did you mean 'agents'?", ""),
        (["--config", "MISSING"], "cannot be read", ""),
        (["--model", "openai:x"], "OPENAI_API_KEY is not set", "set OPENAI_API_KEY"),
    ],
)
def test_what_cannot_be_is_told_with_what_to_do(roomkit, tmp_path, words, message, next_step):
    """On standard error, with exit code 1."""
    (tmp_path / "FILE").write_text(CONFIG)
    (tmp_path / "EMPTY").write_text("")
    (tmp_path / "WRONG").write_text("[agnets.x]\nplugin = 'ai'\n")
    paths = [str(tmp_path / word) if word.isupper() else word for word in words]
    answer = roomkit("chat", "hello", *paths)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert message in answer.stderr
    assert next_step in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("words", "message", "next_step"),
    [
        (["--agent", "x"], "--agent names an agent of a configuration file", "add --config"),
        (["--config", "FILE", "--scripted"], "--config says which agents", "leave one out"),
    ],
)
def test_options_that_exclude_each_other_are_wrong_usage(roomkit, words, message, next_step):
    """Exit code 2, before anything is built."""
    answer = roomkit("chat", "hello", *words)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert message in answer.stderr
    assert next_step in answer.stderr


def test_a_configuration_that_lies_here_is_taken(roomkit, tmp_path):
    """As by the operators' commands; the script, or a model that is named, goes before it."""
    (tmp_path / "roomkit.toml").write_text(CONFIG)
    found = roomkit("chat", "hello", "--agent", "helper", folder=tmp_path)
    assert (found.returncode, found.stdout) == (0, "Hello from AI\n")
    scripted = roomkit("chat", "thanks", "--scripted", folder=tmp_path)
    assert (scripted.returncode, scripted.stdout) == (0, "You are welcome.\n")


def test_a_failed_answer_is_a_failed_command(roomkit, tmp_path):
    file = tmp_path / "roomkit.toml"
    file.write_text(
        '[agents.a]\nplugin = "ai"\nprovider = { plugin = "openai", model = "x", api_key = "k", '
        'base_url = "http://127.0.0.1:9/v1" }\n'
    )
    answer = roomkit("chat", "hello", "--config", str(file))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "roomkit: a failed: connection" in answer.stderr
