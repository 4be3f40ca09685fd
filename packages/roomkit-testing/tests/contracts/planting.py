"""Puts faulty members of a role under its contract, and remembers which tests must find them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from roomkit.memory.store import InMemoryStore
from roomkit_plugins.testing.contracts import ContractSuite

__all__ = ["FAULTS", "SteppedStore", "planted"]

FAULTS: dict[str, dict[str, set[str]]] = {}
"""By module: the name of the class of tests, and the tests that must fail in it."""


def planted(contract: type[ContractSuite], *found_by: str) -> Callable[[type], type]:
    """Put a faulty class under its contract; these tests must fail."""

    def plant(faulty: type) -> type:
        name = f"Test{faulty.__name__}"
        FAULTS.setdefault(faulty.__module__, {})[name] = set(found_by)
        factory = pytest.fixture(name="factory")(lambda self: faulty)
        tests = type(name, (contract,), {"factory": factory, "__module__": faulty.__module__})
        setattr(sys.modules[faulty.__module__], name, tests)
        return faulty

    return plant


class SteppedStore(InMemoryStore):
    """The in-memory store with steps of its parts as methods, so that a fault can override one."""

    def __init__(self) -> None:
        super().__init__()
        self._own: dict[str, Any] = {}
        for part, step, method in (
            (self._transactions, "complete", "_complete"),
            (self._transactions, "_rewrite", "_rewrite"),
            (self._timelines, "check_new", "_check_new"),
            (self._timelines, "put", "_put_event"),
            (self._mover, "check_settled", "_check_settled"),
            (self._tasks, "_check_room", "_check_task"),
        ):
            self._own[method] = getattr(part, step)
            assert callable(getattr(part, step))
            setattr(part, step, getattr(self, method))

    def _complete(self, *args: Any) -> Any:
        return self._own["_complete"](*args)

    def _rewrite(self, *args: Any) -> Any:
        return self._own["_rewrite"](*args)

    def _check_new(self, *args: Any) -> Any:
        return self._own["_check_new"](*args)

    def _put_event(self, *args: Any) -> Any:
        return self._own["_put_event"](*args)

    def _check_settled(self, *args: Any) -> Any:
        return self._own["_check_settled"](*args)

    def _check_task(self, *args: Any) -> Any:
        return self._own["_check_task"](*args)
