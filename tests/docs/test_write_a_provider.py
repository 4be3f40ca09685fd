"""The provider of the guide passes the suite that the guide ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks_of
from tests.docs.suites import run_suite

PAGE = ROOT / "docs/how-to/write-a-provider.md"


def provider_of_the_page() -> str:
    """Return the page's provider and its vendor."""
    provider, vendor = [block.code for block in blocks_of(PAGE)][:2]
    return f"{provider}\n\n{vendor}"


def test_the_provider_of_the_page_passes_the_suite_of_the_page(tmp_path: Path) -> None:
    status, printed = run_suite(PAGE, tmp_path, "carrier", provider_of_the_page())
    assert status == 0, printed


@pytest.mark.parametrize(
    ("right", "wrong", "found_by"),
    [
        ("idempotent = True", "idempotent = False", "test_the_same_key_is_the_same_message"),
        (
            "accepted=False",
            "accepted=None",
            "test_a_vendor_that_is_not_reached_has_not_taken_the_message",
        ),
    ],
)
def test_a_fault_in_the_provider_of_the_page_is_found(
    tmp_path: Path, right: str, wrong: str, found_by: str
) -> None:
    code = provider_of_the_page()
    assert right in code
    _, printed = run_suite(PAGE, tmp_path, "carrier", code.replace(right, wrong), found_by)
    assert f"FAILED test_carrier.py::TestCarrierSMSProvider::{found_by}" in printed
