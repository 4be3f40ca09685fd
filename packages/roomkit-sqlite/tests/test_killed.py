"""A process that is killed at any statement leaves a whole file, and its work to the next one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KILLS = 56


def test_nothing_acknowledged_is_lost_and_every_delivery_ends_after_any_kill(path: Path) -> None:
    """SIGKILL before each statement of a transaction in turn, then before random ones under load."""
    script = Path(__file__).with_name("killed.py")
    run = subprocess.run(
        [sys.executable, script, path, str(KILLS), "1"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    kills, acknowledged, deliveries, receipts = (int(word) for word in run.stdout.split() if word.isdigit())
    assert kills == KILLS
    assert acknowledged > 3 * KILLS
    assert deliveries >= 2 * acknowledged
    assert receipts > KILLS
