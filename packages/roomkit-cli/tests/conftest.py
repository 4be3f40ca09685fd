"""The command as users run it: a process of its own, with plugins the test installs.

Its process is forked (see `forked`); the tests of starts and signals use `cold` and `started`.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

forked = importlib.import_module(
    "packages.roomkit-cli.tests.forked"
)  # the process that is forked imports it so


class Command:
    """Runs `roomkit`; its environment has no keys, and the plugins installed here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")
        }
        self._environment |= {"PYTHONPATH": str(folder), "PYTHONWARNINGS": "error"}

    def install(self, name: str, code: str, requires: str = "roomkit-core>=1.0,<2") -> None:
        """Install a plugin: a module, and the metadata a package manager would write."""
        (self._folder / f"{name}_module.py").write_text(code, encoding="utf-8")
        info = self._folder / f"{name}-1.2.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\nRequires-Dist: {requires}\n"
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text(f"[roomkit]\n{name} = {name}_module\n")

    def __call__(self, *words: str, given: str | bytes = "", **environment: str) -> forked.Answer:
        written = given.encode() if isinstance(given, str) else given
        return forked.run(words, written, self._folder, Path.cwd(), self._environment | environment)

    def cold(self, *words: str, given: str | bytes = "", **environment: str) -> forked.Answer:
        """Run it as a shell would, from the start of an interpreter."""
        answer = subprocess.run(
            [sys.executable, "-m", "roomkit_plugins.cli", *words],
            input=given.encode() if isinstance(given, str) else given,
            env=self._environment | environment,
            capture_output=True,
            timeout=200,
        )
        return forked.Answer(answer.returncode, answer.stdout.decode(), answer.stderr.decode())

    def started(self, *words: str) -> subprocess.Popen[str]:
        """Start it, and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-m", "roomkit_plugins.cli", *words],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A runner in the background ignores Ctrl-C, and hands that down to whatever it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@pytest.fixture
def roomkit(tmp_path: Path) -> Command:
    return Command(tmp_path)
