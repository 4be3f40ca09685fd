"""The provider of the guide passes the suite that the guide ends with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks_of

PAGE = ROOT / "docs/how-to/write-a-provider.md"
CONFIG = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\npythonpath = .\n"


def provider_of_the_page() -> str:
    """Return the page's provider and its vendor."""
    provider, vendor = [block.code for block in blocks_of(PAGE)][:2]
    return f"{provider}\n\n{vendor}"


def run(folder: Path, code: str, only: str = "") -> subprocess.CompletedProcess[str]:
    """Run the page's tests on a provider, or only those with that name."""
    text = PAGE.read_text(encoding="utf-8")
    suite = re.search(r'```python title="tests/test_carrier.py"\n(.*?)```', text, re.S)
    assert suite is not None
    (folder / "pytest.ini").write_text(CONFIG)
    (folder / "carrier.py").write_text(code)
    (folder / "test_carrier.py").write_text(suite[1])
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_carrier.py", "-k", only],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_provider_of_the_page_passes_the_suite_of_the_page(tmp_path: Path) -> None:
    ran = run(tmp_path, provider_of_the_page())
    assert ran.returncode == 0, ran.stdout


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
    ran = run(tmp_path, code.replace(right, wrong), found_by)
    assert f"FAILED test_carrier.py::TestCarrierSMSProvider::{found_by}" in ran.stdout
