"""The entry of the `roomkit` command.

Exit codes: 0 it went well, 1 it failed, 2 it was called wrongly, 130 it was interrupted (Ctrl-C), 143 it was
terminated (SIGTERM). A second Ctrl-C ends it at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, override

from roomkit_plugins.cli.signals import INTERRUPTED, TERMINATED, ended_by_signals

if TYPE_CHECKING:
    from roomkit.plugins.commands import Command

__all__ = ["FAILED", "INTERRUPTED", "OK", "TERMINATED", "WRONG_USAGE", "command", "main"]

OK, FAILED, WRONG_USAGE = 0, 1, 2

_USAGE = "usage: roomkit COMMAND [options]\n       roomkit --version"


def command() -> int:
    """Run the command line as the whole of the process: further signals do not disturb its end."""
    try:
        code = main()
        if code in (INTERRUPTED, TERMINATED):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # the second Ctrl-C, while the first was handled
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = INTERRUPTED
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Raises SystemExit where argparse does."""
    words = list(sys.argv[1:] if argv is None else argv)
    terminated: list[int] = []  # bound: the signals that one command gets
    try:
        with ended_by_signals(terminated):
            code = _main(words)
            sys.stdout.flush()
    except (ImportError, AttributeError) as error:
        if (mixed := _mixture()) is None:
            raise
        raise SystemExit(f"roomkit: {mixed}") from error
    except KeyboardInterrupt:
        return TERMINATED if terminated else INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has closed the pipe. Else Python complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def _main(words: list[str]) -> int:
    if words and words[0] in ("--version", "-V"):
        return _version()
    if not words or words[0] in ("--help", "-h", "help"):
        _show(_overview(), wrong=not words)
        return OK if words else WRONG_USAGE
    command = _find(words, _own_commands()) or _find(words, _all_commands())
    if command is None:
        return _unknown(words)
    return _run(command, words[len(command.name.split()) :])


def _mixture() -> str | None:
    """Say whether names are missing because a foreign `roomkit` overwrote the core's files."""
    from roomkit.plugins.mixture import mixture

    return mixture()


def _version() -> int:
    import roomkit

    python = ".".join(map(str, sys.version_info[:3]))
    _show(f"roomkit {roomkit.__version__} (Python {python})")
    return OK


def _show(text: str, *, wrong: bool = False) -> None:
    from roomkit_plugins.cli.terminal import Terminal

    Terminal(out=sys.stderr if wrong else sys.stdout).lines(text)


class _Parser(argparse.ArgumentParser):
    """Escapes what it quotes of the words it was given."""

    @override
    def error(self, message: str) -> NoReturn:
        from roomkit.models.escaping import printable

        super().error(printable(message))


def _run(command: Command, arguments: list[str]) -> int:
    from roomkit.abc.errors import RoomKitError
    from roomkit_plugins.cli.terminal import CommandError, report_error, report_traceback

    parser = _Parser(prog=f"roomkit {command.name}", description=command.summary)
    verbose = bool({"-v", "--verbose"} & set(arguments))
    try:
        _configure(command)(parser)
        parser.add_argument("-v", "--verbose", action="store_true", help="show log messages and tracebacks")
        options = parser.parse_args(arguments)
        _log_to_stderr(options.verbose)
        code: int = options.run(options)
    except (CommandError, RoomKitError) as error:
        if verbose:
            report_traceback(error)
        else:
            report_error(error, as_json="--json" in arguments)
        return WRONG_USAGE if error.code == "wrong_usage" else FAILED
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001  # a command may raise anything; the user gets one line
        if verbose:
            report_traceback(error)
        else:
            report_error(error, as_json="--json" in arguments)
        return FAILED
    return code


def _configure(command: Command) -> Callable[[argparse.ArgumentParser], None]:
    from importlib import import_module

    module, _, name = command.target.partition(":")
    configure: Callable[[argparse.ArgumentParser], None] = getattr(import_module(module), name)
    return configure


def _log_to_stderr(verbose: bool) -> None:
    import logging

    from roomkit.models.escaping import printable

    class Escaping(logging.Formatter):
        """For the loggers of other libraries too."""

        @override
        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record), keep_lines=True)

    handler = logging.StreamHandler()
    handler.setFormatter(Escaping("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL, handlers=[handler])


# -- which command ----------------------------------------------------------------------------


def _own_commands() -> Sequence[Command]:
    """Return the commands of this distribution: for them no plugin needs to be looked for."""
    from roomkit.plugins.commands import Commands
    from roomkit_plugins.cli.plugin import roomkit_commands

    own = Commands()
    roomkit_commands(own)
    return own.all()


def _all_commands() -> Sequence[Command]:
    from roomkit.plugins import Commands, default_manager

    found = Commands()
    _log_to_stderr(verbose=False)
    default_manager().commands(found)
    return found.all()


def _find(words: Sequence[str], commands: Sequence[Command]) -> Command | None:
    """Return the command with the longest name that `words` begin with."""
    named = {tuple(command.name.split()): command for command in commands}
    for length in range(len(words), 0, -1):
        if command := named.get(tuple(words[:length])):
            return command
    return None


def _overview(group: str = "") -> str:
    commands = [each for each in _all_commands() if each.name.startswith(group)]
    width = max(len(command.name) for command in commands)
    lines = [f"  {command.name:<{width}}  {command.summary}" for command in commands]
    return "\n".join([_USAGE, "", *lines, "", "`roomkit COMMAND --help` says more about each."])


def _unknown(words: Sequence[str]) -> int:
    from roomkit._names import nearest

    names = [command.name for command in _all_commands()]
    group = f"{words[0]} "
    if any(name.startswith(group) for name in names) and (len(words) == 1 or words[1].startswith("-")):
        _show(_overview(group), wrong=len(words) == 1)
        return WRONG_USAGE if len(words) == 1 or words[1] not in ("-h", "--help") else OK
    asked = " ".join(words[:2]) if any(name.startswith(group) for name in names) else words[0]
    close = nearest(asked, {*names, *(name.partition(" ")[0] for name in names)})
    hint = f"did you mean `roomkit {close}`?" if close else "`roomkit --help` lists the commands"
    _show(f"roomkit: unknown command {asked!r}; {hint}", wrong=True)
    return WRONG_USAGE
