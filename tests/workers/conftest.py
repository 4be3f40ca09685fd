"""The stores that workers share, and where the verdicts of the long run go."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, Any]:
    """Return the description of an empty store of each kind."""
    if request.param == "sqlite":
        return {"sqlite": str(tmp_path / "rooms.db")}
    return {"postgres": request.getfixturevalue("postgres_dsn")}


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Return what shows a verdict in the long run, whose point it is."""

    def show(verdict: str) -> None:
        if "ROOMKIT_KILLS" in os.environ:
            with capsys.disabled():
                sys.stdout.write(f"\n{verdict}\n")

    return show
