"""The pages of the reference say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from roomkit.abc.errors import RoomKitError
from roomkit.kernel.runtime.framework_events import FRAMEWORK_EVENTS
from roomkit.models import HookTrigger
from tests.docs.reference import REASONS, TRIGGERS, error_classes, generate, reasons_in_code

PAGES = generate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_current(page: Path) -> None:
    """If not: `python -m tests.docs.reference`."""
    assert page.read_text(encoding="utf-8") == PAGES[page]


def test_every_trigger_is_explained() -> None:
    """And nothing that is none."""
    assert set(TRIGGERS) == set(HookTrigger)


def test_every_reason_of_the_kernel_is_explained() -> None:
    """A reason that is added to the code is added to the page; one that is gone leaves it."""
    assert reasons_in_code() == set(REASONS)


def test_every_error_has_a_code_of_its_own() -> None:
    """So that programs can go by it."""
    codes = [error.code for error in error_classes()]
    assert len(set(codes)) == len(codes)
    assert all(issubclass(error, RoomKitError) for error in error_classes())


def test_every_framework_event_is_on_its_page() -> None:
    """The table is made of the code's own list."""
    (page,) = (text for path, text in PAGES.items() if path.name == "framework-events.md")
    assert all(f"| `{kind}` |" in page for kind in FRAMEWORK_EVENTS)
