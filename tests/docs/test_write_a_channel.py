"""The channel of the guide passes the suite that the guide ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks_of
from tests.docs.suites import run_suite

PAGE = ROOT / "docs/how-to/write-a-channel.md"


def test_the_channel_of_the_page_passes_the_suite_of_the_page(tmp_path: Path) -> None:
    status, printed = run_suite(PAGE, tmp_path, "pigeons", next(blocks_of(PAGE)).code)
    assert status == 0, printed


@pytest.mark.parametrize(
    ("right", "wrong", "found_by"),
    [
        ("{event.content.body}", "{event.content.body[:20]}", "test_a_text_goes_out_once_and_whole"),
        (
            "self.event_of(message, context)",
            "self.event_of(message.replace(idempotency_key=None), context)",
            "test_everything_a_message_says_is_in_its_event",
        ),
    ],
)
def test_a_fault_in_the_channel_of_the_page_is_found(
    tmp_path: Path, right: str, wrong: str, found_by: str
) -> None:
    code = next(blocks_of(PAGE)).code
    assert right in code
    _, printed = run_suite(PAGE, tmp_path, "pigeons", code.replace(right, wrong), found_by)
    assert f"FAILED test_pigeons.py::TestPigeonChannel::{found_by}" in printed
