"""What the files of docs/deploy say, read for tests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["DEPLOY", "ROOT", "compose", "containerfile", "environment_of", "references", "unit"]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs/deploy"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")


def compose() -> dict[str, Any]:
    """Read compose.yaml, its variables as they are."""
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return read


def environment_of(service: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """Return a service's environment with variables filled in, as Compose does."""
    return {name: _filled(str(value), given) for name, value in service["environment"].items()}


def _filled(text: str, given: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name, kind, other = found.groups()
        if given.get(name):
            return given[name]
        assert kind == "-", f"{name} is not set: {other}"
        return str(other)

    return _VARIABLE.sub(value, text)


def references(text: str) -> set[str]:
    """Return the variables that a compose file asks its caller for, or a configuration its environment."""
    return {found[0] for found in _VARIABLE.findall(text)} | {*re.findall(r'"env:(\w+)"', text)}


def containerfile() -> list[tuple[str, str]]:
    """Read the instructions of the Containerfile: the word, and what follows it."""
    lines = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    said = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in said]


def unit(name: str) -> dict[str, list[str]]:
    """Read the settings of a systemd unit; one that comes several times has several values."""
    found: dict[str, list[str]] = {}
    for key, value in _settings((DEPLOY / name).read_text()):
        found.setdefault(key, []).append(value)
    return found


def _settings(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            yield key, value


def words(command: str | list[str]) -> list[str]:
    """Return a command's words."""
    return shlex.split(command) if isinstance(command, str) else command
