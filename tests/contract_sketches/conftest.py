"""Workers for the sketches."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract_sketches.stage import Workers


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    """Return what starts workers on one store, in virtual time."""
    made = Workers()
    yield made
    await made.close()
