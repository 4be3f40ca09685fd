"""The command `roomkit` in a process that is forked from one that has imported it already.

That saves the second of CPU that a start takes; the tests of starts and signals start an interpreter.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from roomkit_plugins.testing.forks import forks_with

_FORKS = forks_with(
    "pytest",
    "roomkit_plugins.cli.main",
    "roomkit_plugins.cli.chat",
    "roomkit_plugins.cli.demo",
    "roomkit_plugins.cli.plugins",
    "roomkit_plugins.cli.stores",
    "roomkit.kernel.kit",
    "roomkit_plugins.sqlite.store",
    "roomkit_plugins.ai.channel",
    "roomkit_plugins.websocket.channel",
)


@dataclass
class Answer:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def run(words: tuple[str, ...], given: bytes, files: Path, folder: Path, env: Mapping[str, str]) -> Answer:
    """Run the command to its end in `folder`, with `given` as its input; its streams are kept in `files`."""
    streams = [files / f"command.{name}" for name in ("in", "out", "err")]
    streams[0].write_bytes(given)
    process = _FORKS.Process(target=_become, args=(words, streams, folder, dict(env)))
    process.start()
    process.join(50)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"roomkit {' '.join(words)} did not end")
    code = process.exitcode
    process.close()
    out, err = (stream.read_bytes().decode() for stream in streams[1:])
    for stream in streams:
        stream.unlink()
    return Answer(code, out, err)


def _become(words: tuple[str, ...], streams: list[Path], folder: Path, env: dict[str, str]) -> None:
    """Become the command's process."""
    for descriptor, stream in enumerate(streams):
        opened = os.open(stream, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  # the process's
    os.environ.clear()
    os.environ |= env
    os.chdir(folder)
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
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
