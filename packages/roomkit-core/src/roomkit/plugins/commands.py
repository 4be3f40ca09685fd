"""Commands that plugins add to the `roomkit` command line."""

from __future__ import annotations

import re

from roomkit._dataclasses import dataclass
from roomkit.plugins.errors import RegistrationError

_WORDS = re.compile(r"[a-z][a-z0-9-]*( [a-z][a-z0-9-]*)*")


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its words, what it does, and where its code is."""

    name: str
    """The words typed after `roomkit`, such as `"plugins list"`."""
    target: str
    """`module:function`, imported when the command is run or its help is asked for."""
    summary: str


class Commands:
    """The table of commands. Given to `roomkit_commands`."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}  # bound: what installed plugins declare

    def add(self, name: str, target: str, *, summary: str) -> None:
        """Declare one command.

        `name` is one or more words (`"demo"`, `"plugins list"`). `target` is a reference
        `"module:function"` to `function(parser: argparse.ArgumentParser) -> None`, which adds the
        arguments and names what runs, in argparse's own way:

            def configure(parser):
                parser.add_argument("room")
                parser.set_defaults(run=run)      # run(args: argparse.Namespace) -> int, the exit code

        Raises `RegistrationError` for a malformed name or one that is taken.
        """
        if not _WORDS.fullmatch(name):
            raise RegistrationError(
                f"{name!r} cannot name a command; use lower-case words, as in 'rooms list'"
            )
        if ":" not in target:
            raise RegistrationError(f"{target!r} is not a reference; write 'package.module:function'")
        if name in self._commands:
            raise RegistrationError(
                f"the command {name!r} exists already ({self._commands[name].target}); choose another"
            )
        self._commands[name] = Command(name, target, summary)

    def all(self) -> tuple[Command, ...]:
        """List the commands, by name."""
        return tuple(self._commands[name] for name in sorted(self._commands))
