"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(("program", "output"), PROGRAMS, ids=["framework", "server"])
def test_the_programs_print_what_they_say(program, output):
    """Each is whole, and runs as it stands."""
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=200
    )
    assert (answer.stdout, answer.stderr) == (output, "")


def test_every_program_is_run():
    """None is shown without its output."""
    assert len(PROGRAMS) == README.count("```python") == 2
