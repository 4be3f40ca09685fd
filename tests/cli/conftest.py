"""The `roomkit` command of this environment, as users run it."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

forked = importlib.import_module(
    "packages.roomkit-cli.tests.forked"
)  # the process that is forked imports it so
COMMAND = [sys.executable, "-W", "error", "-m", "roomkit_plugins.cli"]


def environment(**more: str) -> dict[str, str]:
    """This environment without keys, and with `more`."""
    plain = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return {**plain, "PYTHONUNBUFFERED": "1", **more}


@pytest.fixture
def roomkit(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command to its end; `start` starts an interpreter for it, as a shell would."""
    files = tmp_path_factory.mktemp("streams")

    def run(
        *words: str, given: str = "", folder: Path | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        answer = forked.run(words, given.encode(), files, folder or Path.cwd(), environment(**more))
        return subprocess.CompletedProcess(words, answer.code, answer.out, answer.err)

    return run


@pytest.fixture
def start() -> Any:
    """Start the command, and leave it running."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**more),
            text=True,
            start_new_session=True,
            # A runner in the background ignores Ctrl-C, and hands that down to whatever it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
