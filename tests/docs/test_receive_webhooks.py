"""The provider of the guide passes the suite that the guide ends with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks_of

PAGE = ROOT / "docs/how-to/receive-webhooks.md"
CONFIG = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\npythonpath = .\n"


def run(folder: Path, provider: str) -> subprocess.CompletedProcess[str]:
    """Run the page's tests on a provider."""
    suite = re.search(
        r'```python title="tests/test_acme.py"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.S
    )
    assert suite is not None
    (folder / "pytest.ini").write_text(CONFIG)
    (folder / "acme.py").write_text(provider)
    (folder / "test_acme.py").write_text(suite[1])
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_acme.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_provider_of_the_page_passes_the_suite_of_the_page(tmp_path: Path) -> None:
    ran = run(tmp_path, next(blocks_of(PAGE)).code)
    assert ran.returncode == 0, ran.stdout


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
    ran = run(tmp_path, code.replace(right, wrong))
    assert re.search(rf"FAILED test_acme\.py::TestAcmeWebhooks::test_\w*{found_by}", ran.stdout)
