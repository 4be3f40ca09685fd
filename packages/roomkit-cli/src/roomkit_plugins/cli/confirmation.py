"""Before something is destroyed: what will go is shown, and then it is asked for, or `--yes` was given."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from roomkit.models.escaping import printable
from roomkit_plugins.cli.terminal import CommandError, Terminal, complain

__all__ = ["Intent", "add_confirmation", "confirmed", "counted"]


@dataclass(frozen=True, slots=True)
class Intent:
    """What a command is about to destroy."""

    subject: str
    """What it acts on, such as `the room 'r1'`."""
    verb: str
    """What it does to it, such as `erase`."""
    goes: str
    """What will be gone, with its numbers, as a sentence for people."""
    document: Mapping[str, object]
    """The same, as `--json --dry-run` writes it."""


def add_confirmation(parser: argparse.ArgumentParser) -> None:
    """Add `--yes` and `--dry-run`, which every command that destroys has."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--yes", action="store_true", help="do not ask; needed without a terminal")
    how.add_argument("--dry-run", action="store_true", help="show what would go, and do nothing")


def confirmed(intent: Intent, options: argparse.Namespace, terminal: Terminal) -> bool:
    """Show what will go; return True when it is meant, False when it is only to be shown.

    Raises CommandError when it is not meant, or cannot be asked for want of a terminal.
    """
    if options.dry_run:
        if options.json:
            terminal.document({"dry_run": True, **intent.document})
        else:
            terminal.line(intent.goes)
            terminal.line("dry run: nothing was changed")
        return False
    if options.yes:
        if not options.json:
            complain(printable(intent.goes))
        return True
    _ask(intent)
    return True


def counted(number: int, one: str, more: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def _ask(intent: Intent) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError(
            f"{intent.goes}; it was not confirmed, so nothing was changed",
            next_step="add --yes if it is meant, or --dry-run to only see what would go",
            code="confirmation_required",
        )
    complain(printable(intent.goes))
    complain(f"{intent.verb} {intent.subject}? It cannot be undone. [y/N] ", end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError(
            f"{intent.subject}: nothing was changed, because it was not confirmed",
            next_step="answer y if it is meant",
            code="not_confirmed",
        )
