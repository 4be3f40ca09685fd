"""Folders of skills."""

from __future__ import annotations

import pytest


@pytest.fixture
def make(tmp_path):
    """Return a function that writes the folder of a skill."""

    def make(name, head, body="Do it.", *, references=(), scripts=()):
        folder = (tmp_path / name).resolve()
        folder.mkdir()
        (folder / "SKILL.md").write_text(f"---\nname: {name}\n{head}\n---\n{body}\n")
        for kind, files in (("references", references), ("scripts", scripts)):
            if files:
                (folder / kind).mkdir()
                for file, text in files.items():
                    (folder / kind / file).write_text(text)
        return folder

    return make
