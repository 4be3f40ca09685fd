"""The provider of the guide passes the suite that the guide ends with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks_of
from tests.docs.suites import run_suite

PAGE = ROOT / "docs/how-to/receive-webhooks.md"


def test_the_provider_of_the_page_passes_the_suite_of_the_page(tmp_path: Path) -> None:
    status, printed = run_suite(PAGE, tmp_path, "acme", next(blocks_of(PAGE)).code)
    assert status == 0, printed


@pytest.mark.parametrize(
    ("right", "wrong", "found_by"),
    [
        (
            "if not hmac.compare_digest(given.encode(), expected.encode()):",
            "if not given:",
            "body_was_touched",
        ),
        ('idempotency_key=part["id"],', "", "the_same_request_twice"),
        ("WORDS.get(part", "{}.get(part", "every_receipt_is_handed_over"),
    ],
)
def test_a_fault_in_the_provider_of_the_page_is_found(
    tmp_path: Path, right: str, wrong: str, found_by: str
) -> None:
    """A signature that is not compared, a key and a word that are dropped."""
    code = next(blocks_of(PAGE)).code
    assert right in code
    _, printed = run_suite(PAGE, tmp_path, "acme", code.replace(right, wrong))
    assert re.search(rf"FAILED test_acme\.py::TestAcmeWebhooks::test_\w*{found_by}", printed)
