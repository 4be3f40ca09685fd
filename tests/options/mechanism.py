"""How an option is tried: the component is made without and with a change of it, and both are observed.

A component is made from its settings, as `roomkit.toml` makes it, and used. The comparison is of what its
user can notice: the bytes it sent, what it did, what state it left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from roomkit.models.options import KitOptions
from roomkit.plugins import PluginManager
from roomkit.plugins.config import BINDING_FIELDS, SourceOptions
from roomkit.plugins.construction import imported_model
from roomkit_plugins.cli.settings import settings_of, settings_of_model

__all__ = ["Change", "Observations", "Observe", "Settings", "Subject", "declared_options", "unobserved"]

type Settings = Mapping[str, Any]
type Observe = Callable[[Settings], Awaitable[object]]


@dataclass(frozen=True)
class Change:
    """Another value of an option, and what else has to be set for the option to matter."""

    value: object
    base: Settings = field(default_factory=dict)
    observe: Observe | None = None
    """Where the subject's own observation does not show it."""


@dataclass(frozen=True)
class Subject:
    """One component, or one table that is not a component, and how each of its options shows."""

    name: str
    """As `roomkit plugins list` has it: `ai:anthropic`; or the table: `kit`, `server`."""
    changes: Mapping[str, Change]
    observe: Observe | None = None
    base: Settings = field(default_factory=dict)
    real_time: bool = False
    """Whether it talks to a process or another thread; else it is observed on virtual time."""
    needs_servers: bool = False
    """Whether it is observed on the database servers of the test run."""

    async def seen(self, option: str, *, changed: bool) -> object:
        """Make the component, use it, and return what can be compared."""
        change = self.changes[option]
        observe = change.observe or self.observe
        assert observe is not None, f"{self.name}.{option} has no observation"
        given = {**self.base, **change.base}
        return await observe({**given, option: change.value} if changed else given)


class Observations:
    """Tries options, and remembers the observations of components without a change."""

    def __init__(self) -> None:
        self._seen: dict[object, object] = {}  # bound: the options

    async def verdict(self, subject: Subject, option: str) -> str | None:
        """Return the fault of an option; None where its change is observed.

        What differs without a change proves nothing, so a component is first observed twice as it is.
        """
        change = subject.changes[option]
        key = subject.name, repr(change.base), change.observe
        if key not in self._seen:
            self._seen[key] = await subject.seen(option, changed=False)
            again = await subject.seen(option, changed=False)
            if self._seen[key] != again:
                return f"{subject.name}: it differs without a change: {self._seen[key]!r}, {again!r}"
        if self._seen[key] == await subject.seen(option, changed=True):
            return f"{subject.name}.{option} does nothing: {change.value!r} changes nothing that is seen"
        return None


def declared_options(manager: PluginManager) -> dict[str, list[str]]:
    """List every option of every installed component and table, from the models that check them."""
    found = {str(component): _names(settings_of(component)) for component in manager.components()}
    found["kit"] = _names(settings_of_model(KitOptions))
    found["binding"] = [*BINDING_FIELDS]
    found["sources.run"] = _names(settings_of_model(SourceOptions))
    for table, reference in manager.tables().items():
        found[table] = _names(settings_of_model(imported_model(reference, f"the table {table!r}")))
    return {name: options for name, options in found.items() if options}


def unobserved(declared: Mapping[str, list[str]], subjects: Mapping[str, Subject]) -> Iterator[str]:
    """Yield the faults of the tables of observations, as a whole."""
    for name, options in declared.items():
        known = subjects[name].changes if name in subjects else {}
        for option in options:
            if option not in known:
                yield f"{name}.{option} is observed by no test: add a Change of it to tests/options"
        for option in sorted(known.keys() - {*options}):
            yield f"{name}.{option} is observed, but it is no option"
    for name in sorted(subjects.keys() - declared.keys()):
        yield f"{name} is observed, but is no installed component"


def _names(settings: list[Any]) -> list[str]:
    return [setting.name for setting in settings]
