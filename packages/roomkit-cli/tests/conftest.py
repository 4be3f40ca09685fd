"""The command as users run it: a process of its own, with plugins the test installs.

A command's process is forked from one that has imported it, which saves the second that a start takes; the
tests of starts and signals use `cold` and `started`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "__main__",
        "pytest",
        "roomkit_plugins.cli.main",
        "roomkit_plugins.cli.plugins",
        "roomkit_plugins.cli.stores",
        "roomkit.kernel.kit",
        "roomkit_plugins.sqlite.store",
        "roomkit_plugins.ai.channel",
        "roomkit_plugins.websocket.channel",
    ]
)


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
        files = [self._folder / f"command.{name}" for name in ("in", "out", "err")]
        files[0].write_bytes(given.encode() if isinstance(given, str) else given)
        process = _FORKS.Process(
            target=_run, args=(words, files, self._folder, os.getcwd(), self._environment | environment)
        )
        process.start()
        process.join(50)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"roomkit {' '.join(words)} did not end")
        code = process.exitcode
        process.close()
        out, err = (file.read_bytes().decode() for file in files[1:])
        for file in files:
            file.unlink()
        return Answer(code, out, err)

    def cold(self, *words: str, given: str | bytes = "", **environment: str) -> Answer:
        """Run it as a shell would, from the start of an interpreter."""
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


def _run(
    words: tuple[str, ...], files: list[Path], plugins: Path, folder: str, environment: dict[str, str]
) -> None:
    """Become the command's process."""
    for descriptor, file in enumerate(files):
        opened = os.open(file, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  # the process's
    os.environ.clear()
    os.environ |= environment
    os.chdir(folder)
    sys.path.insert(0, str(plugins))
    sys.argv = ["roomkit", *words]
    warnings.simplefilter("error")
    from roomkit_plugins.cli.main import command

    try:
        code = command()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
        code = ended.code if isinstance(ended.code, int) else ended.code is not None
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@pytest.fixture
def roomkit(tmp_path: Path) -> Command:
    return Command(tmp_path)
