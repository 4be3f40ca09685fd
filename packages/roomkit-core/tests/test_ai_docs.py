"""What RoomKit tells an AI coding assistant comes with the package."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from roomkit import get_agents_md, get_ai_context, get_llms_txt


def test_both_texts_are_there() -> None:
    """And as one."""
    assert get_llms_txt().startswith("# RoomKit\n")
    assert get_agents_md().startswith("# Code that uses RoomKit\n")
    assert get_ai_context() == f"{get_llms_txt()}\n---\n\n{get_agents_md()}"


def test_what_is_installed_is_listed() -> None:
    """The core first, with its version; each plugin with what it brings."""
    section = get_llms_txt().partition("## Installed here\n\n")[2]
    assert section.startswith(f"- `roomkit-core` {version('roomkit-core')}: ")
    assert "`roomkit-testing`" in section
    assert "`MockAIProvider`" in section
    assert "`roomkit-deepgram`" not in section


def test_plugins_of_others_are_listed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "acme_roomkit-3.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-roomkit\nVersion: 3.1\nSummary: Faxes.\n"
    )
    (info / "entry_points.txt").write_text("[roomkit]\nacme = acme_roomkit.plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "- `acme-roomkit` 3.1: Faxes.\n" in get_llms_txt()


def test_reading_them_needs_no_pydantic() -> None:
    code = "import sys, roomkit; roomkit.get_ai_context(); print('pydantic' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=True
    )
    assert answer.stdout.strip() == "False"
