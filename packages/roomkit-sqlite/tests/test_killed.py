"""A process that is killed at any statement leaves a whole file, with all that it acknowledged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KILLS = 48


def test_every_acknowledged_message_is_there_once_after_any_kill(path: Path) -> None:
    """SIGKILL before each statement of a transaction in turn, then before random ones under load."""
    script = Path(__file__).with_name("killed.py")
    run = subprocess.run(
        [sys.executable, script, path, str(KILLS), "1"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    kills, acknowledged = (int(word) for word in run.stdout.split() if word.isdigit())
    assert kills == KILLS
    assert acknowledged > 3 * KILLS
