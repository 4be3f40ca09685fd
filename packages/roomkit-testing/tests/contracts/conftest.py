"""What the planted faults need: they are to be found, not made small, and by few tests of a contract."""

from __future__ import annotations

import sys

import pytest
from hypothesis import Phase, settings

settings.register_profile("only-find", phases=[Phase.explicit, Phase.generate])


def pytest_pycollect_makeitem(collector: pytest.Collector, name: str) -> list[pytest.Item] | None:
    """Collect from a class with a planted fault the tests that must find it.

    Each inherits all tests of its contract: to collect the hundreds of a store's took ten times as long as
    to run the one.
    """
    planting = sys.modules.get("planting")
    if planting is None or not isinstance(collector, pytest.Class):
        return None
    found_by = planting.FAULTS.get(collector.module.__name__, {}).get(collector.name)
    if found_by is None or name in {test.partition("[")[0] for test in found_by}:
        return None
    return []
