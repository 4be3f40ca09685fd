"""Puts faulty members of a role under its contract, and remembers which tests must find them."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from roomkit_plugins.testing.contracts import ContractSuite

__all__ = ["FAULTS", "planted"]

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
