"""The pages of the reference say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from roomkit._exports import HOMES
from roomkit.abc.errors import RoomKitError
from roomkit.kernel.kit import RoomKit
from roomkit.kernel.runtime.framework_events import FRAMEWORK_EVENTS
from roomkit.models import HookTrigger
from tests.docs.api import PAGES as API_PAGES
from tests.docs.blocks import in_checkout
from tests.docs.features import undescribed
from tests.docs.reference import (
    API,
    FOLDER,
    REASONS,
    TRIGGERS,
    error_classes,
    pages,
    reasons_in_code,
    written,
)


@pytest.mark.parametrize("page", pages(), ids=in_checkout)
def test_a_page_is_current(page: Path) -> None:
    """If not: `python -m tests.docs.reference`."""
    assert page.read_text(encoding="utf-8") == written(pages()[page])


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
    page = written(pages()[FOLDER / "framework-events.md"])
    assert all(f"| `{kind}` |" in page for kind in FRAMEWORK_EVENTS)


@pytest.mark.parametrize("page", API_PAGES)
def test_a_page_of_the_api_lists_public_names_only(page: str) -> None:
    assert set(API_PAGES[page]["names"]) <= set(HOMES)


def test_every_channel_and_kind_of_vendor_is_on_the_page_of_features() -> None:
    """So that a new one is not forgotten."""
    assert undescribed() == set()


def test_what_is_not_built_is_not_promised() -> None:
    """Its entry names the distribution that will bring it, and says that it is not there."""
    page = written(pages()[API / "providers-voice.md"])
    assert "## SIPVoiceBackend\n\nNot available yet. It comes with `roomkit-sip`." in page
    page = written(pages()[API / "providers-sms.md"])
    assert "## SMSProvider\n\n`from roomkit import SMSProvider`" in page


def test_every_public_method_of_the_kit_is_on_its_page() -> None:
    page = written(pages()[API / "roomkit.md"])
    methods = [name for name in dir(RoomKit) if not name.startswith("_")]
    assert [name for name in methods if f"### RoomKit.{name}\n" not in page] == []
