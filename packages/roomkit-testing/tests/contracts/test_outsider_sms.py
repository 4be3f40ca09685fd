"""An SMS plugin as an outsider writes it: it passes the suites, and a fault is shown readably.

Its faults are in `planted_sms_faults.py`, and found in `test_planted_faults.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent


def run(folder: Path, *ids: str) -> subprocess.CompletedProcess[str]:
    """Run tests of this folder in a process of their own."""
    config = folder / "pytest.ini"
    config.write_text(f"[pytest]\nasyncio_mode = auto\ntimeout = 60\npythonpath = {_HERE}\n")
    options = ["-c", config, "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(f"{_HERE / each}" for each in ids)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )


def test_a_plugin_without_faults_passes_every_suite(tmp_path: Path) -> None:
    """Provider, webhook and channel, against a vendor on a local port."""
    ran = run(tmp_path, "outsider_suites.py")
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout


def test_a_fault_is_shown_by_what_was_expected(tmp_path: Path) -> None:
    """The texts, the words or the line that blocks; nothing waits for a time-out."""
    faults = {
        "CutsTextsProviderSuite::test_a_message_goes_out_once_and_whole": "At index 0 diff",
        "DropsSomeReceiptsWebhookSuite::test_every_receipt_is_handed_over": "{'undelivered': []} !=",
        "SleepsOnTheLoopProviderSuite::test_sending_does_not_block_the_loop": "sleep in ",
        "LeavesTasksProviderSuite::test_a_send_leaves_nothing_behind": "after 10 cycles there are",
        "SaysNothingOfKeysSilentOnKeys::test_the_same_key_is_the_same_message": (
            "has to say whether the vendor takes an idempotency key: override `honours_idempotency`"
        ),
    }
    ran = run(tmp_path, *(f"planted_sms_faults.py::Test{fault}" for fault in faults))
    for fault, shown in faults.items():
        assert f"FAILED ::Test{fault}" in ran.stdout, ran.stdout
        assert shown in ran.stdout, ran.stdout
    assert "Timeout" not in ran.stdout
