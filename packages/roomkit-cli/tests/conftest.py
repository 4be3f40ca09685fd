"""The command as users run it: a process of its own, with plugins the test installs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Answer:
    code: int
    out: str
    err: str


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

    def __call__(self, *words: str, given: str | bytes = "", **environment: str) -> Answer:
        answer = subprocess.run(
            [sys.executable, "-m", "roomkit_plugins.cli", *words],
            input=given.encode() if isinstance(given, str) else given,
            env=self._environment | environment,
            capture_output=True,
            timeout=50,
        )
        return Answer(answer.returncode, answer.stdout.decode(), answer.stderr.decode())

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
