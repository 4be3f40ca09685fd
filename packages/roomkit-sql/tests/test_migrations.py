"""Versions of a schema."""

from __future__ import annotations

import pytest

from roomkit.abc.errors import StoreSchemaError
from roomkit_plugins.sql.migrations import Step, check_version, planned

STEPS = (Step(1, "rooms", ("CREATE TABLE rooms (id text)",)), Step(2, "moods", ()))


@pytest.mark.parametrize(("found", "steps"), [(0, ("1: rooms", "2: moods")), (1, ("2: moods",)), (2, ())])
def test_a_plan_has_the_steps_that_are_missing(found: int, steps: tuple[str, ...]) -> None:
    plan = planned("a.db", found, STEPS, {"rooms": 3})
    assert (plan.where, plan.found, plan.wanted, plan.steps, plan.rows) == (
        "a.db",
        found,
        2,
        steps,
        {"rooms": 3},
    )


def test_a_schema_of_a_newer_version_is_refused() -> None:
    """With both versions and the way out."""
    assert check_version("a.db", 2, STEPS, "roomkit-x", "upgrade roomkit-x") == 2
    with pytest.raises(StoreSchemaError, match=r"a\.db has schema version 3, .*up to 2; upgrade roomkit-x"):
        check_version("a.db", 3, STEPS, "roomkit-x", "upgrade roomkit-x")
