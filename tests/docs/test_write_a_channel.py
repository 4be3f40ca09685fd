"""The channel of the guide passes the suite that the guide ends with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks_of

PAGE = ROOT / "docs/how-to/write-a-channel.md"
CONFIG = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\npythonpath = .\n"


def run(folder: Path, channel: str, only: str = "") -> subprocess.CompletedProcess[str]:
    """Run the page's tests on a channel, or only those with that name."""
    suite = re.search(
        r'```python title="tests/test_pigeons.py"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.S
    )
    assert suite is not None
    (folder / "pytest.ini").write_text(CONFIG)
    (folder / "pigeons.py").write_text(channel)
    (folder / "test_pigeons.py").write_text(suite[1])
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pigeons.py", "-k", only],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_channel_of_the_page_passes_the_suite_of_the_page(tmp_path: Path) -> None:
    ran = run(tmp_path, next(blocks_of(PAGE)).code)
    assert ran.returncode == 0, ran.stdout


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
    ran = run(tmp_path, code.replace(right, wrong), found_by)
    assert f"FAILED test_pigeons.py::TestPigeonChannel::{found_by}" in ran.stdout
