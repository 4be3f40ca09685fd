"""What RoomKit tells an AI coding assistant comes with the package."""

from __future__ import annotations

import subprocess
import sys

from roomkit import get_agents_md, get_ai_context, get_llms_txt


def test_both_texts_are_there() -> None:
    """And as one."""
    assert get_llms_txt().startswith("# RoomKit\n")
    assert get_agents_md().startswith("# Code that uses RoomKit\n")
    assert get_ai_context() == f"{get_llms_txt()}\n---\n\n{get_agents_md()}"


def test_reading_them_needs_no_pydantic() -> None:
    code = "import sys, roomkit; roomkit.get_ai_context(); print('pydantic' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert answer.stdout.strip() == "False"
